//! The decision and the charge of an eviction as pure functions. The model of the protocol in
//! `testkit` runs on them.
//!
//! [`decide`] returns what an eviction does to a pod under its budgets, [`charged`] changes a
//! budget that pays for one.

pub use crate::facts::{BudgetFacts, NotAllowed, PodFacts};
pub use crate::pod::eviction::{Decision, Preconditions, charged, decide};
