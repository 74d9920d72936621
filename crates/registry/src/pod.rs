//! What only pods have: eviction and binding.

pub(crate) mod binding;
pub(crate) mod eviction;
