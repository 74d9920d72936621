//! A file backend for redb that does not sync while a new store is created.
//!
//! redb creates a file in many small steps and syncs each of them. Here the file becomes the store
//! only when it is renamed, so one sync before the rename is enough. On a disk whose syncs take
//! some milliseconds this saves most of the time of the first start.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// A file backend whose syncs have no effect until [`SyncSwitch::enable`] is called.
#[derive(Debug)]
pub(super) struct DeferredSync {
    file: FileBackend,
    enabled: Arc<AtomicBool>,
}

/// Enables the syncs of a [`DeferredSync`].
#[derive(Debug)]
pub(super) struct SyncSwitch {
    file: File,
    enabled: Arc<AtomicBool>,
}

impl DeferredSync {
    /// Wraps a new file that does not have the name of a store yet.
    pub(super) fn new(file: File) -> Result<(Self, SyncSwitch), DatabaseError> {
        let enabled = Arc::new(AtomicBool::new(false));
        let switch = SyncSwitch {
            file: file.try_clone().map_err(redb::StorageError::from)?,
            enabled: Arc::clone(&enabled),
        };
        Ok((
            Self {
                file: FileBackend::new(file)?,
                enabled,
            },
            switch,
        ))
    }
}

impl SyncSwitch {
    /// Makes everything durable that was written so far. From here on, every sync is effective.
    pub(super) fn enable(self) -> io::Result<()> {
        self.enabled.store(true, Ordering::SeqCst);
        self.file.sync_all()
    }
}

impl StorageBackend for DeferredSync {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.enabled.load(Ordering::SeqCst) {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
