//! The store under a scheduler that controls every lock, condition variable and thread switch.
//!
//! This is a second crate root over the sources of the store, with another `sync` module: its
//! primitives are those of shuttle, which runs a test many times and chooses the interleaving of
//! its threads for each run. A schedule that violates a property, and a deadlock, is a failure of
//! the test. The schedules follow from fixed seeds, so a failure repeats.
//!
//! Unit tests of the store's modules that take a lock cannot be inside those modules, because this
//! root compiles them, too; they are in `tests.rs`.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the library has users for all items, this root only for some"
)]

mod commit;
mod engine;
mod feed;
mod history;
mod index;
mod keyspace;
mod options;
mod record;
#[path = "schedules/recording.rs"]
mod recording;
#[path = "schedules/scenarios.rs"]
mod scenarios;
mod shared;
mod snapshot;
mod store;
#[path = "schedules/sync.rs"]
mod sync;
mod txn;
mod watch;
mod writer;
