//! JSON patch (RFC 6902), as lenient as upstream's library.
//!
//! - The first segment of a path is dropped unread: `data/k` means `/k`.
//! - `replace` of an absent member adds it.
//! - `add` and `replace` without a value write null.
//! - In `test` an absent member equals null.
//! - `copy` of an absent member writes null.
//! - Negative indexes count from the end.

use super::{OPERATION_LIMIT, PatchError};
use crate::Tree;
use crate::json::MAX_DEPTH;

/// Limit of the bytes that the `copy` operations of one patch may add. Without it, each of a few
/// copies could double an object.
const COPY_LIMIT_BYTES: usize = 3 * 1024 * 1024;

/// Limit of the values that one patch may visit to measure depths. Without it, ten thousand moves
/// of a large value would take seconds.
const VISIT_LIMIT: usize = 2_000_000;

/// Limit of the items that insertions and removals of one patch may move: a list of five thousand
/// items can lose all of them at its head. Without it, ten thousand removals at the head of a list
/// of a million would take a minute.
const MOVE_LIMIT: usize = 16_000_000;

/// Applies a JSON patch completely, or returns an error.
///
/// # Errors
/// [`PatchError`] if the patch is invalid or an operation fails.
pub fn json(document: Tree, patch: Tree) -> Result<Tree, PatchError> {
    let operations = match patch {
        Tree::Array(operations) => operations,
        Tree::Null => return Ok(document),
        other => {
            return Err(unreadable(
                &other,
                "Go value of type []handlers.jsonPatchOp",
            ));
        }
    };
    let operations = operations
        .into_iter()
        .map(JsonPatchOperation::read)
        .collect::<Result<Vec<_>, _>>()?;
    if operations.len() > OPERATION_LIMIT {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut document = document;
    let mut cost = PatchCost::default();
    for operation in operations {
        operation
            .apply(&mut document, &mut cost)
            .map_err(PatchError::Rejected)?;
    }
    Ok(document)
}

fn unreadable(tree: &Tree, target: &str) -> PatchError {
    PatchError::undecodable(format!(
        "json: cannot unmarshal {} into {target}",
        tree.json_type()
    ))
}

struct JsonPatchOperation {
    op: Option<String>,
    path: Option<String>,
    from: Option<String>,
    value: Option<Tree>,
}

impl JsonPatchOperation {
    fn read(tree: Tree) -> Result<Self, PatchError> {
        let mut members = match tree {
            Tree::Object(members) => members,
            Tree::Null => crate::tree::Map::new(),
            other => return Err(unreadable(&other, "Go value of type handlers.jsonPatchOp")),
        };
        let mut text = |name: &str| match members.remove(name) {
            None | Some(Tree::Null) => Ok(None),
            Some(Tree::String(text)) => Ok(Some(String::from(text))),
            Some(other) => Err(unreadable(
                &other,
                &format!("Go struct field jsonPatchOp.{name} of type string"),
            )),
        };
        let (op, path, from) = (text("op")?, text("path")?, text("from")?);
        Ok(Self {
            op,
            path,
            from,
            value: members.remove("value"),
        })
    }

    fn apply(self, document: &mut Tree, cost: &mut PatchCost) -> Result<(), String> {
        let op = self.op.as_deref().unwrap_or("unknown");
        let path = self
            .path
            .as_deref()
            .ok_or_else(|| format!("{op} operation without a path"))?;
        let from = || {
            self.from
                .as_deref()
                .ok_or_else(|| format!("{op} operation without a from"))
        };
        let value = self.value.unwrap_or_default();
        match op {
            "add" => add(document, path, value, cost),
            "remove" => remove(document, path, cost).map(|_| ()),
            "replace" => replace(document, path, value, cost),
            "move" => {
                let value = remove(document, from()?, cost)?;
                add(document, path, value, cost)
            }
            "copy" => {
                let value = get(document, from()?)?.cloned().unwrap_or_default();
                cost.copied_bytes += serde_json::to_string(&value).map_or(0, |text| text.len());
                if cost.copied_bytes > COPY_LIMIT_BYTES {
                    return Err(format!("copies of more than {COPY_LIMIT_BYTES} bytes"));
                }
                add(document, path, value, cost)
            }
            "test" => match get(document, path)?.unwrap_or(&Tree::Null) == &value {
                true => Ok(()),
                false => Err(format!("testing value {path} failed")),
            },
            other => Err(format!("unexpected kind: {other}")),
        }
    }
}

/// What the operations of a patch have cost so far.
#[derive(Default)]
struct PatchCost {
    copied_bytes: usize,
    visits: usize,
    moved: usize,
}

impl PatchCost {
    /// Checks that a value at this path does not nest deeper than a body may: trees are walked
    /// recursively, and copying a value into itself doubles its depth.
    fn check_depth(&mut self, path: &str, value: &Tree) -> Result<(), String> {
        let levels = path.split('/').count() + self.depth(value);
        if levels > MAX_DEPTH || self.visits > VISIT_LIMIT {
            return Err(format!(
                "the value at {path} is nested too deeply or too large"
            ));
        }
        Ok(())
    }

    /// Counts the items behind an index, which an insertion or removal moves.
    fn count_moves(&mut self, path: &str, index: usize, length: usize) -> Result<(), String> {
        self.moved += length - index;
        if self.moved > MOVE_LIMIT {
            return Err(format!(
                "the patch moves too many items of the list at {path}"
            ));
        }
        Ok(())
    }

    /// Returns the depth of a value. Recursion is bounded: the value is part of a document or
    /// patch, whose depth was limited when it was decoded.
    fn depth(&mut self, tree: &Tree) -> usize {
        self.visits += 1;
        match tree {
            Tree::Array(items) => 1 + items.iter().map(|item| self.depth(item)).max().unwrap_or(0),
            Tree::Object(members) => {
                1 + members
                    .values()
                    .map(|member| self.depth(member))
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }
}

fn add(document: &mut Tree, path: &str, value: Tree, cost: &mut PatchCost) -> Result<(), String> {
    cost.check_depth(path, &value)?;
    match parent(document, path)? {
        (PointerParent::Object(members), key) => {
            members.insert(key, value);
        }
        (PointerParent::Array(items), key) => {
            // An item can also be inserted behind the last one.
            let index = if key == "-" {
                items.len()
            } else {
                index(&key, items.len() + 1)?
            };
            cost.count_moves(path, index, items.len())?;
            items.insert(index, value);
        }
    }
    Ok(())
}

fn replace(
    document: &mut Tree,
    path: &str,
    value: Tree,
    cost: &mut PatchCost,
) -> Result<(), String> {
    cost.check_depth(path, &value)?;
    match parent(document, path)? {
        (PointerParent::Object(members), key) => {
            members.insert(key, value);
        }
        (PointerParent::Array(items), key) => {
            let index = index(&key, items.len())?;
            items[index] = value;
        }
    }
    Ok(())
}

fn remove(document: &mut Tree, path: &str, cost: &mut PatchCost) -> Result<Tree, String> {
    match parent(document, path)? {
        (PointerParent::Object(members), key) => members
            .remove(&key)
            .ok_or_else(|| format!("no member {key} to remove")),
        (PointerParent::Array(items), key) => {
            let index = index(&key, items.len())?;
            cost.count_moves(path, index, items.len())?;
            Ok(items.remove(index))
        }
    }
}

/// Returns the value at a path; `None` for an absent member.
fn get<'a>(document: &'a mut Tree, path: &str) -> Result<Option<&'a Tree>, String> {
    match parent(document, path)? {
        (PointerParent::Object(members), key) => Ok(members.get(&key)),
        (PointerParent::Array(items), key) => {
            let index = index(&key, items.len())?;
            Ok(Some(&items[index]))
        }
    }
}

enum PointerParent<'a> {
    Object(&'a mut crate::tree::Map),
    Array(&'a mut Vec<Tree>),
}

/// Returns the parent of the last segment of a path, and that segment.
fn parent<'a>(document: &'a mut Tree, path: &str) -> Result<(PointerParent<'a>, String), String> {
    let missing = || format!("missing value at {path}");
    let mut segments: Vec<&str> = path.split('/').skip(1).collect();
    let key = unescaped(segments.pop().ok_or_else(missing)?);
    let mut place = document;
    for segment in segments {
        let segment = unescaped(segment);
        place = match place {
            Tree::Object(members) => members.get_mut(&segment).ok_or_else(missing)?,
            Tree::Array(items) => {
                let index = index(&segment, items.len())?;
                &mut items[index]
            }
            _ => return Err(missing()),
        };
    }
    match place {
        Tree::Object(members) => Ok((PointerParent::Object(members), key)),
        Tree::Array(items) => Ok((PointerParent::Array(items), key)),
        _ => Err(missing()),
    }
}

/// Parses an index into a list of `length` items; negative ones count from the end.
fn index(text: &str, length: usize) -> Result<usize, String> {
    let number: i64 = text
        .parse()
        .map_err(|_| format!("{text} is not an index"))?;
    let size = i64::try_from(length).unwrap_or(i64::MAX);
    let number = if number < 0 {
        number.saturating_add(size)
    } else {
        number
    };
    usize::try_from(number)
        .ok()
        .filter(|index| *index < length)
        .ok_or_else(|| format!("index {text} is out of bounds"))
}

/// Unescapes `~1` to a slash and `~0` to a tilde (RFC 6901).
fn unescaped(segment: &str) -> String {
    if segment.contains('~') {
        segment.replace("~1", "/").replace("~0", "~")
    } else {
        segment.to_owned()
    }
}
