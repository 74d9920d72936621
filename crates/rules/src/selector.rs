//! Label selectors of typed objects, compiled once and matched often.
//!
//! `kinds::selector` holds the one evaluation of a selector, for objects as trees and for typed
//! objects. This module compiles the typed form, `meta/v1 LabelSelector`, into it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kinds::selector::{Operator, Requirement};

type LabelMap = BTreeMap<String, String>;

/// A compiled `meta/v1 LabelSelector`, or the plain map of labels of a Service or a
/// ReplicationController.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(kinds::selector::LabelSelector);

impl Selector {
    /// Compiles a selector. An absent selector matches nothing, an empty one everything.
    ///
    /// # Errors
    /// Upstream's message for an invalid key, value or operator.
    pub fn compile(selector: Option<&LabelSelector>) -> Result<Self, String> {
        let Some(selector) = selector else {
            return Ok(Self(kinds::selector::LabelSelector::nothing()));
        };
        let labels = selector.match_labels.iter().flatten();
        let mut requirements = labels
            .map(|(key, value)| Requirement::new(key, Operator::Equals, vec![value.clone()]))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.clone().unwrap_or_default();
            let requirement = Operator::from_expression(&expression.operator)
                .and_then(|operator| Requirement::new(&expression.key, operator, values))
                .map_err(|error| error.to_string())?;
            requirements.push(requirement);
        }
        Ok(Self(kinds::selector::LabelSelector::new(requirements)))
    }

    /// Selects the objects that have all of these labels with these values. Without labels it
    /// selects every object.
    ///
    /// The labels are not validated: the API server did that when it admitted the Service or
    /// ReplicationController that holds them.
    pub fn exactly(labels: Option<&LabelMap>) -> Self {
        let labels = labels.into_iter().flatten();
        Self(kinds::selector::LabelSelector::from_valid_labels(
            labels.map(|(key, value)| (key.as_str(), value.as_str())),
        ))
    }

    /// Returns the labels that every selected object has, each with its only possible value. An
    /// index by label can find all selected objects under any of them.
    pub fn demanded(&self) -> impl Iterator<Item = (&str, &str)> {
        let requirements = self.0.requirements().iter();
        requirements.filter_map(|requirement| match requirement.required_values()? {
            [value] => Some((requirement.key(), &**value)),
            _ => None,
        })
    }

    /// Returns true when the other selector certainly selects every object that this one selects.
    #[must_use]
    pub fn implies(&self, other: &Self) -> bool {
        self.0.implies(&other.0)
    }

    /// Returns whether the selector requires one label with one value and nothing else. An index by
    /// label then finds exactly what it selects.
    #[must_use]
    pub fn is_one_label(&self) -> bool {
        self.0.requirements().len() == 1 && self.demanded().next().is_some()
    }

    /// Returns whether the selector has no requirements, and so selects every object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_everything()
    }

    /// Returns whether the selector selects an object with these labels.
    #[must_use]
    pub fn matches(&self, labels: Option<&LabelMap>) -> bool {
        self.0.matches(&labels)
    }
}

