//! Compiled label selectors, and their string forms.

use std::fmt;

use super::labels::Labels;
use super::{Operator, Requirement, SelectorError};
use crate::Tree;

/// A compiled label selector. An object matches if all requirements hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    /// Sorted by key.
    requirements: Box<[Requirement]>,
    /// True for the selector that selects no object.
    nothing: bool,
}

impl LabelSelector {
    /// Returns the selector of every object.
    #[must_use]
    pub fn everything() -> Self {
        Self::new(Vec::new())
    }

    /// Returns the selector of no object.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            requirements: Box::default(),
            nothing: true,
        }
    }

    /// Returns the selector of the objects that fulfil all requirements.
    #[must_use]
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|left, right| left.key().cmp(right.key()));
        Self {
            requirements: requirements.into_boxed_slice(),
            nothing: false,
        }
    }

    /// Returns the selector of the objects with all of these labels.
    ///
    /// # Errors
    /// The API's message for an invalid key or value.
    pub fn from_labels<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SelectorError> {
        let requirements = labels
            .into_iter()
            .map(|(key, value)| Requirement::new(key, Operator::Equals, vec![value.to_owned()]));
        Ok(Self::new(requirements.collect::<Result<_, _>>()?))
    }

    /// Returns the selector of the objects with all of these labels, without validating them. For
    /// labels that the API server validated when it admitted the Service or ReplicationController
    /// that holds them.
    #[must_use]
    pub fn from_valid_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let labels = labels.into_iter();
        Self::new(
            labels
                .map(|(key, value)| Requirement::valid_equals(key, value))
                .collect(),
        )
    }

    /// Compiles `{matchLabels, matchExpressions}`. Null selects no object, an empty selector every
    /// object.
    ///
    /// # Errors
    /// The API's message for an invalid selector.
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

    /// Parses a query parameter: `a=b,c!=d,e in (x,y),!f,g`.
    ///
    /// # Errors
    /// The API's message for an invalid selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        super::parse::requirements(text).map(Self::new)
    }

    /// Returns whether the labels fulfil every requirement.
    #[must_use]
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(labels))
    }

    /// Returns true when the other selector certainly selects every object that this one selects.
    #[must_use]
    pub fn implies(&self, other: &Self) -> bool {
        let holds = |wanted: &Requirement| self.requirements.iter().any(|own| own.implies(wanted));
        self.nothing || (!other.nothing && other.requirements.iter().all(holds))
    }

    /// Returns whether the selector selects every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Returns whether the selector selects no object, whatever its labels.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Returns the requirements, sorted by key.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl fmt::Display for LabelSelector {
    /// Formats the selector so that [`parse`](LabelSelector::parse) reads it back. The selectors of
    /// everything and of nothing are both empty.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

/// Formats a selector for a table: `a=b,c in (x,y)`, `<none>` if it is empty, `<error>` if it is
/// invalid.
#[must_use]
pub fn formatted(tree: &Tree) -> String {
    match LabelSelector::from_tree(tree).map(|selector| selector.to_string()) {
        Ok(text) if text.is_empty() => "<none>".to_owned(),
        Ok(text) => text,
        Err(_) => "<error>".to_owned(),
    }
}

/// Formats labels for a table: `a=b,c=d`, or `<none>`.
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
