//! The locations of the tools, and how scripts run against a server.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Server, shown};

/// The kubectl of Debian 12, the oldest that is still in use.
pub(crate) const KUBECTL_1_20: &str = "EXEUNT_KUBECTL_1_20";
/// A Python interpreter that has the package `kubernetes` (see `python/requirements.txt`).
pub(crate) const PYTHON: &str = "EXEUNT_PYTHON";
/// The directory into which `npm ci` installed the packages of `javascript/package.json`.
pub(crate) const NODE_MODULES: &str = "EXEUNT_NODE_MODULES";

/// Returns the path that a variable names. If it is not set, prints that the test is skipped, or
/// fails if `EXEUNT_REQUIRE_TOOLS` is 1.
pub(crate) fn named_by(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    match &path {
        Some(path) => assert!(
            path.exists(),
            "{variable} names {}, which does not exist",
            path.display()
        ),
        None => {
            assert!(
                std::env::var("EXEUNT_REQUIRE_TOOLS").as_deref() != Ok("1"),
                "{variable} is required here and is not set"
            );
            eprintln!("SKIPPED: {variable} is not set");
        }
    }
    path
}

/// Runs a script of this directory against its own server with two nodes.
pub(crate) fn run_script(interpreter: &Path, script: &str) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "2"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(script);
    let output = Command::new(interpreter)
        .arg(&script)
        .arg(&server.kubeconfig)
        // Caches are not written beside the scripts or into the user's home directory.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOME", directory.path())
        .output()
        .expect("the interpreter starts");
    assert!(
        output.status.success(),
        "{}: {}",
        script.display(),
        shown(&output)
    );
    assert!(
        output.stdout.starts_with(b"ok: "),
        "the script asserts something: {}",
        shown(&output)
    );
}
