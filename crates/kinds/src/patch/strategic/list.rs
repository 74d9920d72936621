//! Merging lists in a strategic merge patch, and the order of the result.
//!
//! There are two sorts of items: those that the patch names and those that only the server has.
//! Each sort keeps its order. A server's item goes before a patch's item only if both were in the
//! old list in that order. So new items come first, unless the patch also names old ones.

use std::collections::{HashMap, HashSet};

use super::{Map, MemberSchema, PatchError, go, merge_members, new_items, new_value};
use crate::Tree;
use crate::patch::strategic::{DIRECTIVE, unknown_directive};

/// Merges a list if its strategy says so, else replaces it.
pub(super) fn merge_or_replace(
    known: Vec<Tree>,
    patch: Vec<Tree>,
    member: MemberSchema,
) -> Result<Vec<Tree>, PatchError> {
    if member.strategy.merge {
        merge(known, patch, member)
    } else {
        Ok(new_items(patch))
    }
}

/// Merges a list whose order the patch gives (`$setElementOrder`). `change` is `None` if the patch
/// only reorders.
pub(super) fn merge_in_order(
    known: Vec<Tree>,
    change: Option<Vec<Tree>>,
    order: Vec<Tree>,
    member: MemberSchema,
) -> Result<Vec<Tree>, PatchError> {
    check_order(
        change.as_deref().unwrap_or_default(),
        &order,
        member.merge_key,
    )?;
    let merged = match change {
        None => known.clone(),
        Some(change) if known.is_empty() => new_items(change),
        Some(change) => merge_or_replace(known.clone(), change, member)?,
    };
    Ok(in_order(merged, &order, &known, member.merge_key))
}

fn merge(
    known: Vec<Tree>,
    patch: Vec<Tree>,
    member: MemberSchema,
) -> Result<Vec<Tree>, PatchError> {
    if known.is_empty() && patch.is_empty() {
        return Ok(known);
    }
    // Upstream rejects them, because it cannot pair their items.
    if known.iter().chain(&patch).any(Tree::is_array) {
        return Err(PatchError::Rejected(
            "lists of lists are not supported".to_owned(),
        ));
    }
    let objects = known
        .iter()
        .chain(&patch)
        .filter(|item| item.is_object())
        .count();
    if objects == 0 {
        // Scalars are united: each value stays once, in the order that `in_order` gives.
        let mut seen = HashSet::new();
        let both = known.iter().chain(&patch);
        let merged = both
            .filter(|item| seen.insert(item.to_string()))
            .cloned()
            .collect();
        return Ok(in_order(merged, &patch, &known, ""));
    }
    // The message shows both lists as one, as upstream does.
    if objects != known.len() + patch.len() {
        let items = Tree::from_iter(known.into_iter().chain(patch));
        return Err(PatchError::Untyped(format!(
            "list element types are not identical: {}",
            go::render(&items)
        )));
    }
    if member.merge_key.is_empty() {
        return Err(PatchError::Untyped(
            "cannot merge lists without merge key".to_owned(),
        ));
    }
    merge_items(known, patch, member)
}

