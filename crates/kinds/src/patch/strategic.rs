//! Strategic merge patch: a merge patch that knows the types.
//!
//! Lists with the patch strategy `merge` are merged: structures are paired by the merge key,
//! scalars are united. Directives control the merge: `$patch` (replace, delete), `$retainKeys`,
//! `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`. A new value is taken without
//! its nulls and directives.

mod list;

use std::collections::HashSet;

use crate::tree::{Map, Text};

use super::{PatchError, go, object};
use crate::Tree;
use crate::facts::{Field, PatchStrategy, Shape, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch to an object of this type. A null patch changes nothing.
///
/// # Errors
/// [`PatchError`] if the patch is invalid.
pub fn strategic(document: Tree, patch: Tree, ty: &'static Type) -> Result<Tree, PatchError> {
    let Some(patch) = object(patch)? else {
        return Ok(document);
    };
    let members = if let Tree::Object(members) = document {
        members
    } else {
        Map::new()
    };
    Ok(Tree::Object(merge_members(
        members,
        patch,
        PatchSchema::Object(ty),
    )?))
}

/// What the merge knows of a value's type.
#[derive(Clone, Copy)]
enum PatchSchema {
    Object(&'static Type),
    Map(&'static Shape),
    /// Any JSON, scalars, and fields that the type does not have.
    Unknown,
}

impl From<&'static Shape> for PatchSchema {
    fn from(shape: &'static Shape) -> Self {
        match shape {
            Shape::Object(ty) => Self::Object(ty),
            Shape::Map(value) => Self::Map(value),
            _ => Self::Unknown,
        }
    }
}

/// How a member is merged: the types of its value and items, its strategy and merge key.
#[derive(Clone, Copy)]
struct MemberSchema {
    value: PatchSchema,
    items: PatchSchema,
    strategy: PatchStrategy,
    merge_key: &'static str,
}

impl PatchSchema {
    fn member(self, name: &str) -> MemberSchema {
        let unknown = MemberSchema {
            value: Self::Unknown,
            items: Self::Unknown,
            strategy: PatchStrategy::default(),
            merge_key: "",
        };
        match self {
            Self::Unknown => unknown,
            Self::Map(value) => MemberSchema {
                value: Self::from(value),
                ..unknown
            },
            Self::Object(ty) => ty.field(name).map_or(unknown, MemberSchema::of),
        }
    }
}

impl MemberSchema {
    fn of(field: &'static Field) -> Self {
        let items = if let Shape::List(items) = field.shape {
            PatchSchema::from(items)
        } else {
            PatchSchema::Unknown
        };
        Self {
            value: PatchSchema::from(&field.shape),
            items,
            strategy: field.patch,
            merge_key: field.merge_key,
        }
    }
}

fn merge_members(
    mut original: Map,
    mut patch: Map,
    schema: PatchSchema,
) -> Result<Map, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(unknown_directive(patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, schema)?;
    // Deletions come first, so that the patch can add a deleted value again.
    let (deletions, patch): (Vec<_>, Vec<_>) = patch
        .into_iter()
        .partition(|(name, _)| name.starts_with(DELETE_FROM));
    for (name, values) in deletions {
        delete_from(&mut original, &name[DELETE_FROM.len()..], values)?;
    }
    for (name, value) in patch {
        if value.is_null() {
            original.remove(&name);
            continue;
        }
        let merged = match (original.remove(&name), value) {
            (Some(Tree::Object(known)), Tree::Object(value)) => {
                let member = schema.member(&name);
                if member.strategy.replace {
                    Some(Tree::Object(value))
                } else {
                    Some(Tree::Object(merge_members(known, value, member.value)?))
                }
            }
            (Some(Tree::Array(known)), Tree::Array(value)) => Some(Tree::from(
                list::merge_or_replace(known.into(), value.into(), schema.member(&name))?,
            )),
            (_, value) => new_value(value),
        };
        if let Some(merged) = merged {
            original.insert(name, merged);
        }
    }
    Ok(original)
}

fn unknown_directive(patch: Map) -> PatchError {
    let directive = patch.get(DIRECTIVE).map(go::render).unwrap_or_default();
    PatchError::Untyped(format!(
        "unknown patch type: {directive} in map: {}",
        go::render(&Tree::Object(patch))
    ))
}

/// Applies `$retainKeys`: drops the members that it does not list. The patch may not contain
/// others.
fn retain_keys(original: &mut Map, patch: &mut Map) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let bad = || PatchError::BadRequest("invalid patch format of retainKeys".to_owned());
    let Tree::Array(listed) = directive else {
        return Err(bad());
    };
    let listed: HashSet<&str> = listed.iter().filter_map(Tree::as_str).collect();
    let is_listed = |name: &str| listed.contains(name);
    let is_exempt = |name: &str, value: &Tree| {
        value.is_null() || name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER)
    };
    if patch
        .iter()
        .any(|(name, value)| !is_exempt(name, value) && !is_listed(name))
    {
        return Err(bad());
    }
    original.retain(|name, _| is_listed(name));
    Ok(())
}