/// Formats a selector as Go prints the structure, which is how upstream's events show it.
pub fn render_go(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "nil".to_owned();
    };
    let mut text = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in selector.match_labels.iter().flatten() {
        let _ = write!(text, "{key}: {value},");
    }
    text.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for expression in selector.match_expressions.iter().flatten() {
        let values = expression.values.clone().unwrap_or_default().join(" ");
        let _ = write!(
            text,
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
            expression.key, expression.operator
        );
    }
    text.push_str("},}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> LabelMap {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn compiled(json: serde_json::Value) -> Result<Selector, String> {
        let selector: Option<LabelSelector> = serde_json::from_value(json).expect("a selector");
        Selector::compile(selector.as_ref())
    }

    #[test]
    fn every_operator_selects_as_documented() {
        let pod = labels(&[("app", "a"), ("tier", "web")]);
        let cases = [
            (serde_json::json!(null), false),
            (serde_json::json!({}), true),
            (serde_json::json!({"matchLabels": {"app": "a"}}), true),
            (serde_json::json!({"matchLabels": {"app": "b"}}), false),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "In",
                    "values": ["x", "a"]}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "NotIn",
                    "values": ["a"]}]}),
                false,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "other", "operator": "NotIn",
                    "values": ["a"]}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app",
                    "operator": "DoesNotExist"}]}),
                false,
            ),
            (
                serde_json::json!({"matchLabels": {"app": "a"},
                    "matchExpressions": [{"key": "gone", "operator": "Exists"}]}),
                false,
            ),
        ];
        for (selector, expected) in cases {
            let text = selector.to_string();
            assert_eq!(
                compiled(selector).expect("compiles").matches(Some(&pod)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn an_unknown_operator_is_named_in_the_error() {
        let error =
            compiled(serde_json::json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}))
                .expect_err("refused");
        assert_eq!(error, "\"Near\" is not a valid label selector operator");
    }

    #[test]
    fn go_rendering_matches_upstream() {
        let selector: LabelSelector = serde_json::from_value(serde_json::json!({
            "matchLabels": {"foo": "bar", "a": "b"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        }))
        .expect("a selector");
        assert_eq!(
            render_go(Some(&selector)),
            "&LabelSelector{MatchLabels:map[string]string{a: b,foo: bar,},\
             MatchExpressions:[]LabelSelectorRequirement{\
             LabelSelectorRequirement{Key:c,Operator:In,Values:[y x],},\
             LabelSelectorRequirement{Key:d,Operator:DoesNotExist,Values:[],},},}"
        );
        assert_eq!(render_go(None), "nil");
    }

    #[test]
    fn one_label_is_a_selector_that_an_index_answers_alone() {
        let cases = [
            (serde_json::json!(null), false),
            (serde_json::json!({}), false),
            (serde_json::json!({"matchLabels": {"app": "a"}}), true),
            (
                serde_json::json!({"matchLabels": {"app": "a", "tier": "b"}}),
                false,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "In",
                    "values": ["a"]}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "In",
                    "values": ["a", "b"]}]}),
                false,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                false,
            ),
            (
                serde_json::json!({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "b",
                    "operator": "DoesNotExist"}]}),
                false,
            ),
        ];
        for (selector, expected) in cases {
            let text = selector.to_string();
            assert_eq!(
                compiled(selector).expect("compiles").is_one_label(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn demanded_labels_have_exactly_one_possible_value() {
        let selector = compiled(serde_json::json!({
            "matchLabels": {"app": "a"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["web"]},
                {"key": "zone", "operator": "In", "values": ["x", "y"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "not", "operator": "NotIn", "values": ["z"]},
            ],
        }))
        .expect("compiles");
        let demanded: Vec<_> = selector.demanded().collect();
        assert_eq!(demanded, [("app", "a"), ("tier", "web")]);
    }

    #[test]
    fn labels_without_validation_select_by_equality() {
        let odd = labels(&[("app", "not a valid value")]);
        let selector = Selector::exactly(Some(&odd));
        assert!(selector.matches(Some(&odd)));
        assert!(!selector.matches(Some(&labels(&[("app", "a")]))));
        assert!(Selector::exactly(None).is_empty() && Selector::exactly(None).matches(None));
    }

    #[test]
    fn a_selector_implies_every_wider_one() {
        let selector = |text: &str| {
            let json = match text {
                "null" => serde_json::Value::Null,
                text => {
                    let parts = text.split(';').filter(|part| !part.is_empty());
                    let terms: Vec<serde_json::Value> = parts
                        .map(|part| {
                            let words: Vec<&str> = part.split(' ').collect();
                            serde_json::json!({"key": words[0], "operator": words[1],
                                "values": &words[2..]})
                        })
                        .collect();
                    serde_json::json!({"matchExpressions": terms})
                }
            };
            compiled(json).expect("compiles")
        };
        for (narrow, wide, expected) in [
            ("a In x", "", true),
            ("", "a In x", false),
            ("a In x", "a In x", true),
            ("a In x;b In y", "a In x", true),
            ("a In x", "a In x y", true),
            ("a In x y", "a In x", false),
            ("a In x", "a Exists", true),
            ("a Exists", "a In x", false),
            ("a In x", "a NotIn y", true),
            ("a In x", "a NotIn x", false),
            ("a DoesNotExist", "a NotIn x", true),
            ("a NotIn x y", "a NotIn x", true),
            ("a NotIn x", "a NotIn x y", false),
            ("a In x", "b In x", false),
            ("a In x", "null", false),
            ("null", "a In x", true),
        ] {
            assert_eq!(
                selector(narrow).implies(&selector(wide)),
                expected,
                "{narrow:?} and {wide:?}"
            );
        }
    }
}
