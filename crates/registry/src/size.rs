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
    fn an_object_that_was_larger_before_may_shrink() {
        assert!(check_bytes(MAX_OBJECT_BYTES + 1, 0).is_err());
        assert!(check_bytes(MAX_OBJECT_BYTES + 1, MAX_OBJECT_BYTES + 1).is_ok());
        assert!(check_bytes(MAX_OBJECT_BYTES + 2, MAX_OBJECT_BYTES + 1).is_err());
    }
}
