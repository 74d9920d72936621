//! Selectors, quantities, durations. The property: a parsed value formats to a string that parses
//! to the same value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kinds::quantity::{self as quantities, Quantity};
use kinds::selector::{FieldSelector, LabelSelector};

/// Label and field selectors of queries, and label selectors of objects.
pub fn selector(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let labels: BTreeMap<String, String> =
        [("a", "1"), ("app", "web"), ("n", "-9223372036854775808")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
    if let Ok(selector) = LabelSelector::parse(&text) {
        let shown = selector.to_string();
        let again = LabelSelector::parse(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!(again.to_string(), shown);
        assert_eq!(again.matches(&labels), selector.matches(&labels), "{shown}");
    }
    if let Ok(selector) = FieldSelector::parse(&text) {
        let shown = selector.to_string();
        let again = FieldSelector::parse(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!(again.to_string(), shown);
        let value_of = |field: &str| Some(Cow::Owned(field.to_owned()));
        assert_eq!(
            again.matches(value_of),
            selector.matches(value_of),
            "{shown}"
        );
    }
    if let Ok(tree) = kinds::json::decode_untyped(input) {
        let _ = kinds::selector::formatted(&tree.tree);
        let _ = LabelSelector::from_tree(&tree.tree).map(|selector| selector.matches(&labels));
    }
}

/// Quantities, durations and names.
pub fn quantity(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(canonical) = quantities::canonical(&text) {
        assert_eq!(
            quantities::canonical(&canonical).as_deref(),
            Ok(canonical.as_str()),
            "{text}"
        );
    }
    if let Ok(quantity) = Quantity::parse(&text) {
        let shown = quantity.to_string();
        let again = Quantity::parse(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!(again.to_string(), shown, "{text}");
        assert_eq!(
            (again.value(), again.milli_value()),
            (quantity.value(), quantity.milli_value()),
            "{text}"
        );
        // Rounding up is away from zero.
        assert_eq!(
            quantity.rounded_up_to_milli().cmp(&quantity).is_lt(),
            quantity.is_negative() && quantity.rounded_up_to_milli() != quantity
        );
    }
    let _ = kinds::duration::parse_nanos(&text);
    for check in [
        kinds::names::qualified_name,
        kinds::names::label_value,
        kinds::names::dns_subdomain,
        kinds::names::percent,
    ] {
        let _ = check(&text);
    }
}
