//! The size limit of objects. It holds for what is stored, not only for what a client sends:
//! defaults, patches, applies and managed fields add to an object.

use kinds::Tree;

/// Largest object, as JSON: the limit of a request body. Upstream's store takes half of it as
/// protobuf, which is about half as long.
pub(crate) const MAX_OBJECT_BYTES: usize = 3 * 1024 * 1024;

/// Refuses an object before it is encoded if its JSON exceeds the limit. An object that was larger
/// before (`before_bytes`) may keep its size.
///
/// # Errors
/// 413, with the message for a body that is too large.
pub(crate) fn check_tree(tree: &Tree, before_bytes: usize) -> Result<(), TooLarge> {
    let limit = MAX_OBJECT_BYTES.max(before_bytes);
    let mut left = limit;
    match take(tree, &mut left) {
        true => Ok(()),
        false => Err(TooLarge),
    }
}

/// Refuses a changed object before it is encoded, like [`check_tree`]. What both states share is
/// not counted again, because `before_bytes` contains it: most changes are small.
///
/// # Errors
/// 413, with the message for a body that is too large.
pub(crate) fn check_change(
    tree: &Tree,
    before: &Tree,
    before_bytes: usize,
) -> Result<(), TooLarge> {
    let mut left = MAX_OBJECT_BYTES.saturating_sub(before_bytes);
    if take_changes(tree, before, &mut left) {
        return Ok(());
    }
    check_tree(tree, before_bytes)
}

/// Refuses an object whose JSON exceeds the limit.
///
/// # Errors
/// 413, with the message for a body that is too large.
pub(crate) fn check_bytes(bytes: usize, before_bytes: usize) -> Result<(), TooLarge> {
    if bytes > MAX_OBJECT_BYTES.max(before_bytes) {
        return Err(TooLarge);
    }
    Ok(())
}

/// An object exceeds [`MAX_OBJECT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Returns the bytes that the JSON of a value has at least; `limit` if there are more. The cost
/// does not grow beyond the limit, although copies share what they hold.
pub(crate) fn bytes_up_to(tree: &Tree, limit: usize) -> usize {
    let mut left = limit;
    if take(tree, &mut left) {
        limit - left
    } else {
        limit
    }
}

/// Subtracts what a value takes at least. Returns false if it takes more than is left.
fn take(tree: &Tree, left: &mut usize) -> bool {
    let own = match tree {
        Tree::Null | Tree::Bool(_) => 4,
        Tree::Number(_) => 1,
        Tree::String(text) => text.len() + 2,
        // Brackets without the comma behind the last item.
        Tree::Array(items) => 2 + items.len().saturating_sub(1),
        // Names need quotes and a colon.
        Tree::Object(members) => 2 + (members.len() * 4).saturating_sub(1),
    };
    let Some(rest) = left.checked_sub(own) else {
        return false;
    };
    *left = rest;
    match tree {
        Tree::Array(items) => items.iter().all(|item| take(item, left)),
        Tree::Object(members) => members.iter().all(|(name, member)| {
            let rest = left.checked_sub(name.len());
            *left = rest.unwrap_or_default();
            rest.is_some() && take(member, left)
        }),
        _ => true,
    }
}

/// Subtracts what the parts take that `before` does not share. Returns false if they take more than
/// is left.
fn take_changes(tree: &Tree, before: &Tree, left: &mut usize) -> bool {
    if tree.is_shared_with(before) {
        return true;
    }
    let (Tree::Object(members), Tree::Object(known)) = (tree, before) else {
        return take(tree, left);
    };
    members.iter().all(|(name, member)| match known.get(name) {
        Some(before) => take_changes(member, before, left),
        None => {
            let rest = left.checked_sub(name.len() + 4);
            *left = rest.unwrap_or_default();
            rest.is_some() && take(member, left)
        }
    })
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn the_estimate_is_never_above_the_size() {
        for tree in [
            json!(null),
            json!([1, 2, true, "x", [], {}]),
            json!({"a": {"b": [{"c": "d"}]}, "e": -7.5}),
        ] {
            let size = kinds::json::encode_untyped(&tree).len();
            let estimate = bytes_up_to(&tree, 1_000);
            assert!(
                estimate <= size && estimate * 2 > size,
                "{estimate} of {size}: {tree}"
            );
        }
    }

    #[test]
    fn shared_parts_are_counted_as_often_as_they_are_written() {
        let mut tree = json!("x".repeat(1_000));
        for _ in 0..40 {
            tree = Tree::from(vec![tree.clone(), tree]);
        }
        assert_eq!(bytes_up_to(&tree, 5_000_000), 5_000_000);
        assert!(check_tree(&tree, 0).is_err());
    }

    #[test]
    fn a_change_is_refused_as_the_whole_object_would_be() {
        let text = |bytes: usize| Tree::from("x".repeat(bytes));
        let quarter = MAX_OBJECT_BYTES / 4;
        let before = json!({"spec": {"a": text(quarter), "b": text(quarter)}, "list": [1, 2, 3]});
        let before_bytes = kinds::json::encode_untyped(&before).len();
        let with = |path: &[&str], value: Tree| {
            let mut tree = before.clone();
            let (last, parents) = path.split_last().expect("a path");
            let parent = parents
                .iter()
                .try_fold(&mut tree, |here, step| here.get_mut(*step));
            let parent = parent.and_then(Tree::as_object_mut);
            parent.expect("an object").insert(*last, value);
            tree
        };
        for (changed, fits) in [
            (before.clone(), true),
            (with(&["spec", "a"], text(quarter)), true),
            (with(&["spec", "c"], text(quarter)), true),
            (with(&["spec", "c"], text(2 * quarter)), false),
            (with(&["spec", "a"], text(3 * quarter)), false),
            (with(&["other"], text(2 * quarter)), false),
            (
                with(&["list"], json!([text(quarter), text(quarter)])),
                false,
            ),
            // Replaced values no longer count, although an estimate of the difference refuses them.
            (json!({"spec": {"a": text(3 * quarter)}}), true),
        ] {
            assert_eq!(check_change(&changed, &before, before_bytes).is_ok(), fits);
            assert_eq!(check_tree(&changed, before_bytes).is_ok(), fits);
        }
    }

    #[test]
    fn an_object_that_was_larger_before_may_shrink() {
        assert!(check_bytes(MAX_OBJECT_BYTES + 1, 0).is_err());
        assert!(check_bytes(MAX_OBJECT_BYTES + 1, MAX_OBJECT_BYTES + 1).is_ok());
        assert!(check_bytes(MAX_OBJECT_BYTES + 2, MAX_OBJECT_BYTES + 1).is_err());
    }
}
