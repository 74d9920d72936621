//! Checks and normalises trees that did not come from bytes, and compares trees by meaning.

pub(crate) mod scalar;

use super::{DecodeError, DocumentPath, MAX_WARNINGS};
use crate::Tree;
use crate::facts::{Field, Shape, Type};
use crate::tree::Map;

/// Brings a tree that a patch or a strategy made into the form that [`decode`](super::decode())
/// gives, with the same checks, errors and canonical values. Drops unknown members and returns a
/// warning for each.
pub fn normalize(tree: &mut Tree, ty: &'static Type) -> Result<Vec<String>, DecodeError> {
    normalize_changes(tree, &Tree::Null, ty)
}

/// Normalises a tree that was made from `old`, which is normalised already. Parts that both share
/// are skipped, so that the cost depends on the size of the change.
pub fn normalize_changes(
    tree: &mut Tree,
    old: &Tree,
    ty: &'static Type,
) -> Result<Vec<String>, DecodeError> {
    let mut warnings = Vec::new();
    if tree.is_null() {
        *tree = Tree::Object(Map::new());
    }
    value(
        tree,
        Some(old),
        &Shape::Object(ty),
        &DocumentPath::root(),
        &mut warnings,
        0,
    )?;
    Ok(warnings)
}

/// Normalises a value; `tree` is not null.
fn value(
    tree: &mut Tree,
    old: Option<&Tree>,
    shape: &Shape,
    path: &DocumentPath<'_>,
    warnings: &mut Vec<String>,
    depth: usize,
) -> Result<(), DecodeError> {
    if old.is_some_and(|old| tree.is_shared_with(old)) {
        return Ok(());
    }
    // A patch can nest deeper than any body that was decoded.
    if depth > super::MAX_DEPTH {
        return Err(DecodeError::Syntax(format!(
            "exceeded max depth of {}",
            super::MAX_DEPTH
        )));
    }
    match (shape, &mut *tree) {
        (Shape::Any, _) => Ok(()),
        (
            Shape::Object(ty)
            | Shape::ObjectOrBool(ty)
            | Shape::ObjectOrList(ty)
            | Shape::ObjectOrStrings(ty),
            Tree::Object(members),
        ) => object(
            members,
            old.and_then(Tree::as_object),
            ty,
            path,
            warnings,
            depth,
        ),
        (Shape::ObjectOrBool(_) | Shape::Bool, Tree::Bool(_)) => Ok(()),
        (Shape::ObjectOrList(ty), Tree::Array(items)) => {
            list(items, old, &Shape::Object(ty), path, warnings, depth)
        }
        (Shape::ObjectOrStrings(_), Tree::Array(items)) => {
            list(items, old, &Shape::String, path, warnings, depth)
        }
        (Shape::List(inner), Tree::Array(items)) => list(items, old, inner, path, warnings, depth),
        (Shape::Map(inner), Tree::Object(members)) => {
            for (key, member) in members.iter_mut() {
                let path = path.key(key);
                if member.is_null() {
                    *member = scalar::zero(inner);
                } else {
                    value(
                        member,
                        old.and_then(|old| old.get(key)),
                        inner,
                        &path,
                        warnings,
                        depth + 1,
                    )?;
                }
            }
            Ok(())
        }
        (_, Tree::String(text)) => {
            let text = std::mem::take(text);
            *tree = scalar::text(text.as_str().into(), shape, path)?;
            Ok(())
        }
        (_, Tree::Number(number)) => {
            *tree = scalar::number(&super::encode::number_text(number), shape, path)?;
            Ok(())
        }
        (_, other) => Err(path.mismatch(other.json_type(), shape)),
    }
}

fn object(
    members: &mut Map,
    old: Option<&Map>,
    ty: &'static Type,
    path: &DocumentPath<'_>,
    warnings: &mut Vec<String>,
    depth: usize,
) -> Result<(), DecodeError> {
    let mut outcome = Ok(());
    members.retain(|name, member| {
        // `retain` cannot stop early: after an error the remaining members are kept as they are.
        if outcome.is_err() {
            return true;
        }
        let Some(field) = ty.field(name) else {
            if warnings.len() < MAX_WARNINGS {
                warnings.push(path.unknown_field(name));
            }
            return false;
        };
        if !member.is_null() {
            let old = old.and_then(|old| old.get(name));
            outcome = value(
                member,
                old,
                &field.shape,
                &path.field(field.name, ty),
                warnings,
                depth + 1,
            );
        }
        !member.is_null() && !is_lost(member, field, ty)
    });
    outcome
}

