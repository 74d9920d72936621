//! The official client for JavaScript (`javascript/*.mjs`).

use std::path::Path;

use crate::support::has;
use crate::tools::{NODE_MODULES, named_by, run_script};

fn run(script: &str) {
    if has("node") && named_by(NODE_MODULES).is_some() {
        run_script(Path::new("node"), &format!("javascript/{script}.mjs"));
    }
}

#[test]
fn typed_client_reads_and_writes() {
    run("typed");
}

#[test]
fn watches_and_informers_show_every_change() {
    run("watching");
}

#[test]
fn evictions_are_granted_and_refused() {
    run("eviction");
}
