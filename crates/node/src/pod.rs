//! One pod on its node: its desired state, what the worker remembers, what to do next, and what to
//! publish.
//!
//! Data flows one way. [`desired`] is the part of a pod from the API that is kept. [`phase`] makes
//! the decisions and renders the status. Nothing here waits, reads a clock or does I/O; the agent
//! does that.

pub(crate) mod desired;
pub(crate) mod events;
pub(crate) mod phase;
