//! What Kubernetes objects are: the table of facts, codecs (JSON, YAML, protobuf), selectors,
//! quantities and patches. No I/O, no async, no clock.
//!
//! An object is a [`Tree`]. A [`facts::Type`] describes which members a tree may have; the table of
//! types is generated and compiled in. Everything else is derived from that table:
//!
//! - [`json`], [`yaml`] and [`protobuf`] decode and encode a tree as its type says.
//! - [`patch`] and [`apply`] change trees: merge, strategic merge and JSON patches, and server-side
//!   apply.
//! - [`selector`], [`quantity`], [`duration`], [`schedule`] and [`names`] parse the small languages
//!   inside of fields.
//! - [`status`] builds the errors that clients see.
//!
//! Read [`facts`] first, then [`json`]: the other codecs follow its structure.

pub mod apply;
pub mod duration;
pub mod encodings;
pub mod facts;
#[rustfmt::skip]
mod generated;
pub mod json;
mod lookup;
pub mod names;
pub mod patch;
pub mod path;
pub mod protobuf;
pub mod quantity;
pub mod schedule;
pub mod selector;
pub mod status;
pub mod tree;
pub mod yaml;

pub use lookup::{
    CUSTOM_OBJECT, groups, resource, resource_by_kind, resources, storage_version_hash, type_named,
};

/// The version of Kubernetes that the table describes: major, minor, patch.
pub const KUBERNETES: (&str, &str, &str) = ("1", "36", "2");

/// Returns [`KUBERNETES`] as `gitVersion`, with a suffix of our own: `v1.36.2+exeunt.0.1.0`.
#[must_use]
pub fn git_version() -> String {
    let (major, minor, patch) = KUBERNETES;
    format!(
        "v{major}.{minor}.{patch}+exeunt.{}",
        env!("CARGO_PKG_VERSION")
    )
}

pub use tree::Tree;

#[doc(hidden)]
pub use serde_json as __serde_json;
