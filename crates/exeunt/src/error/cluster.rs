//! Errors of a cluster in this process, with a hint where the user can act.

use cluster::{ClusterError, EngineError};
use files::FileError;

use super::CliError;

impl From<ClusterError> for CliError {
    fn from(error: ClusterError) -> Self {
        if let ClusterError::Nodes(reason) = &error {
            return Self::usage(format!("{error}: {reason}"), "use a smaller --nodes");
        }
        let hint = hint(&error);
        let error = Self::from(anyhow::Error::new(error));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

fn hint(error: &ClusterError) -> Option<String> {
    let untrusted = error.file().and_then(FileError::remedy);
    untrusted.or_else(|| operation_hint(error).map(str::to_owned))
}

fn operation_hint(error: &ClusterError) -> Option<&'static str> {
    match error {
        ClusterError::Listen { source, .. } => Some(match source.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there; use another port, or port 0 for a free one"
            }
            std::io::ErrorKind::AddrNotAvailable => "use an address of this machine",
            _ => "use another --listen address",
        }),
        ClusterError::Store(error) => Some(match error.reason {
            EngineError::InUse => "stop the other process, or use another --data-dir",
            EngineError::Corrupt(_) => {
                "nothing was changed; restore a backup, or move the directory away to start empty"
            }
            EngineError::Format { .. } => "use the version of exeunt that wrote it",
            EngineError::Io(_)
            | EngineError::Failed(_)
            | EngineError::Untrusted(_)
            | EngineError::Replaced { .. } => {
                "check that the directory is writable and that the disk is not full"
            }
        }),
        _ => None,
    }
}

impl From<FileError> for CliError {
    fn from(error: FileError) -> Self {
        let remedy = error.remedy();
        let error = Self::from(anyhow::Error::new(error));
        match remedy {
            Some(remedy) => error.hint(remedy),
            None => error,
        }
    }
}
