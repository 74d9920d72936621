//! Completion scripts and manual pages, from the definition of the command line.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::terminal::say;

/// Prints a completion script.
pub(crate) fn complete(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "exeunt", &mut script);
    say(String::from_utf8(script)
        .context("the script is not text")?
        .trim_end());
    Ok(())
}

/// Writes manual pages.
pub(crate) fn write(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    Ok(())
}
