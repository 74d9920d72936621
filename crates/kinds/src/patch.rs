//! Patches: what a PATCH request makes of an object.
//!
//! Three of the four patch types are here: `merge` (RFC 7396), `json` (RFC 6902) and
//! `strategic` (Kubernetes' own, which merges lists). The fourth, server-side apply, is
//! [`crate::apply`]. All take trees and return a tree. The result is not checked against a type:
//! `json::normalize` does that afterwards.
//!
//! Data flow: bytes → [`decode`] → one of the three → tree, or a [`PatchError`], which maps to the
//! API's response.

mod go;
mod json;
mod merge;
mod strategic;
#[cfg(test)]
mod tests;

use crate::Tree;
use crate::json::DecodedTree;
use crate::status::{Details, Status};

pub use json::json;
pub use merge::merge;
pub use strategic::strategic;

/// Limit of the operations of one JSON patch, upstream's own. Without it one request could cost as
/// much as thousands.
pub const OPERATION_LIMIT: usize = 10_000;

/// Why a patch cannot be applied. The variants are the API's responses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400 `BadRequest` with this message, without details.
    #[error("{0}")]
    BadRequest(String),
    /// 413 with this message.
    #[error(
        "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATION_LIMIT}, got {0}"
    )]
    TooManyOperations(usize),
    /// 422 `Invalid` with upstream's fixed message and empty details. The reason is for logs only,
    /// because upstream does not return it.
    #[error("the server rejected our request due to an error in our request")]
    Rejected(String),
    /// 500 without a reason, with this message.
    #[error("{0}")]
    Untyped(String),
}

impl PatchError {
    /// Converts the error to the API's response.
    #[must_use]
    pub fn status(&self) -> Status {
        let message = self.to_string();
        match self {
            Self::BadRequest(_) => Status::bad_request(message),
            Self::TooManyOperations(_) => {
                Status::failure(413, "RequestEntityTooLarge", message, None)
            }
            Self::Rejected(_) => Status::failure(422, "Invalid", message, Some(Details::default())),
            Self::Untyped(_) => Status::untyped(message),
        }
    }

    fn undecodable(why: impl std::fmt::Display) -> Self {
        Self::BadRequest(format!("error decoding patch: {why}"))
    }
}

/// Decodes the JSON of a patch. Returns a warning for each duplicate member.
///
/// # Errors
/// [`PatchError`] if the bytes are not JSON.
pub fn decode(bytes: &[u8]) -> Result<DecodedTree, PatchError> {
    // Our decoder accepts all valid patches and is the fast path. For invalid ones `serde_json`
    // reports where the error is, which the message needs.
    if let Ok(decoded) = crate::json::decode_untyped(bytes) {
        return Ok(decoded);
    }
    let tree = serde_json::from_slice(bytes).map_err(|error| {
        if error.is_eof() {
            return PatchError::undecodable("unexpected end of JSON input");
        }
        PatchError::undecodable(syntax_text(bytes, &error))
    })?;
    Ok(DecodedTree {
        tree,
        warnings: Vec::new(),
    })
}

/// Returns upstream's warnings for members of a JSON patch that no operation has.
#[must_use]
pub fn unknown_members(operations: &Tree) -> Vec<String> {
    const KNOWN: [&str; 4] = ["op", "path", "from", "value"];
    let operations = operations.as_array().into_iter().flatten().enumerate();
    let unknown = operations.flat_map(|(index, operation)| {
        let members = operation.as_object().into_iter().flatten();
        members
            .filter(|(name, _)| !KNOWN.contains(&name.as_str()))
            .map(move |(name, _)| format!("[{index}].{name}"))
    });
    unknown
        .map(|path| format!("unknown field {}", crate::status::quoted(&path)))
        .collect()
}

/// Formats a value as Go does (`map[a:1 b:[x y]]`), because some error messages show patches so.
#[must_use]
pub fn render_go(tree: &Tree) -> String {
    go::render(tree)
}

/// Returns upstream's message for a syntax error at one character, else the decoder's message.
fn syntax_text(bytes: &[u8], error: &serde_json::Error) -> String {
    let text = error.to_string();
    let line = bytes
        .split(|byte| *byte == b'\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let character = line
        .get(error.column().saturating_sub(1))
        .map(|byte| char::from(*byte));
    match character {
        Some(character) if text.starts_with("expected value") => {
            format!("invalid character '{character}' looking for beginning of value")
        }
        Some(character) if text.starts_with("trailing characters") => {
            format!("invalid character '{character}' after top-level value")
        }
        Some(character) if text.starts_with("key must be a string") => {
            format!("invalid character '{character}' looking for beginning of object key string")
        }
        _ => text,
    }
}

/// Returns the members of a merge or strategic patch; `None` for null, whose meaning differs
/// between the two.
///
/// # Errors
/// [`PatchError`] for anything but an object and null.
fn object(patch: Tree) -> Result<Option<crate::tree::Map>, PatchError> {
    match patch {
        Tree::Object(members) => Ok(Some(members)),
        Tree::Null => Ok(None),
        other => Err(PatchError::undecodable(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.json_type()
        ))),
    }
}
