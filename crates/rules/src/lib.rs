//! What controllers and tools both ask of Kubernetes objects, answered once: the state of a pod,
//! which labels a selector means, whether a node can take a pod, how many pods a budget wants
//! healthy.
//!
//! Everything is pure: typed objects in, a value out. Nothing here holds a client, and the time is
//! an argument.

pub mod affinity;
pub mod budgets;
pub mod conditions;
pub mod fit;
pub mod nodes;
pub mod owners;
pub mod pods;
pub mod resources;
pub mod selector;

use jiff::Timestamp;

/// `time` moved by `seconds`, bounded by what can be told.
#[must_use]
pub fn after_seconds(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}