/// Applies `$setElementOrder/<list>`: merges that list, orders it, and removes both members from
/// the patch.
fn set_orders(original: &mut Map, patch: &mut Map, schema: PatchSchema) -> Result<(), PatchError> {
    let directives: Vec<Text> = patch
        .keys()
        .filter(|name| name.starts_with(SET_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let name = &directive[SET_ORDER.len()..];
        let order = expect_list(patch.remove(&directive).unwrap_or_default())?;
        let known = original.get(name).map(as_list).transpose()?;
        let change = patch
            .get(name)
            .filter(|change| !change.is_null())
            .map(as_list)
            .transpose()?;
        if known.is_none() && change.is_none() {
            continue;
        }
        let merged = list::merge_in_order(
            known.unwrap_or_default(),
            change,
            order,
            schema.member(name),
        )?;
        original.insert(name, Tree::from(merged));
        patch.remove(name);
    }
    Ok(())
}

fn delete_from(original: &mut Map, name: &str, values: Tree) -> Result<(), PatchError> {
    let values = expect_list(values)?;
    if let Some(Tree::Array(items)) = original.get_mut(name) {
        let values: HashSet<String> = values.iter().map(Tree::to_string).collect();
        items.retain(|item| !values.contains(&item.to_string()));
    }
    Ok(())
}

fn as_list(tree: &Tree) -> Result<Vec<Tree>, PatchError> {
    expect_list(tree.clone())
}

fn expect_list(tree: Tree) -> Result<Vec<Tree>, PatchError> {
    match tree {
        Tree::Array(items) => Ok(items.into()),
        other => Err(PatchError::Untyped(format!(
            "expected a list, but received a {}",
            other.json_type()
        ))),
    }
}

/// Returns a value that is new in the document, without its nulls and directives; `None` if it
/// deletes itself.
fn new_value(tree: Tree) -> Option<Tree> {
    match tree {
        Tree::Object(members) => {
            if members.get(DIRECTIVE).and_then(Tree::as_str) == Some("delete") {
                return None;
            }
            let kept = members
                .into_iter()
                .filter(|(name, value)| !is_directive(name) && !value.is_null());
            Some(Tree::Object(
                kept.filter_map(|(name, value)| Some((name, new_value(value)?)))
                    .collect(),
            ))
        }
        Tree::Array(items) => Some(Tree::from(new_items(items.into()))),
        other => Some(other),
    }
}

fn new_items(items: Vec<Tree>) -> Vec<Tree> {
    items
        .into_iter()
        .filter(|item| !is_replace_marker(item))
        .filter_map(new_value)
        .collect()
}

/// Returns whether an item is only a directive to replace the list.
fn is_replace_marker(item: &Tree) -> bool {
    item.as_object().is_some_and(|members| {
        members.len() == 1 && members.get(DIRECTIVE).and_then(Tree::as_str) == Some("replace")
    })
}

fn is_directive(name: &str) -> bool {
    name == DIRECTIVE
        || name == RETAIN_KEYS
        || name.starts_with(SET_ORDER)
        || name.starts_with(DELETE_FROM)
}
