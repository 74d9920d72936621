//! What Kubernetes objects are: the table of facts, codecs (JSON, YAML, protobuf), selectors,
//! quantities and patches. No I/O, no async, no clock.
//!
//! An object is a [`Tree`]; what may stand in it says a [`facts::Type`] of the table, which is
//! generated ([`facts`] has its shape) and compiled in. Read next: [`json`], the codec that all
//! others follow.

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
pub mod protobuf;
pub mod quantity;
pub mod schedule;
pub mod selector;
pub mod status;
pub mod tree;
pub mod yaml;

pub use lookup::{groups, resource, resource_by_kind, resources, storage_version_hash, type_named};

/// The version of Kubernetes whose API the table describes: major, minor, patch.
pub const KUBERNETES: (&str, &str, &str) = ("1", "36", "2");

/// That version as clients and nodes name it, with our own suffix, for example
/// `v1.36.2+exeunt.0.1.0`.
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