/// Merges lists of structures: first the directives, then item by item.
fn merge_items(
    known: Vec<Tree>,
    patch: Vec<Tree>,
    member: MemberSchema,
) -> Result<Vec<Tree>, PatchError> {
    let key = member.merge_key;
    let mut items: Vec<Map> = Vec::with_capacity(patch.len());
    let mut deleted = HashSet::new();
    let mut is_replaced = false;
    for item in patch {
        let Tree::Object(item) = item else { continue };
        match item.get(DIRECTIVE).map(Tree::as_str) {
            None => items.push(item),
            Some(Some("delete")) => {
                deleted.insert(key_of(&item, key)?.to_string());
            }
            Some(Some("replace")) => is_replaced = true,
            Some(Some("merge")) => {
                return Err(PatchError::Untyped(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(_) => return Err(unknown_directive(item)),
        }
    }
    // With `$patch: replace` the other items of the patch are the new list. Deletions no longer
    // matter.
    if is_replaced {
        return Ok(new_items(items.into_iter().map(Tree::Object).collect()));
    }
    let mut known = known;
    // An item without the merge key has no identity and cannot be deleted.
    known.retain(|item| identity(item, key).is_none_or(|identity| !deleted.contains(&identity)));
    // The order of the server is that before new items are appended.
    let old_order = known.clone();
    let mut places = places(&known, key);
    let mut order = Vec::with_capacity(items.len());
    for item in items {
        let value = key_of(&item, key)?.clone();
        let identity = value.to_string();
        order.push(Tree::Object(Map::from_iter([(key.to_owned(), value)])));
        if let Some(place) = places.get(&identity) {
            // Taking the item avoids a copy of it; the merged one replaces it below.
            let Tree::Object(members) = known[*place].take() else {
                continue;
            };
            known[*place] = Tree::Object(merge_members(members, item, member.items)?);
        } else if let Some(item) = new_value(Tree::Object(item)) {
            // A later item of the patch with the same key merges into this one.
            places.insert(identity, known.len());
            known.push(item);
        }
    }
    Ok(in_order(known, &order, &old_order, key))
}

fn key_of<'a>(item: &'a Map, key: &str) -> Result<&'a Tree, PatchError> {
    item.get(key).ok_or_else(|| {
        let shown = go::render(&Tree::Object(item.clone()));
        PatchError::Untyped(format!(
            "map: {shown} does not contain declared merge key: {key}"
        ))
    })
}

/// Returns the identity of an item: the value of its key, or the item itself for scalars (empty
/// `key`).
fn identity(item: &Tree, key: &str) -> Option<String> {
    if key.is_empty() {
        Some(item.to_string())
    } else {
        item.get(key).map(Tree::to_string)
    }
}

/// Returns the first position of each item. A hash map keeps long lists from taking quadratic time.
fn places(list: &[Tree], key: &str) -> HashMap<String, usize> {
    let mut places = HashMap::with_capacity(list.len());
    for (place, item) in list.iter().enumerate() {
        if let Some(identity) = identity(item, key) {
            places.entry(identity).or_insert(place);
        }
    }
    places
}

/// Orders the merged items: by `patch_order` those that it names, by `server_order` the others.
fn in_order(
    merged: Vec<Tree>,
    patch_order: &[Tree],
    server_order: &[Tree],
    key: &str,
) -> Vec<Tree> {
    let (patch_places, server_places) = (places(patch_order, key), places(server_order, key));
    let placed = merged.into_iter().map(|item| {
        let identity = identity(&item, key).unwrap_or_default();
        (
            patch_places.get(&identity).copied(),
            server_places.get(&identity).copied(),
            item,
        )
    });
    let (mut named, mut rest): (Vec<_>, Vec<_>) = placed.partition(|(place, _, _)| place.is_some());
    named.sort_by_key(|(place, _, _)| *place);
    // New items that the patch does not order come last. Both sorts are stable.
    rest.sort_by_key(|(_, place, _)| place.unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + rest.len());
    let mut rest = rest.into_iter().peekable();
    for (_, named_place, item) in named {
        let is_before = |place: Option<usize>| {
            place
                .zip(named_place)
                .is_some_and(|(left, right)| left < right)
        };
        while let Some((_, _, server)) = rest.next_if(|(_, place, _)| is_before(*place)) {
            out.push(server);
        }
        out.push(item);
    }
    out.extend(rest.map(|(_, _, item)| item));
    out
}

/// Checks that the items of the patch have the order of the directive.
fn check_order(patch: &[Tree], order: &[Tree], key: &str) -> Result<(), PatchError> {
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        // `rest` advances with each match, so that the items must appear in this order.
        let wanted = identity(item, key);
        if !rest.any(|place| identity(place, key) == wanted) {
            let (patch, order) = (go::render(&patch.into()), go::render(&order.into()));
            let why = format!(
                "The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n"
            );
            return Err(PatchError::Untyped(why));
        }
    }
    Ok(())
}