/// Returns true for an empty list that upstream's round trip through its store loses. Protobuf does
/// not distinguish it from an absent one, which the encoder then writes as null. Definitions are
/// stored as JSON, and keep it.
pub(super) fn is_lost(value: &Tree, field: &Field, ty: &Type) -> bool {
    field.always
        && matches!(value, Tree::Array(items) if items.is_empty())
        && matches!(field.shape, Shape::List(_))
        && !ty.name.starts_with("io.k8s.apiextensions-apiserver.")
}

fn list(
    items: &mut [Tree],
    old: Option<&Tree>,
    inner: &Shape,
    path: &DocumentPath<'_>,
    warnings: &mut Vec<String>,
    depth: usize,
) -> Result<(), DecodeError> {
    for (index, item) in items.iter_mut().enumerate() {
        if item.is_null() {
            *item = scalar::zero(inner);
        } else {
            value(
                item,
                old.and_then(|old| old.get(index)),
                inner,
                &path.index(index),
                warnings,
                depth + 1,
            )?;
        }
    }
    Ok(())
}

/// Returns whether two objects mean the same. An absent member, null, an empty list and an empty
/// map are equal; so are an absent member and its zero, unless the field distinguishes them.
#[must_use]
pub fn equal(one: &Tree, other: &Tree, ty: &'static Type) -> bool {
    same(one, other, &Shape::Object(ty))
}

/// Returns whether two values of a field mean the same; null is the absent member.
#[must_use]
pub fn equal_member(one: &Tree, other: &Tree, field: &Field) -> bool {
    same(one, other, &field.shape) || (means_nothing(one, field) && means_nothing(other, field))
}

fn same(one: &Tree, other: &Tree, shape: &Shape) -> bool {
    // Most of an object is unchanged in most writes.
    if one.is_shared_with(other) {
        return true;
    }
    match (shape, one, other) {
        (
            Shape::Object(ty)
            | Shape::ObjectOrBool(ty)
            | Shape::ObjectOrList(ty)
            | Shape::ObjectOrStrings(ty),
            Tree::Object(one),
            Tree::Object(other),
        ) => ty.fields.iter().all(|field| {
            let (one, other) = (one.get(field.name), other.get(field.name));
            match (one, other) {
                (None, None) => true,
                (Some(one), Some(other)) => equal_member(one, other, field),
                (Some(present), None) | (None, Some(present)) => means_nothing(present, field),
            }
        }),
        (Shape::List(inner), Tree::Array(one), Tree::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same(one, other, inner))
        }
        (Shape::ObjectOrList(ty), Tree::Array(one), Tree::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| equal(one, other, ty))
        }
        (Shape::Map(inner), Tree::Object(one), Tree::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((one_key, one), (other_key, other))| {
                        one_key == other_key && same(one, other, inner)
                    })
        }
        (Shape::Float64, Tree::Number(one), Tree::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

/// Returns whether the member means the same as an absent one.
fn means_nothing(tree: &Tree, field: &Field) -> bool {
    match (tree, &field.shape) {
        (Tree::Null, _) => true,
        (Tree::Array(items), _) => items.is_empty(),
        (Tree::Object(members), Shape::Map(_)) => members.is_empty(),
        (Tree::Object(members), Shape::Object(ty)) => {
            !field.optional
                && members.iter().all(|(name, member)| {
                    ty.field(name)
                        .is_none_or(|field| means_nothing(member, field))
                })
        }
        (Tree::String(text), Shape::Quantity) => !field.optional && text == "0",
        // In Go an empty string and an absent value are different kinds of `IntOrString`.
        (Tree::String(_), Shape::IntOrString) => false,
        (Tree::String(text), _) => !field.optional && text.is_empty(),
        (
            Tree::Number(number),
            Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString,
        ) => !field.optional && number.as_f64() == Some(0.0),
        (Tree::Bool(value), Shape::Bool) => !field.optional && !value,
        _ => false,
    }
}
