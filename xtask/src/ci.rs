//! Everything that has to pass before a change lands, in the order in which it fails fastest.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{say, tidy};

/// How many of the steps run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All steps, as continuous integration runs them.
    Everything,
    /// All steps but the tests, for a check before a commit.
    Fast,
}

/// When set to `1`, a missing tool or advisory database is an error instead of a loud line.
const REQUIRE_TOOLS: &str = "EXEUNT_REQUIRE_TOOLS";

/// When set to `1`, an advisory database that cannot be fetched is an error.
const REQUIRE_ADVISORIES: &str = "EXEUNT_REQUIRE_ADVISORIES";

/// Runs the steps and stops at the first that fails.
pub(crate) fn run(root: &Path, extent: Extent) -> Result<()> {
    tidy::run(root)?;
    step(root, &["fmt", "--all", "--check"])?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    step(root, &clippy)?;
    let documentation = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ];
    step_with(root, &documentation, &[("RUSTDOCFLAGS", "-D warnings")])?;
    dependencies(root)?;
    if extent == Extent::Everything {
        tests(root)?;
    }
    Ok(())
}

/// Runs all tests: by cargo-nextest where it is installed, which leaves those in documentation to
/// `cargo test`.
fn tests(root: &Path) -> Result<()> {
    if installed(root, "nextest") {
        step(
            root,
            &[
                "nextest",
                "run",
                "--workspace",
                "--no-fail-fast",
                "--locked",
            ],
        )?;
        return step(
            root,
            &["test", "--workspace", "--doc", "--no-fail-fast", "--locked"],
        );
    }
    step(root, &["test", "--workspace", "--no-fail-fast", "--locked"])
}

/// Checks licences, sources, versions and advisories of the dependencies by cargo-deny.
fn dependencies(root: &Path) -> Result<()> {
    if !installed(root, "deny") {
        if is_set(REQUIRE_TOOLS) {
            bail!("cargo-deny is not installed: run `cargo install cargo-deny --locked`");
        }
        return warn("cargo-deny is not installed: licences, sources and advisories are unchecked");
    }
    step(
        root,
        &["deny", "--locked", "check", "bans", "licenses", "sources"],
    )?;
    if runs(root, &["deny", "fetch", "db"]) {
        step(
            root,
            &["deny", "--locked", "check", "--disable-fetch", "advisories"],
        )
    } else if is_set(REQUIRE_ADVISORIES) {
        bail!("cannot fetch the advisory database");
    } else {
        warn("cannot fetch the advisory database: known vulnerabilities are UNCHECKED in this run")
    }
}

fn warn(message: &str) -> Result<()> {
    say(&format!("warning: {message}"));
    Ok(())
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

fn step(root: &Path, arguments: &[&str]) -> Result<()> {
    step_with(root, arguments, &[])
}

fn step_with(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    say(&format!("==> cargo {}", arguments.join(" ")));
    let status = Command::new(cargo())
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

/// Whether a command succeeds; its output goes to the terminal.
fn runs(root: &Path, arguments: &[&str]) -> bool {
    say(&format!("==> cargo {}", arguments.join(" ")));
    Command::new(cargo())
        .args(arguments)
        .current_dir(root)
        .status()
        .is_ok_and(|status| status.success())
}

fn installed(root: &Path, subcommand: &str) -> bool {
    Command::new(cargo())
        .args([subcommand, "--version"])
        .current_dir(root)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The cargo that runs this program, or the one on `PATH`.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
