//! `cargo xtask schema`: generates the table of facts of the crate `kinds`.
//!
//! It reads names and numbers from `facts/` ([`facts`]), merges them into one list of types and
//! resources ([`model`]) and writes that as Rust statics ([`render`]) into
//! `crates/kinds/src/generated`. It never guesses a name: facts that contradict each other are an
//! error. A test fails when the committed files are stale.

mod facts;
mod model;
mod render;

use std::path::Path;

use anyhow::{Context, Result, bail};

/// The directory of `generated.rs` and `generated/`, relative to the root of the workspace.
const SOURCES: &str = "crates/kinds/src";

/// Generates the table from the facts in `facts_dir` into the workspace at `root`.
pub(crate) fn run(root: &Path, facts_dir: &Path) -> Result<()> {
    let sources = root.join(SOURCES);
    let files = files(facts_dir)?;
    let directory = sources.join("generated");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
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

/// The names of the generated files and their contents.
fn files(facts_dir: &Path) -> Result<Vec<(String, String)>> {
    if facts_dir.join("swagger.json").is_file() || facts_dir.join("api/openapi-spec").is_dir() {
        bail!(
            "{} is a Kubernetes checkout: extract fields.json, protobuf.json and paths.json from its OpenAPI document and \
             generated.proto files first (facts/README.md describes their format)",
            facts_dir.display()
        );
    }
    let facts = facts::SchemaFacts::read(facts_dir)?;
    let model = model::Model::build(&facts)?;
    Ok(render::files(&model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_table_matches_the_facts() {
        let root = crate::root();
        let files = files(&root.join("facts")).expect("the facts agree");
        let sources = root.join(SOURCES);
        for (name, text) in &files {
            let committed = std::fs::read_to_string(sources.join(name)).unwrap_or_default();
            assert!(
                committed == *text,
                "{name} is stale: run `cargo xtask schema`"
            );
        }
        let committed = std::fs::read_dir(sources.join("generated"))
            .expect("the generated directory exists")
            .count();
        assert_eq!(
            committed + 1,
            files.len(),
            "there are stale files: run `cargo xtask schema`"
        );
    }
}
