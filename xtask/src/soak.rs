//! The soak: builds the binary and lets the test that kills it again and again run for longer.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ci::cargo;

/// Runs the soak for so many minutes; with a seed the traffic of an earlier run.
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
        bail!("the soak has failed");
    }
    Ok(())
}

fn number<'a>(text: Option<&&'a str>) -> Result<&'a str> {
    let text = text.context("a number is missing")?;
    text.parse::<u64>()
        .with_context(|| format!("{text:?} is no number"))?;
    Ok(text)
}
