//! Selectors: which objects a request, a budget or a workload means.
//!
//! A [`LabelSelector`] is compiled once, from an object's tree or from a query's text, and asked
//! often. A [`FieldSelector`] knows no fields: the caller says what a field of an object holds and
//! which fields a kind offers.

mod field;
mod label;
mod parse;
mod requirement;
#[cfg(test)]
mod tests;

pub use field::{FieldSelector, FieldTerm};
pub use label::{LabelSelector, Labels, formatted, formatted_labels};
pub use requirement::{Operator, Requirement};

/// Why a text or a tree is no selector: the API's own words, for a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);
