//! Merges an applied object into the live one, and removes what the manager applied before and
//! nobody owns any more.

use std::collections::HashMap;

use super::field_set::FieldSet;
use super::node::FieldNode;
use crate::Tree;

/// Merges the applied object into the live one.
pub(super) fn merge(live: Option<Tree>, applied: Tree, node: FieldNode<'_>) -> Tree {
    match (live, applied) {
        (Some(Tree::Object(mut members)), Tree::Object(applied)) if is_granular(node) => {
            for (name, value) in applied {
                // Removed and inserted again, so that the value is merged without a copy.
                let known = members.remove(&name);
                let value = merge(known, value, node.member(&name));
                members.insert(name, value);
            }
            Tree::Object(members)
        }
        (Some(Tree::Array(items)), Tree::Array(applied))
            if matches!(node, FieldNode::Items { .. } | FieldNode::Set) =>
        {
            Tree::from(merge_items(items.into(), applied.into(), node))
        }
        // Anything owned as a whole is replaced as a whole.
        (_, applied) => applied,
    }
}

fn is_granular(node: FieldNode<'_>) -> bool {
    matches!(
        node,
        FieldNode::Object(_) | FieldNode::Map(_) | FieldNode::Deduced
    )
}

/// Merges two lists: the applied items in their order. Items of the live list alone stay behind the
/// shared item that they followed.
fn merge_items(live: Vec<Tree>, applied: Vec<Tree>, node: FieldNode<'_>) -> Vec<Tree> {
    let places: HashMap<String, usize> = applied
        .iter()
        .enumerate()
        .filter_map(|(place, item)| Some((node.element(item)?, place)))
        .collect();
    let mut shared: Vec<Option<Tree>> = vec![None; applied.len()];
    // The live list: items of its own, and the positions of shared ones in the applied list.
    let mut steps = Vec::with_capacity(live.len());
    for item in live {
        match node.element(&item).and_then(|element| places.get(&element)) {
            None => steps.push(LiveItem::Own(item)),
            Some(place) if shared[*place].is_none() => {
                shared[*place] = Some(item);
                steps.push(LiveItem::Shared(*place));
            }
            // A live list may contain an item twice. The applied item replaces both.
            Some(_) => {}
        }
    }
    let shared_places: Vec<usize> = (0..shared.len())
        .filter(|place| shared[*place].is_some())
        .collect();
    let mut next_shared = shared_places.into_iter().peekable();
    let mut rest = applied.into_iter().zip(shared).enumerate().peekable();
    let mut out = Vec::new();
    for step in steps {
        match step {
            LiveItem::Own(item) => out.push(item),
            LiveItem::Shared(place) if next_shared.next_if_eq(&place).is_some() => {
                while let Some((_, (item, known))) = rest.next_if(|(index, _)| *index <= place) {
                    out.push(merge(known, item, node.item()));
                }
            }
            // The applied order has another shared item first, which emits this one later.
            LiveItem::Shared(_) => {}
        }
    }
    out.extend(rest.map(|(_, (item, known))| merge(known, item, node.item())));
    out
}

enum LiveItem {
    Own(Tree),
    Shared(usize),
}

/// Removes the fields that the manager applied before (`last`) and nobody owns now.
pub(super) fn prune(tree: &mut Tree, node: FieldNode<'_>, last: &FieldSet, owned: &FieldSet) {
    let nothing = FieldSet::default();
    match tree {
        Tree::Object(members) if is_granular(node) => members.retain(|name, value| {
            let element = format!("f:{name}");
            // A field of a type is owned together with the fields below it, a map entry is not.
            let is_named = node.names_member(name);
            keep(
                value,
                node.member(name),
                &element,
                is_named,
                (last, owned),
                &nothing,
            )
        }),
        Tree::Array(items) if matches!(node, FieldNode::Items { .. } | FieldNode::Set) => items
            .retain_mut(|item| {
                let Some(element) = node.element(item) else {
                    return true;
                };
                keep(item, node.item(), &element, false, (last, owned), &nothing)
            }),
        _ => {}
    }
}

fn keep(
    tree: &mut Tree,
    node: FieldNode<'_>,
    element: &str,
    is_named: bool,
    (last, owned): (&FieldSet, &FieldSet),
    nothing: &FieldSet,
) -> bool {
    let Some(last) = last.get(element) else {
        return true;
    };
    let owner = owned.get(element);
    if owner.is_none() && (last.is_member || is_named) {
        return false;
    }
    prune(
        tree,
        node,
        &last.below,
        owner.map_or(nothing, |owner| &owner.below),
    );
    true
}
