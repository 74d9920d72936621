//! Decodes JSON to a tree, as a type says or untyped.

use std::borrow::Cow;

use super::scan::{Scanner, ValueKind};
use super::{DecodeError, DocumentPath, MAX_WARNINGS, scalar};
use crate::Tree;
use crate::facts::{Shape, Type};
use crate::tree::{Map, Text};

/// A decoded object and the warnings of its decoding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodedTree {
    /// The object, without unknown members and null members, with canonical quantities and times.
    pub tree: Tree,
    /// `unknown field "spec.x"` and `duplicate field "spec.y"`, in the order of the document.
    pub warnings: Vec<String>,
}

/// The type that an object claims to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeMeta {
    /// `apiVersion`; empty if it is missing.
    pub api_version: String,
    /// `kind`; empty if it is missing.
    pub kind: String,
}

/// Decodes an object of type `ty`. `null` is an empty object.
///
/// # Errors
/// [`DecodeError`] with upstream's message.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<DecodedTree, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let mut scanner = Scanner::new(&text);
    let mut warnings = Vec::new();
    let begins = scanner.begin()?;
    let path = DocumentPath::root();
    let tree = typed(
        &mut scanner,
        begins,
        &Shape::Object(ty),
        &path,
        &mut warnings,
    )?;
    scanner.end()?;
    Ok(DecodedTree {
        tree: tree.unwrap_or_else(|| Tree::Object(Map::new())),
        warnings,
    })
}

/// Decodes any JSON value, for objects without a built-in type. The last of duplicate members
/// counts, and a warning names it.
///
/// # Errors
/// [`DecodeError`] with upstream's message.
pub fn decode_untyped(bytes: &[u8]) -> Result<DecodedTree, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let mut scanner = Scanner::new(&text);
    let mut warnings = Vec::new();
    let begins = scanner.begin()?;
    let tree = untyped(&mut scanner, begins, &DocumentPath::root(), &mut warnings)?;
    scanner.end()?;
    Ok(DecodedTree { tree, warnings })
}

fn untyped(
    scanner: &mut Scanner<'_>,
    begins: ValueKind,
    path: &DocumentPath<'_>,
    warnings: &mut Vec<String>,
) -> Result<Tree, DecodeError> {
    Ok(match begins {
        ValueKind::List => {
            let mut items = Vec::new();
            scanner.list(|scanner, index| {
                let begins = scanner.begin()?;
                items.push(untyped(scanner, begins, &path.index(index), warnings)?);
                Ok(())
            })?;
            Tree::from(items)
        }
        ValueKind::Object => {
            let mut members = Map::new();
            scanner.object(|scanner, key| {
                let begins = scanner.begin()?;
                let value = untyped(scanner, begins, &path.key(&key), warnings)?;
                if members.insert(&*key, value).is_some() {
                    warn(warnings, || path.duplicate_field(&key));
                }
                Ok(())
            })?;
            Tree::Object(members)
        }
        other => scanner.scalar(other)?,
    })
}

/// Reads `apiVersion` and `kind` of an object, and checks the syntax of the whole document.
///
/// # Errors
/// [`DecodeError`] with upstream's message.
pub fn peek_type_meta(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    const TARGET: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
    let text = String::from_utf8_lossy(bytes);
    let mut found = TypeMeta::default();
    let mut wrong = None;
    let mut scanner = Scanner::new(&text);
    let mut read = || {
        match scanner.begin()? {
            ValueKind::Object => scanner.object(|scanner, key| {
                let member = match &*key {
                    "apiVersion" => &mut found.api_version,
                    "kind" => &mut found.kind,
                    _ => {
                        let begins = scanner.begin()?;
                        return scanner.skip(begins);
                    }
                };
                match scanner.begin()? {
                    ValueKind::String => *member = scanner.string()?.into_owned(),
                    ValueKind::Null => {}
                    other => {
                        scanner.skip(other)?;
                        wrong.get_or_insert_with(|| {
                            format!("json: cannot unmarshal {} into Go struct field .{key} of type string", other.name())
                        });
                    }
                }
                Ok(())
            })?,
            ValueKind::Null => {}
            other => {
                scanner.skip(other)?;
                wrong = Some(format!("json: cannot unmarshal {} into Go value of type {TARGET}",
                    other.name()));
            }
        }
        scanner.end()
    };
    let done = read().and(wrong.map_or(Ok(()), |text| Err(DecodeError::Value(text))));
    let framed = |text| format!("couldn't get version/kind; json parse error: {text}");
    match done {
        Ok(()) => Ok(found),
        Err(DecodeError::Syntax(text)) => Err(DecodeError::Syntax(framed(text))),
        Err(DecodeError::Value(text)) => Err(DecodeError::Value(framed(text))),
    }
}

