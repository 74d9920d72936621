//! `cargo xtask tidy`: checks that the compiler cannot make.
//!
//! It checks the dependencies between our crates, import circles, file sizes and headers, the width
//! of lines, links between documents, phrases, and types that share a name. Each check is a
//! function from the repository to a list of faults, and one run reports all faults.

mod arrows;
mod circles;
mod files;
mod lexer;
mod links;
mod phrases;
mod sources;
mod transition;
mod types;
mod width;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::say;

/// Runs every check and prints the faults.
///
/// # Errors
///
/// Fails when there is any fault, or when a file cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let faults = faults(root)?;
    for fault in &faults {
        say(fault);
    }
    if faults.is_empty() {
        Ok(())
    } else {
        bail!("{} faults", faults.len())
    }
}

/// Prints what a check finds, in crates that are still exempt from it too.
pub(crate) fn report(root: &Path, check: &str) -> Result<()> {
    let lines = match check {
        "--circles" => circles::report(root)?,
        "--phrases" => phrases::report(root)?,
        "--types" => types::report(root)?,
        "--width" => width::report(root)?,
        _ => bail!("tidy takes --circles, --phrases, --types or --width, not {check:?}"),
    };
    for line in lines {
        say(&line);
    }
    Ok(())
}

fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = arrows::faults(root)?;
    faults.extend(circles::faults(root)?);
    faults.extend(files::faults(root)?);
    faults.extend(links::faults(root)?);
    faults.extend(phrases::faults(root)?);
    faults.extend(types::faults(root)?);
    faults.extend(width::faults(root)?);
    Ok(faults)
}

/// All files below `directory` whose name ends with `ending`, sorted, without build output.
fn files_below(directory: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" && name != "node_modules" {
                found.extend(files_below(&path, ending)?);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let faults = super::faults(&crate::root()).expect("the repository can be read");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
