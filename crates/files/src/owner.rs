//! Owners and modes of files: the decision, and narrowing what others may only read.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::FileError;

/// The owners whose files are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// This user's, and no symbolic links.
    OwnOnly,
    /// This user's and root's.
    OwnOrRoot,
}

#[cfg(unix)]
mod unix {
    use std::fs::{Metadata, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::{File, FileError, Path, Trust, io};

    const ROOT: u32 = 0;
    /// Write permission of the group and of others.
    const OTHERS_WRITE: u32 = 0o022;
    const PERMISSION_BITS: u32 = 0o7777;
    const PRIVATE_DIR: u32 = 0o700;
    const PRIVATE_FILE: u32 = 0o600;

    /// What is done with an existing file or directory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Verdict {
        /// It belongs to this user alone.
        Accept,
        /// Others may read it: its mode is changed.
        Narrow,
        /// Others may write it.
        Writable,
        /// Another user owns it.
        Foreign,
    }

    /// Decides about a file or directory with this owner and these permission bits. `private` are
    /// the bits that it should have.
    pub(crate) fn judge(owner: u32, mode: u32, user: u32, trust: Trust, private: u32) -> Verdict {
        let roots = owner == ROOT && trust == Trust::OwnOrRoot;
        if owner != user && !roots {
            Verdict::Foreign
        } else if mode & OTHERS_WRITE != 0 {
            Verdict::Writable
        } else if owner != user || mode & PERMISSION_BITS == private {
            Verdict::Accept
        } else {
            Verdict::Narrow
        }
    }

    fn judge_file(metadata: &Metadata, trust: Trust, private: u32) -> Verdict {
        let user = rustix::process::geteuid().as_raw();
        judge(metadata.uid(), metadata.mode(), user, trust, private)
    }

    /// Checks a directory, and narrows it to this user.
    pub(crate) fn narrow_dir(dir: &File, path: &Path) -> Result<(), FileError> {
        let metadata = dir
            .metadata()
            .map_err(FileError::io("inspect directory", path))?;
        match judge_file(&metadata, Trust::OwnOnly, PRIVATE_DIR) {
            Verdict::Accept => Ok(()),
            Verdict::Foreign => Err(foreign(&metadata, path)),
            Verdict::Narrow => narrow(dir, path, &metadata, PRIVATE_DIR),
            Verdict::Writable if !is_empty(path)? => Err(writable(&metadata, path)),
            Verdict::Writable => {
                narrow(dir, path, &metadata, PRIVATE_DIR)?;
                // Others may have been quicker, but from here on they cannot create anything.
                match is_empty(path)? {
                    true => Ok(()),
                    false => Err(writable(&metadata, path)),
                }
            }
        }
    }

    /// Checks a regular file, and narrows it to this user if the user owns it.
    pub(crate) fn narrow_file(file: &File, path: &Path, trust: Trust) -> Result<(), FileError> {
        let metadata = regular(file, path)?;
        match judge_file(&metadata, trust, PRIVATE_FILE) {
            Verdict::Accept => Ok(()),
            Verdict::Foreign => Err(foreign(&metadata, path)),
            Verdict::Writable => Err(writable(&metadata, path)),
            Verdict::Narrow => narrow(file, path, &metadata, PRIVATE_FILE),
        }
    }

    /// Checks a regular file whose mode is its author's decision.
    pub(crate) fn check_prepared(file: &File, path: &Path) -> Result<(), FileError> {
        let metadata = regular(file, path)?;
        match judge_file(&metadata, Trust::OwnOrRoot, PRIVATE_FILE) {
            Verdict::Foreign => return Err(foreign(&metadata, path)),
            Verdict::Writable => return Err(writable(&metadata, path)),
            Verdict::Accept | Verdict::Narrow => {}
        }
        if metadata.mode() & 0o004 != 0 {
            tracing::warn!(path = %path.display(), "every user of this machine can read the file");
        }
        Ok(())
    }