/// Decodes a value whose first token is `begins`; `None` for null.
fn typed(
    scanner: &mut Scanner<'_>,
    begins: ValueKind,
    shape: &Shape,
    path: &DocumentPath<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Tree>, DecodeError> {
    let mismatch = || path.mismatch(begins.name(), shape);
    Ok(Some(match (shape, begins) {
        (Shape::Any, ValueKind::Null) => return Ok(None),
        (Shape::Any, _) => untyped(scanner, begins, path, warnings)?,
        (_, ValueKind::Null) => return Ok(None),
        (
            Shape::Object(ty)
            | Shape::ObjectOrBool(ty)
            | Shape::ObjectOrList(ty)
            | Shape::ObjectOrStrings(ty),
            ValueKind::Object,
        ) => object(scanner, ty, path, warnings)?,
        (Shape::ObjectOrBool(_), ValueKind::Bool(value)) => Tree::Bool(value),
        (Shape::ObjectOrList(ty), ValueKind::List) => {
            list(scanner, &Shape::Object(ty), path, warnings)?
        }
        (Shape::ObjectOrStrings(_), ValueKind::List) => {
            list(scanner, &Shape::String, path, warnings)?
        }
        (Shape::List(inner), ValueKind::List) => list(scanner, inner, path, warnings)?,
        (Shape::Map(inner), ValueKind::Object) => map(scanner, inner, path, warnings)?,
        (_, ValueKind::String) => scalar::text(scanner.string()?, shape, path)?,
        (_, ValueKind::Number) => scalar::number(scanner.number()?, shape, path)?,
        (Shape::Bool, ValueKind::Bool(value)) => Tree::Bool(value),
        _ => return Err(mismatch()),
    }))
}

fn object(
    scanner: &mut Scanner<'_>,
    ty: &'static Type,
    path: &DocumentPath<'_>,
    warnings: &mut Vec<String>,
) -> Result<Tree, DecodeError> {
    let mut members = Vec::new();
    // A null member counts as seen and leaves no member, so that `members` cannot show duplicates.
    let mut seen = SeenFields::default();
    scanner.object(|scanner, key| {
        let Some((index, field)) = ty.field_at(&key) else {
            warn(warnings, || path.unknown_field(&key));
            let begins = scanner.begin()?;
            return scanner.skip(begins);
        };
        if seen.again(index) {
            warn(warnings, || path.duplicate_field(&key));
        }
        let begins = scanner.begin()?;
        let inner = path.field(field.name, ty);
        if let Some(value) = typed(scanner, begins, &field.shape, &inner, warnings)?
            && !super::normal::is_lost(&value, field, ty)
        {
            members.push((Text::new_static(field.name), value));
        }
        Ok(())
    })?;
    Ok(Tree::Object(Map::of(members)))
}

/// Which fields of a structure the document has named: a bit for each of the first 128 fields,
/// which is more than any type has.
#[derive(Default)]
struct SeenFields([u64; 2]);

impl SeenFields {
    /// Marks a field; returns whether it was marked before.
    fn again(&mut self, index: usize) -> bool {
        let Some(word) = self.0.get_mut(index / 64) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let before = *word & bit != 0;
        *word |= bit;
        before
    }
}

fn list(
    scanner: &mut Scanner<'_>,
    inner: &Shape,
    path: &DocumentPath<'_>,
    warnings: &mut Vec<String>,
) -> Result<Tree, DecodeError> {
    let mut items = Vec::new();
    scanner.list(|scanner, index| {
        let begins = scanner.begin()?;
        let value = typed(scanner, begins, inner, &path.index(index), warnings)?;
        items.push(value.unwrap_or_else(|| scalar::zero(inner)));
        Ok(())
    })?;
    Ok(Tree::from(items))
}

fn map(
    scanner: &mut Scanner<'_>,
    inner: &Shape,
    path: &DocumentPath<'_>,
    warnings: &mut Vec<String>,
) -> Result<Tree, DecodeError> {
    let mut members = Map::new();
    scanner.object(|scanner, key: Cow<'_, str>| {
        let begins = scanner.begin()?;
        let value = typed(scanner, begins, inner, &path.key(&key), warnings)?;
        let value = value.unwrap_or_else(|| scalar::zero(inner));
        if members.insert(&*key, value).is_some() {
            warn(warnings, || path.duplicate_field(&key));
        }
        Ok(())
    })?;
    Ok(Tree::Object(members))
}

fn warn(warnings: &mut Vec<String>, text: impl FnOnce() -> String) {
    if warnings.len() < MAX_WARNINGS {
        warnings.push(text());
    }
}
