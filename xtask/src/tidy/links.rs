//! Links from our documents to files of the repository.

use std::path::Path;

use anyhow::{Context, Result};

use super::{files_below, shown};

/// One fault per relative link whose target does not exist.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for path in files_below(root, ".md")? {
        let name = shown(root, &path);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let directory = path.parent().unwrap_or(root);
        for target in targets(&text) {
            if !directory.join(&target).exists() {
                faults.push(format!("{name}: links to {target}, which does not exist"));
            }
        }
    }
    Ok(faults)
}

/// Relative targets of Markdown links, without their fragments.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split("](").skip(1) {
        let Some(target) = part.split(')').next() else {
            continue;
        };
        let target = target.split('#').next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
            found.push(target.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_files_are_targets() {
        assert_eq!(
            targets("[a](docs/a.md#b) and [c](https://example.org) and [d](#here)"),
            ["docs/a.md"]
        );
    }
}
