//! Equality and evaluation of label selectors. Their validation is in `rules`, for the tools too.
//!
//! An absent selector matches nothing, an empty one matches everything.

use kinds::Tree;
pub(crate) use rules::validation::selector::{faults, shown};

use crate::tree::{at, list};

/// Returns `true` if a selector has no requirements.
pub(crate) fn is_empty(selector: &Tree) -> bool {
    at(selector, &["matchLabels"])
        .as_object()
        .is_none_or(kinds::tree::Map::is_empty)
        && list(selector, &["matchExpressions"]).is_empty()
}

/// Returns `true` if a selector is valid. Absent is valid.
pub(crate) fn is_sound(selector: &Tree) -> bool {
    kinds::selector::LabelSelector::from_tree(selector).is_ok()
}

/// Returns `true` if a selector matches labels. An invalid selector matches nothing.
pub(crate) fn matches(selector: &Tree, labels: &Tree) -> bool {
    kinds::selector::LabelSelector::from_tree(selector)
        .is_ok_and(|selector| selector.matches(labels))
}

/// Compares selectors semantically. An absent selector differs from an empty one.
pub(crate) fn same(one: &Tree, other: &Tree) -> bool {
    one.is_null() == other.is_null()
        && super::same(
            "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
            &[],
            one,
            other,
        )
}
