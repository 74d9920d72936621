//! Taints, tolerations and node affinity.

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// Returns whether the toleration matches the taint.
fn tolerates_one(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => {
            // A toleration of every key must use `Exists`.
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

/// Returns whether one of the tolerations matches the taint.
pub fn tolerates(tolerations: Option<&Vec<Toleration>>, taint: &Taint) -> bool {
    tolerations
        .into_iter()
        .flatten()
        .any(|toleration| tolerates_one(toleration, taint))
}

/// Returns the tolerations that match the taint.
pub fn covering<'a>(
    tolerations: Option<&'a Vec<Toleration>>,
    taint: &'a Taint,
) -> impl Iterator<Item = &'a Toleration> {
    tolerations
        .into_iter()
        .flatten()
        .filter(move |toleration| tolerates_one(toleration, taint))
}

/// Returns the taints of a node.
pub fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
}

/// Returns the name of a node.
pub fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Returns whether the node is cordoned.
pub fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true))
}

/// Returns whether the node matches the pod's node selector and required node affinity.
pub fn matches_affinity(spec: &PodSpec, node: &Node) -> bool {
    let label = |key: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    if spec
        .node_selector
        .iter()
        .flatten()
        .any(|(key, value)| label(key) != Some(value))
    {
        return false;
    }
    let required = spec.affinity.as_ref().and_then(|affinity| {
        affinity
            .node_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    required.is_none_or(|required| matches(required, node))
}

/// Returns whether one of the terms matches the node.
#[must_use]
pub fn matches(selector: &NodeSelector, node: &Node) -> bool {
    selector
        .node_selector_terms
        .iter()
        .any(|term| matches_term(term, node))
}

/// Returns the sum of the weights of the preferred node affinity terms that match the node.
pub fn preferred_affinity_score(spec: &PodSpec, node: &Node) -> i64 {
    let preferred = spec.affinity.as_ref().and_then(|affinity| {
        affinity
            .node_affinity
            .as_ref()?
            .preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let liked = preferred
        .into_iter()
        .flatten()
        .filter(|preferred| matches_term(&preferred.preference, node));
    liked.map(|preferred| i64::from(preferred.weight)).sum()
}

fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let (expressions, fields) = (
        term.match_expressions.as_deref().unwrap_or_default(),
        term.match_fields.as_deref().unwrap_or_default(),
    );
    // Upstream: an empty term matches no object, not every object.
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    expressions
        .iter()
        .all(|requirement| holds(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| {
            requirement.key == "metadata.name" && holds(requirement, Some(name(node)))
        })
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|one| one == value));
    let compare = |test: fn(&i64, &i64) -> bool| {
        let bound = values.first().and_then(|bound| bound.parse().ok());
        value
            .and_then(|value| value.parse().ok())
            .zip(bound)
            .is_some_and(|(value, bound)| test(&value, &bound))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tolerations_cover_taints_by_key_value_and_effect() {
        let taint: Taint =
            serde_json::from_value(json!({"key": "k", "value": "v", "effect": "NoSchedule"}))
                .expect("a taint");
        let cases = [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (
                json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}),
                false,
            ),
            (
                json!({"key": "k", "value": "v", "effect": "NoSchedule"}),
                true,
            ),
            (
                json!({"key": "k", "operator": "Equal", "value": "w"}),
                false,
            ),
            (json!({"key": "other", "operator": "Exists"}), false),
        ];
        for (toleration, expected) in cases {
            let text = toleration.to_string();
            let list = vec![serde_json::from_value(toleration).expect("a toleration")];
            assert_eq!(tolerates(Some(&list), &taint), expected, "{text}");
        }
    }

    #[test]
    fn a_node_matches_by_labels_and_by_name() {
        let node: Node = serde_json::from_value(
            json!({"metadata": {"name": "a", "labels": {"zone": "z", "size": "7"}}}),
        )
        .expect("a node");
        let required = |term: Value| {
            json!({"containers": [],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [term]}}}})
        };
        let expression = |operator: &str, key: &str, values: Value| {
            required(
                json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
            )
        };
        let cases = [
            (json!({"containers": []}), true),
            (
                json!({"containers": [], "nodeSelector": {"zone": "z"}}),
                true,
            ),
            (
                json!({"containers": [], "nodeSelector": {"zone": "y"}}),
                false,
            ),
            (expression("In", "zone", json!(["y", "z"])), true),
            (expression("NotIn", "zone", json!(["z"])), false),
            (expression("NotIn", "zone", json!(["y"])), true),
            (expression("NotIn", "rack", json!(["z"])), true),
            (expression("Exists", "zone", json!([])), true),
            (expression("Exists", "rack", json!([])), false),
            (expression("DoesNotExist", "zone", json!([])), false),
            (expression("DoesNotExist", "rack", json!([])), true),
            (expression("Gt", "size", json!(["6"])), true),
            (expression("Lt", "size", json!(["6"])), false),
            (required(json!({})), false),
            (
                required(
                    json!({"matchFields": [{"key": "metadata.name", "operator": "In",
                        "values": ["a"]}]}),
                ),
                true,
            ),
            (
                required(
                    json!({"matchFields": [{"key": "metadata.name", "operator": "In",
                        "values": ["b"]}]}),
                ),
                false,
            ),
        ];
        for (spec, expected) in cases {
            let text = spec.to_string();
            assert_eq!(
                matches_affinity(&serde_json::from_value(spec).expect("a spec"), &node),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_score_sums_the_weights_of_matching_preferences() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"zone": "z"}}}))
                .expect("a node");
        let term = |weight: i32, zone: &str| {
            json!({"weight": weight, "preference": {"matchExpressions": [
                {"key": "zone", "operator": "In", "values": [zone]}]}})
        };
        let spec = serde_json::from_value(json!({"containers": [], "affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution":
                [term(1, "z"), term(10, "y"), term(100, "z")]}}}))
        .expect("a spec");
        assert_eq!(preferred_affinity_score(&spec, &node), 101);
        assert_eq!(preferred_affinity_score(&PodSpec::default(), &node), 0);
    }

    #[test]
    fn numbers_compare_strictly_and_only_as_numbers() {
        let requirement = |operator: &str, value: &str| NodeSelectorRequirement {
            key: "size".to_owned(),
            operator: operator.to_owned(),
            values: Some(vec![value.to_owned()]),
        };
        for (operator, bound, value, expected) in [
            ("Gt", "7", Some("8"), true),
            ("Gt", "7", Some("7"), false),
            ("Lt", "7", Some("6"), true),
            ("Lt", "7", Some("7"), false),
            ("Gt", "7", Some("x"), false),
            ("Gt", "x", Some("8"), false),
            ("Gt", "7", None, false),
            ("Near", "7", Some("7"), false),
        ] {
            assert_eq!(
                holds(&requirement(operator, bound), value),
                expected,
                "{operator} {bound} {value:?}"
            );
        }
    }

    #[test]
    fn all_parts_of_a_term_must_match_and_one_term_is_enough() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"zone": "z"}}}))
                .expect("a node");
        let zone = |zone: &str| json!({"key": "zone", "operator": "In", "values": [zone]});
        let field = |key: &str, name: &str| json!({"key": key, "operator": "In", "values": [name]});
        let cases = [
            (json!([{"matchExpressions": [zone("z"), zone("y")]}]), false),
            (
                json!([{"matchExpressions": [zone("y")]}, {"matchExpressions": [zone("z")]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [zone("z")], "matchFields": [field("metadata.name",
                    "b")]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [zone("z")], "matchFields": [field("metadata.name",
                    "a")]}]),
                true,
            ),
            (
                json!([{"matchFields": [field("metadata.uid", "a")]}]),
                false,
            ),
            (json!([]), false),
        ];
        for (terms, expected) in cases {
            let selector = serde_json::from_value(json!({"nodeSelectorTerms": terms}));
            assert_eq!(
                matches(&selector.expect("a selector"), &node),
                expected,
                "{terms}"
            );
        }
    }

    #[test]
    fn covering_returns_the_matching_tolerations() {
        let taint: Taint =
            serde_json::from_value(json!({"key": "k", "effect": "NoExecute"})).expect("a taint");
        let tolerations: Vec<Toleration> = serde_json::from_value(json!([
            {"key": "other", "operator": "Exists"}, {"key": "k", "operator": "Exists"},
            {"operator": "Equal"}, {"operator": "Near", "key": "k"},
        ]))
        .expect("tolerations");
        let found: Vec<_> = covering(Some(&tolerations), &taint).collect();
        assert_eq!(found, [&tolerations[1]]);
        assert_eq!(covering(None, &taint).count(), 0);
    }
}