    /// Refuses a symbolic link that a third user made.
    pub(crate) fn check_link(path: &Path) -> Result<(), FileError> {
        let metadata = path
            .symlink_metadata()
            .map_err(FileError::io("inspect", path))?;
        let user = rustix::process::geteuid().as_raw();
        if metadata.is_symlink() && metadata.uid() != user && metadata.uid() != ROOT {
            return Err(FileError::Link {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    /// Distinguishes a symbolic link, which is not followed, from other errors of opening a file.
    pub(crate) fn open_error(path: &Path, trust: Trust, error: io::Error) -> FileError {
        if trust == Trust::OwnOnly && path.is_symlink() {
            return FileError::Link {
                path: path.to_owned(),
            };
        }
        FileError::io("open", path)(error)
    }

    fn regular(file: &File, path: &Path) -> Result<Metadata, FileError> {
        let metadata = file.metadata().map_err(FileError::io("inspect", path))?;
        if metadata.is_file() {
            Ok(metadata)
        } else {
            Err(FileError::NotRegular {
                path: path.to_owned(),
            })
        }
    }

    fn narrow(file: &File, path: &Path, was: &Metadata, mode: u32) -> Result<(), FileError> {
        if was.mode() & 0o077 != 0 {
            tracing::warn!(
                path = %path.display(),
                mode = format_args!("{:04o}", was.mode() & PERMISSION_BITS),
                "other users could read this: only its owner can from now on"
            );
        }
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(FileError::io("change the mode of", path))?;
        let metadata = file.metadata().map_err(FileError::io("inspect", path))?;
        // Some file systems accept every change and carry out none.
        if metadata.mode() & OTHERS_WRITE != 0 {
            return Err(writable(&metadata, path));
        }
        Ok(())
    }

    fn is_empty(path: &Path) -> Result<bool, FileError> {
        let mut entries = path
            .read_dir()
            .map_err(FileError::io("read directory", path))?;
        Ok(entries.next().is_none())
    }

    fn foreign(metadata: &Metadata, path: &Path) -> FileError {
        FileError::Foreign {
            path: path.to_owned(),
            owner: metadata.uid(),
            user: rustix::process::geteuid().as_raw(),
        }
    }

    fn writable(metadata: &Metadata, path: &Path) -> FileError {
        FileError::Writable {
            path: path.to_owned(),
            mode: metadata.mode() & PERMISSION_BITS,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_what_belongs_to_one_user_alone_is_accepted() {
            use Trust::{OwnOnly, OwnOrRoot};
            for (owner, mode, trust, expected) in [
                (7, 0o600, OwnOnly, Verdict::Accept),
                (7, 0o644, OwnOnly, Verdict::Narrow),
                (7, 0o640, OwnOnly, Verdict::Narrow),
                (7, 0o400, OwnOnly, Verdict::Narrow),
                (7, 0o4600, OwnOnly, Verdict::Narrow),
                (7, 0o620, OwnOnly, Verdict::Writable),
                (7, 0o602, OwnOnly, Verdict::Writable),
                (7, 0o666, OwnOrRoot, Verdict::Writable),
                (8, 0o600, OwnOnly, Verdict::Foreign),
                (8, 0o644, OwnOrRoot, Verdict::Foreign),
                (0, 0o600, OwnOnly, Verdict::Foreign),
                (0, 0o600, OwnOrRoot, Verdict::Accept),
                (0, 0o644, OwnOrRoot, Verdict::Accept),
                (0, 0o666, OwnOrRoot, Verdict::Writable),
            ] {
                assert_eq!(
                    judge(owner, mode, 7, trust, PRIVATE_FILE),
                    expected,
                    "{owner} {mode:o} {trust:?}"
                );
            }
        }
    }
}

#[cfg(unix)]
pub(crate) use unix::{check_link, check_prepared, narrow_dir, narrow_file, open_error};

#[cfg(not(unix))]
mod other {
    use super::{File, FileError, Path, Trust, io};

    pub(crate) fn narrow_dir(_: &File, _: &Path) -> Result<(), FileError> {
        Ok(())
    }

    pub(crate) fn narrow_file(_: &File, _: &Path, _: Trust) -> Result<(), FileError> {
        Ok(())
    }

    pub(crate) fn check_prepared(_: &File, _: &Path) -> Result<(), FileError> {
        Ok(())
    }

    pub(crate) fn check_link(_: &Path) -> Result<(), FileError> {
        Ok(())
    }

    pub(crate) fn open_error(path: &Path, _: Trust, error: io::Error) -> FileError {
        FileError::io("open", path)(error)
    }
}

#[cfg(not(unix))]
pub(crate) use other::{check_link, check_prepared, narrow_dir, narrow_file, open_error};
