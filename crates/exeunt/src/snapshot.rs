//! Clusters read from files: the output of `kubectl get … -o yaml`, or manifests.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ::drain::cluster::{ClusterSnapshot, Unread};
use jiff::Timestamp;

use crate::error::CliError;
use crate::terminal::print_message;

/// A file with its contents.
pub(crate) struct File {
    /// The path as it was given.
    pub(crate) name: String,
    pub(crate) text: String,
    /// When the file was last written, if it is not standard input.
    written: Option<Timestamp>,
}

/// Reads the files in order; `-` is standard input. Of a directory it reads the files with the
/// endings that kubectl reads, sorted by name, and those below it when `recursive`.
pub(crate) fn read(paths: &[PathBuf], recursive: bool) -> Result<Vec<File>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(read_one(path)?);
            continue;
        }
        let mut found = Vec::new();
        find(path, recursive, &mut found)?;
        if found.is_empty() {
            return Err(CliError::usage(
                format!("cannot read {}: it contains no manifests", path.display()),
                "use a directory with .yaml, .yml or .json files; -R reads those below it, too",
            ));
        }
        for file in &found {
            files.push(read_one(file)?);
        }
    }
    Ok(files)
}

fn find(directory: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::usage(
            format!("cannot read {}: {error}", directory.display()),
            "use a directory that you may read",
        )
    };
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    for path in paths {
        // A link to a directory above would be followed without end.
        let is_directory = path.is_dir();
        if is_directory && recursive && !path.is_symlink() {
            find(&path, recursive, found)?;
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !is_directory && matches!(ending, Some("yaml" | "yml" | "json")) {
            found.push(path);
        }
    }
    Ok(())
}

fn read_one(path: &Path) -> Result<File, CliError> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| {
        CliError::usage(
            format!("cannot read {name}: {error}"),
            "use the path of a YAML or JSON file, or - for standard input",
        )
    };
    let mut text = String::new();
    let mut written = None;
    if name == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
        let changed = path.metadata().and_then(|meta| meta.modified()).ok();
        written = changed.and_then(|at| Timestamp::try_from(at).ok());
    }
    Ok(File {
        name,
        text,
        written,
    })
}

/// Parses the files into one snapshot. Its time is when the newest file was written, so that ages
/// are those that the cluster had.
pub(crate) fn parse(files: &[File], now: Timestamp) -> Result<ClusterSnapshot, CliError> {
    let moment = files
        .iter()
        .filter_map(|file| file.written)
        .max()
        .unwrap_or(now);
    let mut whole: Option<ClusterSnapshot> = None;
    for file in files {
        let hint = "write such a file with: kubectl get RESOURCES -A -o yaml";
        let part = ClusterSnapshot::parse(&file.text, moment).map_err(|error| {
            CliError::usage(format!("cannot parse {}: {error}", file.name), hint)
        })?;
        match &mut whole {
            Some(whole) => whole.absorb(part),
            None => whole = Some(part),
        }
    }
    Ok(whole.unwrap_or_else(|| ClusterSnapshot::empty(moment)))
}

/// Reports the lists that failed. Call this after the result has been printed.
///
/// # Errors
/// A list failed and `ignore` is false: the result may be wrong.
pub(crate) fn require_complete(failed: &[&Unread], ignore: bool) -> Result<(), CliError> {
    for unread in failed {
        print_message(&format!("not checked: {}: {}", unread.resource, unread.why));
    }
    let Some(first) = failed.first().filter(|_| !ignore) else {
        return Ok(());
    };
    let kinds = match failed.len() {
        1 => "a kind of objects".to_owned(),
        count => format!("{count} kinds of objects"),
    };
    Err(CliError::new(format!(
        "the result is incomplete: {kinds} could not be read"
    ))
    .hint(format!(
        "grant the user a role that may list them, check with: kubectl auth can-i list {}; or \
             accept the result with --ignore-unreadable",
        first.resource
    )))
}
