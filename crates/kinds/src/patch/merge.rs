//! JSON merge patch (RFC 7396): null removes, objects merge, everything else replaces.

use crate::tree::Map;

use super::{PatchError, object};
use crate::Tree;

/// Applies a merge patch. A `document` that is not an object counts as an empty one.
///
/// # Errors
/// [`PatchError`] if the patch is neither an object nor null.
pub fn merge(document: Tree, patch: Tree) -> Result<Tree, PatchError> {
    let Some(patch) = object(patch)? else {
        return Err(PatchError::BadRequest("Invalid JSON Patch".to_owned()));
    };
    let mut members = if let Tree::Object(members) = document {
        members
    } else {
        Map::new()
    };
    merge_members(&mut members, patch);
    Ok(Tree::Object(members))
}

fn merge_members(members: &mut Map, patch: Map) {
    for (name, value) in patch {
        match value {
            Tree::Null => {
                members.remove(&name);
            }
            Tree::Object(value) => {
                if let Some(Tree::Object(known)) = members.get_mut(&name) {
                    merge_members(known, value);
                } else {
                    members.insert(name, without_nulls(Tree::Object(value)));
                }
            }
            value => {
                members.insert(name, without_nulls(value));
            }
        }
    }
}

/// Removes null members of a new value, also inside of lists: in a merge patch they mean absence.
fn without_nulls(tree: Tree) -> Tree {
    match tree {
        Tree::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Tree::Object(
                kept.map(|(name, value)| (name, without_nulls(value)))
                    .collect(),
            )
        }
        Tree::Array(items) => Tree::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
