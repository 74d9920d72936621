//! YAML: what people write, read as Kubernetes reads it, and written as it writes it.
//!
//! A document becomes JSON first, by the rules of YAML 1.1 (`yes` and `on` are booleans), and the
//! JSON codec does the rest, so that both forms agree in everything. Only the first document of a
//! stream counts. Anchors are expanded within a bound.
//!
//! Data flow: `read` (events to a tree) → [`json`] → …; [`json`] → `write`.

mod read;
mod write;

use crate::Tree;
use crate::facts::Type;
use crate::json::{self, DecodeError, DecodedTree};

/// The first document as JSON, and what strict readers object to (duplicate keys).
pub fn to_json(bytes: &[u8]) -> Result<(Vec<u8>, Vec<String>), DecodeError> {
    let decoded = decode_untyped(bytes)?;
    Ok((json::encode_untyped(&decoded.tree), decoded.warnings))
}

/// Reads one object of type `ty`.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<DecodedTree, DecodeError> {
    let (text, mut warnings) = to_json(bytes)?;
    let decoded = json::decode(&text, ty)?;
    warnings.extend(decoded.warnings);
    Ok(DecodedTree {
        tree: decoded.tree,
        warnings,
    })
}

/// Reads anything, for objects of no built-in type.
pub fn decode_untyped(bytes: &[u8]) -> Result<DecodedTree, DecodeError> {
    read::document(&String::from_utf8_lossy(bytes))
}

/// Writes one object of type `ty`, members sorted by name.
#[must_use]
pub fn encode(tree: &Tree, ty: &'static Type) -> String {
    from_json(&json::encode(tree, ty)).unwrap_or_default()
}

/// Writes any tree, members sorted by name.
#[must_use]
pub fn encode_untyped(tree: &Tree) -> String {
    write::document(tree)
}

/// The same for an object that is JSON already.
pub fn from_json(bytes: &[u8]) -> Result<String, DecodeError> {
    Ok(write::document(&json::decode_untyped(bytes)?.tree))
}
