//! Checks that evictions are safe: an observer of every write that knows which states are wrong,
//! and a storage engine that can crash without losing durable writes.
//!
//! The [`Ledger`] implements the rules independently; it shares no code with the registry and the
//! controllers that it checks. It receives all writes of pods and budgets in the order of their
//! revisions, from a [`Disk`] as they become durable, or from watches. `docs/safety.md` lists what
//! it checks.

mod disk;
mod ledger;
mod observed;

pub use disk::{CrashPoint, Disk};
pub use ledger::Ledger;
