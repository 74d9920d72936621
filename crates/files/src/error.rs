//! Why a file is not used, and what its user can do.

use std::path::{Path, PathBuf};

/// The error of opening, checking or writing a private file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Another user owns the file or directory and can change it at any time.
    #[error("{} belongs to user {owner}, not to user {user} of this process", .path.display())]
    Foreign {
        /// Path of the file or directory.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// Others may write the file or directory and may have changed it.
    #[error("other users may write {} (mode {mode:04o})", .path.display())]
    Writable {
        /// Path of the file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link is in place of a file that would be written through it, or another user made
    /// the link that leads to a directory.
    #[error("{} is a symbolic link", .path.display())]
    Link {
        /// Path of the link.
        path: PathBuf,
    },
    /// The path leads to something other than a regular file.
    #[error("{} is not a regular file", .path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// The operating system returned an error.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// The attempted operation, for example `read`.
        doing: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// What the operating system reports.
        #[source]
        source: std::io::Error,
    },
}

impl FileError {
    /// Returns a constructor for errors of the operating system.
    pub(crate) fn io<'a>(
        doing: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Returns what the user can do so that the file is accepted; `None` for errors of the
    /// operating system.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Foreign { path, user, .. } => Some(format!(
                "use another directory; or check what this one contains, and take it over with: \
                 chown -R {user} {}",
                path.display()
            )),
            Self::Writable { path, .. } => Some(format!(
                "check that nobody has changed it, and then: chmod -R go-rwx {}",
                path.display()
            )),
            Self::Link { path } => Some(format!(
                "remove the link {}, and put the file itself in its place",
                path.display()
            )),
            Self::NotRegular { path } => Some(format!("move {} away", path.display())),
            Self::Io { .. } => None,
        }
    }
}
