//! What only pods have: eviction, binding, and the paths that change one corner of the spec.

pub(crate) mod binding;
pub(crate) mod corners;
pub(crate) mod eviction;
