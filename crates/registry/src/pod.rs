//! The verbs that only pods have: eviction and binding.

pub(crate) mod binding;
pub(crate) mod eviction;
