//! What Kubernetes objects are: the table of facts, codecs (JSON, YAML), selectors, quantities and
//! patches. No I/O, no async, no clock.

pub mod duration;
pub mod facts;
pub mod names;
pub mod quantity;
pub mod selector;
pub mod status;

/// An object, or a part of one, as a tree. Members of objects have no order here; encoding gives
/// them the order of the table.
pub type Tree = serde_json::Value;
