//! Label selectors as objects hold them, compiled, and their texts.

use std::collections::BTreeMap;
use std::fmt;

use crate::tree::Map;

use super::{Operator, Requirement, SelectorError};
use crate::Tree;

/// Where labels come from: a tree, a map of one, or typed metadata.
pub trait Labels {
    /// The value of a label, if it is there.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for Map {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Tree::as_str)
    }
}

impl Labels for Tree {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Tree::as_str)
    }
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

/// A compiled label selector: all requirements must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    /// Sorted by key.
    requirements: Box<[Requirement]>,
    /// True for the selector of no object at all.
    nothing: bool,
}

impl LabelSelector {
    /// Selects every object.
    #[must_use]
    pub fn everything() -> Self {
        Self::new(Vec::new())
    }

    /// Selects no object.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            requirements: Box::default(),
            nothing: true,
        }
    }

    /// Selects what fulfils all of these.
    #[must_use]
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|left, right| left.key().cmp(right.key()));
        Self {
            requirements: requirements.into_boxed_slice(),
            nothing: false,
        }
    }

    /// Selects what has all of these labels (the selector of a Service or ReplicationController).
    pub fn from_labels<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SelectorError> {
        let requirements = labels
            .into_iter()
            .map(|(key, value)| Requirement::new(key, Operator::Equals, vec![value.to_owned()]));
        Ok(Self::new(requirements.collect::<Result<_, _>>()?))
    }

    /// Selects what has all of these labels, without validating them: for labels that the API
    /// server validated when it admitted the object that holds them.
    #[must_use]
    pub fn from_valid_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let labels = labels.into_iter();
        Self::new(
            labels
                .map(|(key, value)| Requirement::valid_equals(key, value))
                .collect(),
        )
    }

    /// Compiles `{matchLabels, matchExpressions}`; null selects nothing, an empty object
    /// everything.
    pub fn from_tree(tree: &Tree) -> Result<Self, SelectorError> {
        let Some(selector) = tree.as_object() else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in members(selector.get("matchLabels")) {
            let value = value.as_str().unwrap_or_default();
            requirements.push(Requirement::new(
                key,
                Operator::Equals,
                vec![value.to_owned()],
            )?);
        }
        for expression in items(selector.get("matchExpressions")) {
            let operator = Operator::from_expression(text(expression, "operator"))?;
            requirements.push(Requirement::new(
                text(expression, "key"),
                operator,
                values(expression),
            )?);
        }
        Ok(Self::new(requirements))
    }

    /// Parses the text of a query: `a=b,c!=d,e in (x,y),!f,g`. Errors are the parser's texts of the
    /// API.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        super::parse::requirements(text).map(Self::new)
    }

    /// True when the labels fulfil every requirement.
    #[must_use]
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(labels))
    }

    /// True when it selects every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// True when it can select no object, whatever its labels.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The conditions, sorted by key.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl fmt::Display for LabelSelector {
    /// The text that [`parse`](LabelSelector::parse) reads; empty for everything and for nothing.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

/// A selector's tree as tables show it: `a=b,c in (x,y)`, `<none>`, or `<error>`.
#[must_use]
pub fn formatted(tree: &Tree) -> String {
    match LabelSelector::from_tree(tree).map(|selector| selector.to_string()) {
        Ok(text) if text.is_empty() => "<none>".to_owned(),
        Ok(text) => text,
        Err(_) => "<error>".to_owned(),
    }
}

/// A map of labels as tables show it: `a=b,c=d` or `<none>`.
#[must_use]
pub fn formatted_labels(tree: &Tree) -> String {
    let mut pairs: Vec<String> = members(Some(tree))
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

fn members(tree: Option<&Tree>) -> impl Iterator<Item = (&str, &Tree)> {
    tree.and_then(Tree::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

fn items(tree: Option<&Tree>) -> impl Iterator<Item = &Tree> {
    tree.and_then(Tree::as_array).into_iter().flatten()
}

fn text<'a>(tree: &'a Tree, name: &str) -> &'a str {
    tree.get(name).and_then(Tree::as_str).unwrap_or_default()
}

fn values(expression: &Tree) -> Vec<String> {
    items(expression.get("values"))
        .map(|value| value.as_str().unwrap_or_default().to_owned())
        .collect()
}
