//! REST semantics over `kinds` and `store`: verbs, admission, defaulting, validation,
//! subresources. Eviction lives here. Knows no HTTP.
//!
//! Everything enters through `Registry::call`, with a closed request type.

pub mod request;
#[expect(dead_code, reason = "the machinery that calls it lands next")]
mod strategy;
mod tree;

pub use strategy::Gates;
