//! The synchronization primitives of the store.
//!
//! Locks, threads and the clock come from here and from nowhere else, so that the crate root
//! `schedules.rs` can compile the store a second time, with primitives whose interleaving a test
//! controls.

pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
pub(crate) use std::thread;

pub(crate) use tokio::time::Instant;
