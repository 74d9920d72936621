//! The engines that the tests run on.

use tempfile::TempDir;

use store::{Store, StoreOptions};

use crate::faulty::FaultyDisk;

/// An engine, with the storage that outlives a store on it.
pub(crate) enum TestEngine {
    Memory,
    Inline(FaultyDisk),
    Threaded(FaultyDisk),
    Disk(TempDir),
}

impl TestEngine {
    pub(crate) fn inline() -> Self {
        Self::Inline(FaultyDisk::default())
    }

    pub(crate) fn threaded() -> Self {
        Self::Threaded(FaultyDisk::default())
    }

    pub(crate) fn disk() -> Self {
        Self::Disk(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(StoreOptions::default())
    }

    pub(crate) fn open_with(&self, options: StoreOptions) -> Store {
        match self {
            Self::Memory => Store::open_memory_with(options),
            Self::Inline(disk) => {
                Store::open_inline(Box::new(disk.clone()), options).expect("a readable disk")
            }
            Self::Disk(dir) => Store::open_disk(dir.path(), options).expect("a readable disk"),
            Self::Threaded(disk) => {
                Store::open_threaded(Box::new(disk.clone()), options).expect("a readable disk")
            }
        }
    }

    /// Returns true when a store that is opened again holds what was committed before.
    pub(crate) fn is_durable(&self) -> bool {
        !matches!(self, Self::Memory)
    }
}
