//! The official client for Python (`python/*.py`).

use crate::tools::{PYTHON, named_by, run_script};

fn run(script: &str) {
    if let Some(python) = named_by(PYTHON) {
        run_script(&python, &format!("python/{script}.py"));
    }
}

#[test]
fn typed_client_reads_and_writes() {
    run("typed");
}

#[test]
fn dynamic_client_discovers_built_in_and_custom_kinds() {
    run("dynamic");
}

#[test]
fn watches_show_every_change() {
    run("watching");
}

#[test]
fn evictions_are_granted_and_refused() {
    run("eviction");
}
