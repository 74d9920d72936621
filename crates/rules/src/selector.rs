//! Label selectors, compiled once and matched often.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A compiled selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// None matches nothing.
    requirements: Option<Vec<Requirement>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Is(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

type Labels = BTreeMap<String, String>;

impl Selector {
    /// An absent selector matches nothing, an empty one everything.
    ///
    /// # Errors
    /// The text that says what is wrong with it.
    pub fn compile(selector: Option<&LabelSelector>) -> Result<Self, String> {
        let Some(selector) = selector else {
            return Ok(Self { requirements: None });
        };
        let mut requirements = Self::exactly(selector.match_labels.as_ref())
            .requirements
            .unwrap_or_default();
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.clone().unwrap_or_default();
            let key = &expression.key;
            let test = match expression.operator.as_str() {
                "In" | "NotIn" if values.is_empty() => {
                    return Err(format!(
                        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty ({key})"
                    ));
                }
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" if values.is_empty() => Test::Exists,
                "DoesNotExist" if values.is_empty() => Test::DoesNotExist,
                "Exists" | "DoesNotExist" => {
                    return Err("values: Invalid value: values set must be empty for exists and does not exist".to_owned());
                }
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            requirements.push(Requirement {
                key: expression.key.clone(),
                test,
            });
        }
        Ok(Self {
            requirements: Some(requirements),
        })
    }

    /// All these labels with these values; absent matches everything.
    pub fn exactly(labels: Option<&Labels>) -> Self {
        let requirements = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                test: Test::Is(value.clone()),
            });
        Self {
            requirements: Some(requirements.collect()),
        }
    }

    /// Labels without which it means nothing, each with the only value that will do.
    pub fn demanded(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements
            .iter()
            .flatten()
            .filter_map(|requirement| match &requirement.test {
                Test::Is(value) => Some((requirement.key.as_str(), value.as_str())),
                Test::In(values) if values.len() == 1 => {
                    Some((requirement.key.as_str(), values[0].as_str()))
                }
                _ => None,
            })
    }

    /// True when it asks for nothing, and so means everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it means an object with these labels.
    #[must_use]
    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        let Some(requirements) = &self.requirements else {
            return false;
        };
        requirements.iter().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.key));
            match &requirement.test {
                Test::Is(wanted) => value == Some(wanted),
                Test::In(wanted) => value.is_some_and(|value| wanted.contains(value)),
                Test::NotIn(unwanted) => value.is_none_or(|value| !unwanted.contains(value)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// A selector in the words in which upstream's events show it.
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

    fn labels(pairs: &[(&str, &str)]) -> Labels {
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
    fn every_operator_selects_what_it_says() {
        let pod = labels(&[("app", "a"), ("tier", "web")]);
        let cases = [
            (serde_json::json!(null), false),
            (serde_json::json!({}), true),
            (serde_json::json!({"matchLabels": {"app": "a"}}), true),
            (serde_json::json!({"matchLabels": {"app": "b"}}), false),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "a"]}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}),
                false,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["a"]}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
                false,
            ),
            (
                serde_json::json!({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "gone", "operator": "Exists"}]}),
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
    fn an_unknown_operator_is_named() {
        let error =
            compiled(serde_json::json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}))
                .expect_err("refused");
        assert_eq!(error, "\"Near\" is not a valid label selector operator");
    }

    #[test]
    fn a_selector_is_told_in_the_form_of_upstream() {
        let selector = LabelSelector {
            match_labels: Some(labels(&[("foo", "bar")])),
            match_expressions: None,
        };
        assert_eq!(
            render_go(Some(&selector)),
            "&LabelSelector{MatchLabels:map[string]string{foo: bar,},MatchExpressions:[]LabelSelectorRequirement{},}"
        );
    }
}
