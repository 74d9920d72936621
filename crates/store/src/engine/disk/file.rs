//! The file below redb, which does not sync while the store is being founded.
//!
//! redb makes a new file in many small steps, each of them safe after a crash. Ours becomes the
//! store only by its renaming, so that one sync before it is enough; on a disk whose syncs take
//! some milliseconds that is most of the time of a first start.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// A file that is not yet a store.
#[derive(Debug)]
pub(super) struct NewFile {
    file: FileBackend,
    founded: Arc<AtomicBool>,
}

/// Ends the founding.
#[derive(Debug)]
pub(super) struct Founding {
    file: File,
    founded: Arc<AtomicBool>,
}

impl NewFile {
    /// For an empty file that nobody takes for a store.
    pub(super) fn new(file: File) -> Result<(Self, Founding), DatabaseError> {
        let founded = Arc::new(AtomicBool::new(false));
        let founding = Founding {
            file: file.try_clone().map_err(redb::StorageError::from)?,
            founded: Arc::clone(&founded),
        };
        Ok((
            Self {
                file: FileBackend::new(file)?,
                founded,
            },
            founding,
        ))
    }
}

impl Founding {
    /// Makes all that was written durable. From here on each sync is one.
    pub(super) fn finish(self) -> io::Result<()> {
        self.founded.store(true, Ordering::SeqCst);
        self.file.sync_all()
    }
}

impl StorageBackend for NewFile {
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
        if self.founded.load(Ordering::SeqCst) {
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
