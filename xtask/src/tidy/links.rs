//! Links and paths in our documents that lead to files of the repository.

use std::path::Path;

use anyhow::{Context, Result};

use super::{files_below, shown};

/// One fault per relative link, and per path of a crate between backticks, that does not exist.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for path in files_below(root, ".md")? {
        let name = shown(root, &path);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let directory = path.parent().unwrap_or(root);
        for path in crate_paths(&text) {
            if !crate_file_exists(root, &path) {
                faults.push(format!("{name}: names {path}, which does not exist"));
            }
        }
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

/// Paths between backticks that have a directory and only characters of file names, for example
/// `store/src/shared.rs` or `server/table/`.
fn crate_paths(text: &str) -> Vec<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_./".contains(c);
    let lines = text.lines();
    lines
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|code| code.contains('/') && !code.contains("//") && code.chars().all(plain))
        .map(str::to_owned)
        .collect()
}

/// Whether a path that begins with the name of a crate leads to a file or directory: from
/// `crates/`, from the sources of the crate, or as a module. Other paths are not checked.
fn crate_file_exists(root: &Path, path: &str) -> bool {
    let Some((name, rest)) = path.split_once('/') else {
        return true;
    };
    let directory = root.join("crates").join(name);
    if name.is_empty() || rest.is_empty() || !directory.is_dir() {
        return true;
    }
    let sources = directory.join("src");
    directory.join(rest).exists()
        || sources.join(rest).exists()
        || sources.join(format!("{rest}.rs")).exists()
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

    #[test]
    fn paths_of_crates_are_found_between_backticks() {
        let text = "`store/src/shared.rs` and `server/table/`, `POST /a/b`, `cargo`, a/b.rs";
        assert_eq!(crate_paths(text), ["store/src/shared.rs", "server/table/"]);
        let exists = |path| crate_file_exists(&crate::root(), path);
        assert!(exists("store/src/lib.rs") && exists("store/engine") && exists("other/x.rs"));
        assert!(!exists("store/src/nothing.rs"));
    }
}
