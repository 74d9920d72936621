//! Where a store under test lives, so that it can be opened again.

use tempfile::TempDir;

use store::{Options, Store};

use crate::faulty::Disk;

/// A kind of engine together with what outlives the store.
pub(crate) enum Place {
    Memory,
    Inline(Disk),
    Threaded(Disk),
    Disk(TempDir),
}

impl Place {
    pub(crate) fn inline() -> Self {
        Self::Inline(Disk::default())
    }

    pub(crate) fn threaded() -> Self {
        Self::Threaded(Disk::default())
    }

    pub(crate) fn disk() -> Self {
        Self::Disk(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(Options::default())
    }

    pub(crate) fn open_with(&self, options: Options) -> Store {
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

    /// True when a store that is opened again has what was committed before.
    pub(crate) fn is_durable(&self) -> bool {
        !matches!(self, Self::Memory)
    }
}
