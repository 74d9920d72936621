//! The engine that keeps nothing: for tests and for servers that may forget.

use crate::engine::{Batch, Engine, EngineError, Stored};
use crate::record::Revision;

/// Keeps nothing: everything that the store needs to run, it holds itself.
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
