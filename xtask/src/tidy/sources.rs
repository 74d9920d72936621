//! The Rust sources of the workspace, as the checks read them.

use std::path::Path;

use anyhow::{Context, Result};

use super::{files_below, shown};

/// One source file that people have written.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// The directory of its crate below `crates/`, or `xtask`.
    pub(super) crate_name: String,
    /// Its path from the root of the workspace.
    pub(super) name: String,
    pub(super) text: String,
}

impl SourceFile {
    /// Whether the file is compiled for tests, benchmarks or examples only.
    pub(super) fn for_tests(&self) -> bool {
        let directories = ["/tests/", "/benches/", "/examples/"];
        directories
            .iter()
            .any(|directory| self.name.contains(directory))
            || self.name.ends_with("/tests.rs")
            || self.name.ends_with("/testing.rs")
    }
}

/// All Rust files of `crates/` and `xtask/`, sorted by name, without generated ones.
pub(super) fn rust_sources(root: &Path) -> Result<Vec<SourceFile>> {
    let mut found = Vec::new();
    for directory in ["crates", "xtask"] {
        for path in files_below(&root.join(directory), ".rs")? {
            let name = shown(root, &path);
            if name.contains("/generated/") {
                continue;
            }
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
            let crate_name = name
                .trim_start_matches("crates/")
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            found.push(SourceFile {
                crate_name,
                name,
                text,
            });
        }
    }
    Ok(found)
}
