//! The engine without durability, for tests and for servers whose data may be lost.

use crate::engine::{Batch, Engine, EngineError, Stored};
use crate::record::Revision;

/// An engine that stores nothing. The store itself holds all it needs to serve reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryEngine;

impl Engine for MemoryEngine {
    fn load(&mut self, _each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        Ok(Revision(0))
    }

    fn append(&mut self, _batch: &Batch<'_>) -> Result<(), EngineError> {
        Ok(())
    }
}
