//! Structural schemas of custom kinds, parsed once per definition.
//!
//! Definitions are validated when they are stored (`strategy/definition.rs`), so parsing never
//! fails. The parser ignores values that it does not understand.

mod columns;
mod jsonpath;
mod path;
mod prune;
mod validate;

use std::collections::{BTreeMap, HashSet};

use kinds::Tree;
use regex::Regex;

pub(crate) use columns::columns;
pub use columns::{Column, cell};
pub(crate) use prune::{default, prune};
pub(crate) use validate::{validate, validate_status};

use crate::tree::{at, flag, int, list, text};

/// The constraints on a value.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Kind,
    pub(crate) format: String,
    /// True when the value may be null.
    pub(crate) nullable: bool,
    /// True when members without a schema are kept.
    pub(crate) preserve: bool,
    /// True for a complete object with its own `apiVersion`, `kind` and `metadata`.
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) required: Vec<String>,
    pub(crate) values: EnumValues,
    pub(crate) default: Option<Tree>,
    /// The size of the default, as JSON.
    pub(crate) default_bytes: usize,
    pub(crate) pattern: Option<Regex>,
    pub(crate) minimum: Option<NumericBound>,
    pub(crate) maximum: Option<NumericBound>,
    pub(crate) multiple_of: Option<f64>,
    /// Minimum sizes: `minLength`, `minItems`, `minProperties`.
    pub(crate) least: SizeLimits,
    /// Maximum sizes: `maxLength`, `maxItems`, `maxProperties`.
    pub(crate) most: SizeLimits,
    pub(crate) list: ListKind,
    pub(crate) keys: Vec<String>,
    /// True when managers own the map or structure as a whole.
    pub(crate) atomic: bool,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The schema has no type.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
}

/// The members that `properties` does not declare (`additionalProperties`).
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// Such members are unknown fields.
    #[default]
    None,
    /// Any value is allowed.
    Any,
    /// All such members have this schema.
    Each(Box<Schema>),
}

/// The values that `enum` allows.
#[derive(Debug, Default)]
pub(crate) struct EnumValues {
    list: Vec<Tree>,
    /// The texts of the values. A list has as many items as a body can hold, each compared with
    /// as many values as a definition can hold.
    texts: HashSet<String>,
}

impl EnumValues {
    fn of(values: &[Tree]) -> Self {
        Self {
            list: values.to_vec(),
            texts: values.iter().map(Tree::to_string).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn contains(&self, value: &Tree) -> bool {
        self.texts.contains(&value.to_string())
    }

    /// Returns the values in the order of the definition.
    pub(crate) fn list(&self) -> &[Tree] {
        &self.list
    }
}

/// A limit on a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NumericBound {
    pub(crate) value: f64,
    pub(crate) exclusive: bool,
}

/// Limits on the sizes of strings (in characters), lists and maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SizeLimits {
    pub(crate) characters: Option<usize>,
    pub(crate) items: Option<usize>,
    pub(crate) members: Option<usize>,
}

/// How items of a list are identified (`x-kubernetes-list-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListKind {
    #[default]
    Atomic,
    Set,
    Map,
}

impl Schema {
    /// Parses a schema.
    pub(crate) fn parse(tree: &Tree) -> Self {
        let count =
            |member: &str| int(tree, &[member]).and_then(|number| usize::try_from(number).ok());
        let bound = |value: &str, exclusive: &str| {
            at(tree, &[value]).as_f64().map(|value| NumericBound {
                value,
                exclusive: flag(tree, &[exclusive]),
            })
        };
        let all = |member: &str| list(tree, &[member]).iter().map(Self::parse).collect();
        let words = |member: &str| {
            list(tree, &[member])
                .iter()
                .filter_map(Tree::as_str)
                .map(str::to_owned)
                .collect()
        };
        Self {
            kind: Kind::parse(tree),
            format: text(tree, &["format"]).to_owned(),
            nullable: flag(tree, &["nullable"]),
            preserve: flag(tree, &["x-kubernetes-preserve-unknown-fields"]),
            embedded: flag(tree, &["x-kubernetes-embedded-resource"]),
            properties: at(tree, &["properties"])
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.to_string(), Self::parse(schema)))
                .collect(),
            additional: match at(tree, &["additionalProperties"]) {
                Tree::Bool(true) => Additional::Any,
                schema @ Tree::Object(_) => Additional::Each(Box::new(Self::parse(schema))),
                _ => Additional::None,
            },
            items: Some(at(tree, &["items"]))
                .filter(|items| items.is_object())
                .map(|items| Box::new(Self::parse(items))),
            required: words("required"),
            values: EnumValues::of(list(tree, &["enum"])),
            default: Some(at(tree, &["default"]))
                .filter(|default| !default.is_null())
                .cloned(),
            default_bytes: crate::size::bytes_up_to(
                at(tree, &["default"]),
                crate::size::MAX_OBJECT_BYTES,
            ),
            pattern: Some(text(tree, &["pattern"]))
                .filter(|pattern| !pattern.is_empty())
                .and_then(|pattern| Regex::new(pattern).ok()),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: at(tree, &["multipleOf"])
                .as_f64()
                .filter(|factor| *factor > 0.0),
            least: SizeLimits {
                characters: count("minLength"),
                items: count("minItems"),
                members: count("minProperties"),
            },
            most: SizeLimits {
                characters: count("maxLength"),
                items: count("maxItems"),
                members: count("maxProperties"),
            },
            list: match text(tree, &["x-kubernetes-list-type"]) {
                "set" => ListKind::Set,
                "map" => ListKind::Map,
                _ => ListKind::Atomic,
            },
            keys: words("x-kubernetes-list-map-keys"),
            atomic: text(tree, &["x-kubernetes-map-type"]) == "atomic",
            all_of: all("allOf"),
            any_of: all("anyOf"),
            one_of: all("oneOf"),
            not: Some(at(tree, &["not"]))
                .filter(|not| not.is_object())
                .map(|not| Box::new(Self::parse(not))),
        }
    }

    /// Returns the schema of a member from `properties`, or else from `additionalProperties`.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Additional::Each(schema) => Some(schema),
            Additional::Any | Additional::None => None,
        })
    }
}

impl Kind {
    fn parse(tree: &Tree) -> Self {
        if flag(tree, &["x-kubernetes-int-or-string"]) {
            return Self::IntOrString;
        }
        match text(tree, &["type"]) {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Any,
        }
    }

    /// Returns the name of the type in validation messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer,string",
        }
    }

    /// Returns true when a value has this type. A number without a fraction is an integer.
    pub(crate) fn takes(self, value: &Tree) -> bool {
        let whole = |value: &Tree| {
            value.is_i64()
                || value.is_u64()
                || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        };
        match self {
            Self::Any => true,
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::String => value.is_string(),
            Self::Integer => whole(value),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::IntOrString => value.is_string() || whole(value),
        }
    }
}
