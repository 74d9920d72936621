//! An engine that records what is durable, for the assertions of the scenarios.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use shuttle::rand::Rng as _;

use crate::engine::{Batch, Engine, EngineError, Stored, Write};
use crate::record::Revision;
use crate::sync::thread;

/// The durable image of a store. Clones are the same image.
///
/// The mutex is that of the standard library: no thread switch happens while it is held, so it is
/// not part of the schedule.
#[derive(Clone, Debug, Default)]
pub(crate) struct DurableImage(Arc<Mutex<DurableRecords>>);

#[derive(Debug, Default)]
pub(crate) struct DurableRecords {
    pub(crate) revision: Revision,
    /// The modification revision of each key.
    pub(crate) keys: BTreeMap<String, Revision>,
}

impl DurableImage {
    pub(crate) fn read(&self) -> MutexGuard<'_, DurableRecords> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

/// An engine on a [`DurableImage`].
#[derive(Debug)]
pub(crate) struct RecordingEngine {
    pub(crate) image: DurableImage,
    /// Whether the scheduler may let an append fail.
    pub(crate) may_fail: bool,
}

impl Engine for RecordingEngine {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        Ok(Revision(0))
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        // Other threads run while the engine writes, and between the sync and its report.
        thread::yield_now();
        if self.may_fail && shuttle::rand::thread_rng().gen_range(0..3) == 0 {
            return Err(EngineError::Failed("a simulated failure".into()));
        }
        {
            let mut image = self.image.read();
            assert!(image.revision < batch.revision, "batches arrive in order");
            image.revision = batch.revision;
            for write in &batch.writes {
                match write {
                    Write::Put(record) => {
                        image.keys.insert(record.key.to_string(), record.modified)
                    }
                    Write::Remove(key) => image.keys.remove(*key),
                };
            }
        }
        thread::yield_now();
        Ok(())
    }
}
