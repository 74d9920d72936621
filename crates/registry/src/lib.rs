//! REST semantics over `kinds` and `store`: verbs, admission, defaulting, validation,
//! subresources. Eviction lives here. Knows no HTTP.
//!
//! Everything enters through `Registry::call`, with a closed request type.

pub mod request;
