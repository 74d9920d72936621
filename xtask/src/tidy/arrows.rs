//! The dependencies between our crates. `ARCHITECTURE.md` explains the layers.

use std::path::Path;

use anyhow::{Context, Result};

/// Each crate with those of our crates that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("files", &[]),
    ("kinds", &[]),
    ("rules", &["kinds"]),
    ("store", &["files"]),
    ("registry", &["clock", "kinds", "rules", "store"]),
    ("server", &["clock", "files", "kinds", "registry"]),
    ("events", &["clock", "kinds"]),
    ("control", &["clock", "events", "kinds", "rules"]),
    ("node", &["clock", "events", "kinds"]),
    ("drain", &["clock", "kinds", "rules"]),
    (
        "cluster",
        &[
            "clock", "files", "kinds", "store", "registry", "server", "control", "node",
        ],
    ),
    ("exeunt", &["cluster", "clock", "files", "kinds", "drain"]),
    ("testkit", &["cluster", "clock", "store"]),
    ("fuzzing", &["kinds", "registry", "server", "testkit"]),
];

/// Crates that must not depend on the Kubernetes client: they are the server, or are below it.
const NO_KUBE: &[&str] = &[
    "clock", "files", "kinds", "rules", "store", "registry", "server",
];

/// One fault per dependency that is not allowed.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let directory = entry?.path();
        let name = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let manifest = directory.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        match ALLOWED.iter().find(|(known, _)| *known == name) {
            Some((_, allowed)) => faults.extend(check(&name, allowed, &dependencies(&text))),
            None => faults.push(format!(
                "crates/{name}: not in the list of allowed dependencies (xtask/src/tidy/arrows.rs)"
            )),
        }
    }
    faults.sort();
    Ok(faults)
}

fn check(name: &str, allowed: &[&str], dependencies: &[String]) -> Vec<String> {
    let ours = |dependency: &str| ALLOWED.iter().any(|(known, _)| *known == dependency);
    let mut faults = Vec::new();
    for dependency in dependencies {
        if ours(dependency) && !allowed.contains(&dependency.as_str()) {
            faults.push(format!("crates/{name}: may not use {dependency}"));
        }
        if dependency == "kube" && NO_KUBE.contains(&name) {
            faults.push(format!("crates/{name}: may not hold a Kubernetes client"));
        }
    }
    faults
}

/// The names in the section `[dependencies]`; `[dev-dependencies]` do not count.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside
            && let Some(name) = line
                .split(['.', ' ', '='])
                .next()
                .filter(|name| !name.is_empty() && !name.starts_with('#'))
        {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_reaches_into_the_store_is_found() {
        let found = dependencies(
            "[dependencies]\nkinds.workspace = true\nstore = { path = \"../store\" }\n[dev-dependencies]\nserver.workspace = true\n",
        );
        assert_eq!(found, ["kinds", "store"]);
        assert_eq!(
            check("control", &["clock", "kinds"], &found),
            ["crates/control: may not use store"]
        );
    }
}
