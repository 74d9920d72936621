//! Completion scripts and manual pages, generated from the definition of the command line.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::error::CliError;
use crate::terminal::print_block;

/// Prints a completion script for a shell.
pub(crate) fn complete(shell: clap_complete::Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "exeunt", &mut script);
    print_block(
        String::from_utf8(script)
            .context("cannot print the completion script")?
            .trim_end(),
    );
    Ok(())
}

/// Writes a manual page for each command into a directory, which is created if necessary.
pub(crate) fn write(dir: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write manual pages to {}", dir.display()))?;
    Ok(())
}
