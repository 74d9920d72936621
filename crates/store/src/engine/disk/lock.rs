//! The lock file: it makes the directory one process's, and holds the newest acknowledged revision.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use files::FileIdentity;

use crate::engine::EngineError;
use crate::engine::codec::{decode_acknowledged, encode_acknowledged};
use crate::record::Revision;

/// The name of the lock file in the directory of a store.
pub(super) const LOCK_FILE: &str = "lock";

/// How often a lock file may be replaced while it is being locked. Each replacement is another
/// process that started and failed in that moment.
const MAX_ATTEMPTS: usize = 10;

/// A lock file, locked while this value exists.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
    path: PathBuf,
    /// Created by this value, and to be removed with it unless [`DirectoryLock::keep`] is called.
    temporary: bool,
}

impl DirectoryLock {
    /// Locks the directory.
    ///
    /// # Errors
    /// [`EngineError::InUse`] when another process, or this one, has locked it.
    pub(super) fn take(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join(LOCK_FILE);
        for _ in 0..MAX_ATTEMPTS {
            let (file, temporary) = files::open_or_create_private(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(EngineError::InUse),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // The owner of a temporary lock file may have removed it before this lock was granted.
            if FileIdentity::at(&path)? == Some(FileIdentity::of(&file)?) {
                return Ok(Self {
                    file,
                    path,
                    temporary,
                });
            }
        }
        Err(EngineError::InUse)
    }

    /// Keeps the file when the lock is released.
    pub(super) fn keep(&mut self) {
        self.temporary = false;
    }

    /// Returns the open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the newest acknowledged revision; 0 when it is unknown.
    pub(super) fn read_acknowledged(&mut self) -> io::Result<Revision> {
        let mut bytes = Vec::new();
        self.file.rewind()?;
        // More than any acknowledged revision takes: the rest would be ignored.
        (&self.file).take(MAX_BYTES).read_to_end(&mut bytes)?;
        // The file is written without a sync, so a power failure can leave any bytes in it.
        Ok(decode_acknowledged(&bytes).unwrap_or_default())
    }

    /// Writes the newest acknowledged revision, without a sync.
    pub(super) fn write_acknowledged(&mut self, revision: Revision) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(&encode_acknowledged(revision))
    }
}

/// The part of the lock file that is read.
const MAX_BYTES: u64 = 4096;

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if self.temporary {
            // Before the lock is released, so that nobody else's lock file is removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}
