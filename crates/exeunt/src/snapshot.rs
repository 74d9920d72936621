//! Files that stand for a cluster: what `kubectl get … -o yaml` printed, or manifests.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ::drain::cluster::ClusterSnapshot;
use jiff::Timestamp;

use crate::failure::Failure;

/// A file as it was named, and its text.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
    written: Option<Timestamp>,
}

/// Reads the files, in their order; `-` is standard input.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<File>, Failure> {
    paths.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<File, Failure> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| {
        Failure::usage(
            format!("cannot read {name}: {error}"),
            "give the path of a YAML or JSON file, or - for standard input",
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

/// The snapshot that the files are together, as of the moment when the newest was written: ages are
/// to be those that the cluster had.
pub(crate) fn parse(files: &[File], now: Timestamp) -> Result<ClusterSnapshot, Failure> {
    let moment = files
        .iter()
        .filter_map(|file| file.written)
        .max()
        .unwrap_or(now);
    let mut whole: Option<ClusterSnapshot> = None;
    for file in files {
        let hint = "kubectl get RESOURCES -A -o yaml writes such files";
        let part = ClusterSnapshot::parse(&file.text, moment)
            .map_err(|error| Failure::usage(format!("{}: {error}", file.name), hint))?;
        match &mut whole {
            Some(whole) => whole.absorb(part),
            None => whole = Some(part),
        }
    }
    Ok(whole.unwrap_or_else(|| ClusterSnapshot::empty(moment)))
}
