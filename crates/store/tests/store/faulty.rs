//! An engine on a disk that can fail. Writes go to a *live* image and syncs copy it to a *durable*
//! one; a crash leaves the durable image.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use store::{Batch, Engine, EngineError, Revision, Stored, Write};

/// A disk that outlives the stores on it. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<Images>>);

#[derive(Clone, Debug, Default)]
struct Images {
    live: DiskImage,
    durable: DiskImage,
    calls: usize,
    failure: Option<(usize, DiskFailure)>,
}

#[derive(Clone, Debug, Default)]
struct DiskImage {
    records: BTreeMap<String, Stored>,
    revision: Revision,
}

/// How an append fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFailure {
    /// Nothing is written.
    Write,
    /// The batch is written, but the sync fails and a crash loses it.
    Sync,
    /// The batch is durable, but reported as failed: the disk wrote it after it reported an error.
    Late,
    /// The engine panics.
    Panic,
}

impl FaultyDisk {
    fn images(&self) -> MutexGuard<'_, Images> {
        self.0.lock().expect("no panic while the lock is held")
    }

    /// Makes the `call`-th append from now on fail, counted from 0.
    pub(crate) fn fail_at(&self, call: usize, failure: DiskFailure) {
        let mut images = self.images();
        images.failure = Some((images.calls + call, failure));
    }

    /// Simulates a power failure: only the durable image remains, and the disk works again.
    pub(crate) fn crash(&self) {
        let mut images = self.images();
        images.live = images.durable.clone();
        images.failure = None;
    }
}

impl Engine for FaultyDisk {
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        let images = self.images();
        images.live.records.values().cloned().for_each(each);
        Ok(images.live.revision)
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        let mut images = self.images();
        let failure = images
            .failure
            .filter(|(call, _)| *call == images.calls)
            .map(|(_, failure)| failure);
        images.calls += 1;
        let refused = Err(EngineError::Io(io::Error::other(
            "a simulated disk failure",
        )));
        if failure == Some(DiskFailure::Write) {
            return refused;
        }
        images.live.write(batch);
        match failure {
            Some(DiskFailure::Sync | DiskFailure::Write) => return refused,
            Some(DiskFailure::Panic) => {
                drop(images);
                panic!("a simulated panic of the engine");
            }
            Some(DiskFailure::Late) | None => images.durable = images.live.clone(),
        }
        if failure.is_some() { refused } else { Ok(()) }
    }
}

impl DiskImage {
    fn write(&mut self, batch: &Batch<'_>) {
        for write in &batch.writes {
            match write {
                Write::Put(record) => {
                    let (key, value) = (record.key.to_string(), record.value.clone());
                    let stored = Stored {
                        key: key.clone(),
                        value,
                        created: record.created,
                        modified: record.modified,
                    };
                    self.records.insert(key, stored);
                }
                Write::Remove(key) => {
                    self.records.remove(*key);
                }
            }
        }
        self.revision = batch.revision;
        assert_eq!(
            self.records.len(),
            batch.records,
            "a batch carries the number of records after it"
        );
    }
}
