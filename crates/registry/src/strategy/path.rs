//! The path of a field during validation, which `rules` holds for the tools too.

pub(crate) use rules::validation::path::{Path, SPEC};
