//! The size of source files and their headers.

use std::path::Path;

use anyhow::{Context, Result};

use super::{files_below, shown};

/// The length beyond which a file is split by resource or by step.
const LINES_AT_MOST: usize = 700;

/// One fault per file that is too long, has no header, or is named `mod.rs`.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for directory in ["crates", "xtask"] {
        for path in files_below(&root.join(directory), ".rs")? {
            let name = shown(root, &path);
            if name.contains("/generated/") {
                continue;
            }
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
            faults.extend(check(&name, &text));
        }
    }
    Ok(faults)
}

fn check(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_AT_MOST {
        faults.push(format!(
            "{name}: {lines} lines, more than {LINES_AT_MOST}: split it by resource or by step"
        ));
    }
    if !text.trim_start().starts_with("//!") {
        faults.push(format!(
            "{name}: has no header (`//!`) that says what the file is"
        ));
    }
    if name.ends_with("/mod.rs") {
        faults.push(format!(
            "{name}: name it after its directory instead of mod.rs"
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_without_a_header_has_two_faults() {
        assert_eq!(check("a.rs", &"x\n".repeat(701)).len(), 2);
        assert!(check("a.rs", "//! Says what it is.\n").is_empty());
    }
}
