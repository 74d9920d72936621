//! YAML, read and written as Kubernetes does.
//!
//! A document is converted to JSON first, by the rules of YAML 1.1 (`yes` and `on` are booleans);
//! the JSON codec does the rest. So both formats agree on types, warnings and errors. Only the
//! first document of a stream is read. Anchors are expanded up to a limit.
//!
//! Data flow: `read` (parser events to a tree) → [`json`] → …; [`json`] → `write`.

mod read;
mod write;

pub use read::DUPLICATES;

use crate::Tree;
use crate::facts::Type;
use crate::json::{self, DecodeError, DecodedTree};

/// Converts the first document to JSON. Returns also a warning for each duplicate key.
///
/// # Errors
/// [`DecodeError`] with upstream's message.
pub fn to_json(bytes: &[u8]) -> Result<(Vec<u8>, Vec<String>), DecodeError> {
    let decoded = decode_untyped(bytes)?;
    Ok((json::encode_untyped(&decoded.tree), decoded.warnings))
}

/// Decodes an object of type `ty`.
///
/// # Errors
/// [`DecodeError`] with upstream's message.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<DecodedTree, DecodeError> {
    let (text, mut warnings) = to_json(bytes)?;
    let decoded = json::decode(&text, ty)?;
    warnings.extend(decoded.warnings);
    Ok(DecodedTree {
        tree: decoded.tree,
        warnings,
    })
}

/// Decodes any value, for objects without a built-in type.
///
/// # Errors
/// [`DecodeError`] with upstream's message.
pub fn decode_untyped(bytes: &[u8]) -> Result<DecodedTree, DecodeError> {
    read::document(&String::from_utf8_lossy(bytes))
}

/// Encodes an object of type `ty`, members sorted by name.
#[must_use]
pub fn encode(tree: &Tree, ty: &'static Type) -> String {
    from_json(&json::encode(tree, ty)).unwrap_or_default()
}

/// Encodes any tree, members sorted by name.
#[must_use]
pub fn encode_untyped(tree: &Tree) -> String {
    write::document(tree)
}

/// Converts the JSON of an object to YAML.
///
/// # Errors
/// [`DecodeError`] if the bytes are not JSON.
pub fn from_json(bytes: &[u8]) -> Result<String, DecodeError> {
    Ok(write::document(&json::decode_untyped(bytes)?.tree))
}
