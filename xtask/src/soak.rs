//! `cargo xtask soak`: runs the test that kills the real binary repeatedly, for minutes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ci::cargo;

/// Runs the soak test. `--minutes N` sets how long (default 10), `--seed N` repeats the traffic of
/// an earlier run, `--release` tests the release build.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(cargo());
    command
        .args(["test", "--package", "exeunt", "--test", "soak"])
        .env("EXEUNT_SOAK_MINUTES", "10");
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--release" => drop(command.arg("--release")),
            "--minutes" => drop(command.env("EXEUNT_SOAK_MINUTES", number(rest.next())?)),
            "--seed" => drop(command.env("EXEUNT_SOAK_SEED", number(rest.next())?)),
            other => bail!("soak takes --minutes N, --seed N and --release, not {other:?}"),
        }
    }
    let status = command
        .args(["--", "--nocapture"])
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the soak test failed");
    }
    Ok(())
}

fn number<'a>(text: Option<&&'a str>) -> Result<&'a str> {
    let text = text.context("--minutes and --seed take a number")?;
    text.parse::<u64>()
        .with_context(|| format!("invalid number {text:?}"))?;
    Ok(text)
}
