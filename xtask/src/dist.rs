//! `cargo xtask dist`: builds the archive of a release.
//!
//! The archive contains the binary, shell completions, manual pages, the licence and the changelog,
//! in one directory that carries the version and the target.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ci::cargo;
use crate::say;

const SHELLS: &[&str] = &["bash", "elvish", "fish", "powershell", "zsh"];

/// Builds the release binary and packs it into `target/dist`.
///
/// # Errors
///
/// Fails when the build, the binary, `tar` or `sha256sum` fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut build = Command::new(cargo());
    run_command(
        build.args(["build", "--release", "--locked", "--package", "exeunt"]),
        root,
    )?;
    let binary = root.join("target/release/exeunt");
    let name = format!("exeunt-{}-{}", env!("CARGO_PKG_VERSION"), target()?);
    let dist = root.join("target/dist");
    let directory = dist.join(&name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    let completions = directory.join("completions");
    let manuals = directory.join("man");
    for path in [&completions, &manuals] {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot create {}", path.display()))?;
    }
    copy(&binary, &directory.join("exeunt"))?;
    for file in ["LICENSE", "CHANGELOG.md", "README.md"] {
        copy(&root.join(file), &directory.join(file))?;
    }
    for shell in SHELLS {
        let script = Command::new(&binary)
            .args(["completions", shell])
            .output()
            .context("cannot start the binary")?;
        if !script.status.success() {
            bail!("`exeunt completions {shell}` failed");
        }
        let path = completions.join(format!("exeunt.{shell}"));
        std::fs::write(&path, script.stdout)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    run_command(Command::new(&binary).arg("man").arg(&manuals), root)?;
    let archive = format!("{name}.tar.gz");
    run_command(
        Command::new("tar").args(["--create", "--gzip", "--file", &archive, &name]),
        &dist,
    )?;
    let sum = Command::new("sha256sum")
        .arg(&archive)
        .current_dir(&dist)
        .output()
        .context("cannot start sha256sum")?;
    if !sum.status.success() {
        bail!("sha256sum failed");
    }
    std::fs::write(dist.join(format!("{archive}.sha256")), sum.stdout)
        .context("cannot write the checksum")?;
    say(&format!("target/dist/{archive}"));
    Ok(())
}

/// The target triple for which this toolchain builds.
fn target() -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("cannot start rustc")?;
    let version = String::from_utf8_lossy(&output.stdout);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("rustc does not print its host")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn run_command(command: &mut Command, directory: &Path) -> Result<()> {
    let status = command
        .current_dir(directory)
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}
