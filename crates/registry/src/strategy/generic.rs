//! The strategy of kinds that have no rules of their own, and what the others share with it.

use kinds::Tree;

use super::Strategy;
use crate::tree::is_empty;

/// Structural validation only.
pub(crate) struct Generic;

impl Strategy for Generic {}

/// Faults of a DNS-1123 subdomain.
pub(crate) fn subdomain_faults(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}

/// Semantic equality: absent is null is empty text, list or map.
pub(crate) fn same(one: &Tree, two: &Tree) -> bool {
    match (one, two) {
        (Tree::Object(a), Tree::Object(b)) => {
            a.iter().all(|(name, value)| b.get(name).map_or_else(|| is_empty(value), |other| same(value, other)))
                && b.iter().all(|(name, value)| a.contains_key(name) || is_empty(value))
        }
        (Tree::Array(a), Tree::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y)),
        _ => one == two || (is_empty(one) && is_empty(two)),
    }
}
