//! Where the tools are, and how a script is run against a server.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Server, shown};

/// The kubectl of Debian 12, the oldest that people still have at hand.
pub(crate) const KUBECTL_1_20: &str = "EXEUNT_KUBECTL_1_20";
/// A Python interpreter that has the package `kubernetes` (see `python/requirements.txt`).
pub(crate) const PYTHON: &str = "EXEUNT_PYTHON";
/// The folder into which `npm ci` has put what `javascript/package.json` asks for.
pub(crate) const NODE_MODULES: &str = "EXEUNT_NODE_MODULES";

/// What a variable names. Without it says so, and fails where nothing may be skipped.
pub(crate) fn named_by(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    match &path {
        Some(path) => assert!(
            path.exists(),
            "{variable} names {}, which is not there",
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

/// Runs a script of this folder against a server of its own with two nodes.
pub(crate) fn run_script(interpreter: &Path, script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--nodes", "2"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(script);
    let output = Command::new(interpreter)
        .arg(&script)
        .arg(&server.kubeconfig)
        // Nothing is left beside the scripts, nor in the home of whoever runs this.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOME", folder.path())
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
