//! Label and field selectors: which objects a request, a budget or a workload selects.
//!
//! A [`LabelSelector`] is compiled once, from an object's tree or a query string, and matched
//! often. `rules::selector` compiles typed selectors into it, so that the server, the controllers
//! and the tools agree. A [`FieldSelector`] knows no fields: the caller reads them.

mod field;
mod label;
mod labels;
mod parse;
mod requirement;
#[cfg(test)]
mod tests;

pub use field::{FieldSelector, FieldTerm};
pub use label::{LabelSelector, formatted, formatted_labels};
pub use labels::Labels;
pub use requirement::{Operator, Requirement};

/// Why a selector is invalid. The message is the API's, for a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);
