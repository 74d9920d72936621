//! `cargo xtask soak`: runs the test that kills the real binary repeatedly, for minutes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ci::cargo;

/// Runs the soak test. `--minutes N` sets how long (default 10), `--seed N` repeats the traffic of
/// an earlier run, `--release` tests the release build. `--hostile` runs the test with hostile
/// clients instead, for as many minutes (default 1) without them as with them.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(cargo());
    command.args(["test", "--package", "exeunt", "--test", "soak"]);
    let (mut hostile, mut minutes) = (false, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--release" => drop(command.arg("--release")),
            "--hostile" => hostile = true,
            "--minutes" => minutes = Some(number(rest.next())?),
            "--seed" => drop(command.env("EXEUNT_SOAK_SEED", number(rest.next())?.to_string())),
            other => {
                bail!("soak takes --hostile, --minutes N, --seed N and --release, not {other:?}")
            }
        }
    }
    let test = if hostile {
        let seconds = minutes.unwrap_or(1).saturating_mul(60);
        command.env("EXEUNT_SOAK_HOSTILE_SECONDS", seconds.to_string());
        "hostile_clients"
    } else {
        command.env("EXEUNT_SOAK_MINUTES", minutes.unwrap_or(10).to_string());
        "acknowledged_writes"
    };
    let status = command
        .args(["--", "--nocapture", test])
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the soak test failed");
    }
    Ok(())
}

fn number(text: Option<&&str>) -> Result<u64> {
    let text = text.context("--minutes and --seed take a number")?;
    text.parse()
        .with_context(|| format!("invalid number {text:?}"))
}
