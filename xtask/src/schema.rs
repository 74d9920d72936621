//! `cargo xtask schema`: makes the table of facts of the crate `kinds`.
//!
//! Reads names and numbers from `facts/` (see [`facts`]), brings them together into one list of
//! types and resources ([`model`]) and writes them as Rust statics ([`render`]) into
//! `crates/kinds/src/generated`. It must never invent a name: what the facts do not agree on is an
//! error here, not a guess there. A test says when the committed files are stale.

mod facts;
mod model;
mod render;

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Where the generated files go, seen from the workspace's root: `generated.rs` and what it holds.
const SOURCES: &str = "crates/kinds/src";

/// Generates the table from the facts in `facts_dir` into the workspace at `root`.
pub(crate) fn run(root: &Path, facts_dir: &Path) -> Result<()> {
    let sources = root.join(SOURCES);
    let files = files(facts_dir)?;
    let directory = sources.join("generated");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        if !files.iter().any(|(name, _)| sources.join(name) == path) {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for (name, text) in &files {
        let path = sources.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The files as they should be: name and text.
fn files(facts_dir: &Path) -> Result<Vec<(String, String)>> {
    if facts_dir.join("swagger.json").is_file() || facts_dir.join("api/openapi-spec").is_dir() {
        bail!(
            "{} is a Kubernetes checkout: extract fields.json, protobuf.json and paths.json from its OpenAPI document and \
             generated.proto files first (their form stands in facts/README.md)",
            facts_dir.display()
        );
    }
    let facts = facts::Facts::read(facts_dir)?;
    let model = model::Model::build(&facts)?;
    Ok(render::files(&model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_table_is_what_the_facts_say() {
        let root = crate::root();
        let files = files(&root.join("facts")).expect("the facts are sound");
        let sources = root.join(SOURCES);
        for (name, text) in &files {
            let committed = std::fs::read_to_string(sources.join(name)).unwrap_or_default();
            assert!(
                committed == *text,
                "{name} is stale: run `cargo xtask schema`"
            );
        }
        let committed = std::fs::read_dir(sources.join("generated"))
            .expect("the output is there")
            .count();
        assert_eq!(
            committed + 1,
            files.len(),
            "there are files that nobody generates: run `cargo xtask schema`"
        );
    }
}
