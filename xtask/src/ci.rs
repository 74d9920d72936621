//! What has to pass before a change lands, in the order in which it fails fastest.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{say, tidy};

/// How much of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it, as the continuous integration runs it.
    Everything,
    /// Without the tests, for a quick look before a commit.
    Fast,
}

/// Runs the steps and stops at the first that fails.
pub(crate) fn run(root: &Path, extent: Extent) -> Result<()> {
    tidy::run(root)?;
    step(root, &["fmt", "--all", "--check"])?;
    step(
        root,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    if installed(root, "deny") {
        step(
            root,
            &["deny", "--offline", "check", "bans", "licenses", "sources"],
        )?;
    } else {
        say("skipped: cargo deny is not installed");
    }
    if extent == Extent::Everything {
        step(root, &["test", "--workspace", "--no-fail-fast"])?;
    }
    Ok(())
}

fn step(root: &Path, arguments: &[&str]) -> Result<()> {
    say(&format!("==> cargo {}", arguments.join(" ")));
    let status = Command::new(cargo())
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

fn installed(root: &Path, subcommand: &str) -> bool {
    Command::new(cargo())
        .args([subcommand, "--version"])
        .current_dir(root)
        .output()
        .is_ok_and(|output| output.status.success())
}

pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
