//! One pod on its node: what the API wants, what the worker remembers, what to do next, what to
//! report.
//!
//! Data flows one way: [`view`] is what the API sends, [`desired`] the part of it that is kept,
//! [`phase`] decides (pure), [`status`] renders what the decision means for the API. Nothing here
//! waits, asks the time or talks to anybody; the agent does that.

pub(crate) mod desired;
pub(crate) mod events;
pub(crate) mod phase;
pub(crate) mod status;
pub(crate) mod view;
