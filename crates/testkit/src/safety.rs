//! Watching over the safety of evictions: an observer that sees every write and knows what must
//! never happen, and a store that can crash without forgetting what was durable.
//!
//! The [`Ledger`] knows the rules in words of its own; it shares no code with the registry and the
//! controllers that it watches. It is fed with all writes of pods and budgets in the order of their
//! revisions, by a [`Disk`] that sees them become durable, or from watches. `docs/safety.md` says
//! what it checks.

mod disk;
mod ledger;
mod sight;

pub use disk::{Death, Disk};
pub use ledger::Ledger;
