//! The rules of an eviction, pure, for programs that check or predict them: the model of the
//! protocol in `testkit` runs on these functions and not on a paraphrase.
//!
//! Nothing here reads or writes the store. [`decide`] says what an eviction does to a pod under its
//! budgets, [`charged`] what a budget looks like that has paid for it.

pub use crate::pod::eviction::{
    BudgetFacts, Decision, NotAllowed, PodFacts, Preconditions, charged, decide,
};
