//! What pods and nodes ask of each other: names, labels, taints. Pure.

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// True when the toleration covers the taint.
fn tolerates_one(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

/// True when one of the tolerations covers the taint.
pub fn tolerates(tolerations: Option<&Vec<Toleration>>, taint: &Taint) -> bool {
    tolerations
        .into_iter()
        .flatten()
        .any(|toleration| tolerates_one(toleration, taint))
}

/// The tolerations that cover the taint.
pub fn covering<'a>(
    tolerations: Option<&'a Vec<Toleration>>,
    taint: &'a Taint,
) -> impl Iterator<Item = &'a Toleration> {
    tolerations
        .into_iter()
        .flatten()
        .filter(move |toleration| tolerates_one(toleration, taint))
}

/// The taints of a node.
pub fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
}

/// Name of a node.
pub fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// True when people have taken the node out of service.
pub fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true))
}

/// True when the node carries the labels and fields that the pod demands.
pub fn is_wanted(spec: &PodSpec, node: &Node) -> bool {
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

/// True when one of the terms means the node.
#[must_use]
pub fn matches(selector: &NodeSelector, node: &Node) -> bool {
    selector
        .node_selector_terms
        .iter()
        .any(|term| matches_term(term, node))
}

/// How much the node is liked beyond what is demanded.
pub fn preference(spec: &PodSpec, node: &Node) -> i64 {
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
    fn a_node_is_wanted_by_labels_and_by_name() {
        let node: Node = serde_json::from_value(
            json!({"metadata": {"name": "a", "labels": {"zone": "z", "size": "7"}}}),
        )
        .expect("a node");
        let required = |term: Value| json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
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
            (expression("Exists", "zone", json!([])), true),
            (expression("DoesNotExist", "zone", json!([])), false),
            (expression("Gt", "size", json!(["6"])), true),
            (expression("Lt", "size", json!(["6"])), false),
            (required(json!({})), false),
            (
                required(
                    json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}),
                ),
                true,
            ),
            (
                required(
                    json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}),
                ),
                false,
            ),
        ];
        for (spec, expected) in cases {
            let text = spec.to_string();
            assert_eq!(
                is_wanted(&serde_json::from_value(spec).expect("a spec"), &node),
                expected,
                "{text}"
            );
        }
    }
}
