//! What server, controllers and tools must decide alike: whether a pod may be evicted, how many
//! healthy pods a budget demands, the state of a pod, which labels a selector matches, whether a
//! node fits a pod, what is wrong with a budget.
//!
//! Everything is pure: values in, a value out. Nothing here holds a client, and the time is an
//! argument. Read next: [`eviction`], the rule that the system exists for.

pub mod affinity;
pub mod budgets;
pub mod conditions;
pub mod eviction;
pub mod fit;
pub mod nodes;
pub mod owners;
pub mod pods;
pub mod resources;
pub mod selector;
pub mod tree;
pub mod validation;

use jiff::Timestamp;

/// Adds seconds to a time. Saturates at the limits of [`Timestamp`].
#[must_use]
pub fn after_seconds(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}
