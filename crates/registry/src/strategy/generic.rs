//! The strategy of kinds that have no rules of their own, and semantic equality.

use kinds::{Tree, names};

use super::Strategy;
use crate::tree::{is_empty, take};

/// Structural validation and the rules for metadata only.
struct Generic {
    /// Names need only be parts of a URL path.
    any_name: bool,
    generation: bool,
    create_on_update: bool,
    unconditional: bool,
    returns_object: bool,
}

const PLAIN: Generic = Generic { any_name: false, generation: false, create_on_update: false, unconditional: true, returns_object: false };
static COMMON: Generic = PLAIN;
static COUNTED: Generic = Generic { generation: true, ..PLAIN };
static CONDITIONAL: Generic = Generic { unconditional: false, ..PLAIN };
static COUNTED_CONDITIONAL: Generic = Generic { generation: true, unconditional: false, ..PLAIN };
static RETURNING: Generic = Generic { returns_object: true, unconditional: false, ..PLAIN };
static ROLES: Generic = Generic { any_name: true, create_on_update: true, ..PLAIN };

/// The strategy of a kind that has none of its own.
pub(super) fn of(group: &str, plural: &str) -> &'static dyn Strategy {
    match (group, plural) {
        ("rbac.authorization.k8s.io", _) => &ROLES,
        ("networking.k8s.io", "ingresses")
        | ("flowcontrol.apiserver.k8s.io", _)
        | ("resource.k8s.io", "deviceclasses" | "resourceslices") => &COUNTED,
        ("admissionregistration.k8s.io" | "apiextensions.k8s.io", _) => &COUNTED_CONDITIONAL,
        ("storage.k8s.io", "csidrivers") => &CONDITIONAL,
        ("storage.k8s.io", "csinodes" | "volumeattachments") => &RETURNING,
        _ => &COMMON,
    }
}

impl Strategy for Generic {
    fn name_faults(&self, name: &str) -> Vec<String> {
        if self.any_name { names::path_segment(name) } else { names::dns_subdomain(name) }
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn raises_generation(&self, new: &Tree, old: &Tree) -> bool {
        // Kinds without a specification of that name keep their content at the top.
        let content = |object: &Tree| {
            let mut content = object.clone();
            for part in ["apiVersion", "kind", "metadata", "status"] {
                take(&mut content, &[part]);
            }
            content
        };
        !same(&content(new), &content(old))
    }

    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        self.unconditional
    }

    fn returns_deleted_object(&self) -> bool {
        self.returns_object
    }
}

/// Scalars for which zero and false are what is absent. All others are pointers upstream, so that
/// `false` says something that nothing does not say.
const PLAIN_SCALARS: [&str; 29] = [
    "completedIndexes",
    "containerPort",
    "failureThreshold",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "mountOnly",
    "nodePort",
    "observedGeneration",
    "paused",
    "periodSeconds",
    "port",
    "publishNotReadyAddresses",
    "readOnly",
    "restartCount",
    "stdin",
    "stdinOnce",
    "successThreshold",
    "targetPort",
    "timeoutSeconds",
    "tty",
    "unschedulable",
    "weight",
    "globalDefault",
    "value",
    "count",
];

/// Maps, and structures that are always written: empty is what is absent. Any other empty
/// structure says something: an empty selector matches everything, none matches nothing.
const PLAIN_STRUCTURES: [&str; 34] = [
    "allocatable",
    "annotations",
    "binaryData",
    "capacity",
    "cephfs",
    "daemonEndpoints",
    "data",
    "default",
    "defaultRequest",
    "disruptedPods",
    "hard",
    "kubeletEndpoint",
    "labels",
    "limits",
    "loadBalancer",
    "matchLabels",
    "max",
    "metadata",
    "min",
    "nodeInfo",
    "nodeSelector",
    "options",
    "overhead",
    "parameters",
    "requests",
    "resources",
    "source",
    "spec",
    "status",
    "strategy",
    "stringData",
    "template",
    "updateStrategy",
    "used",
];

/// Semantic equality, as the API compares objects: what is absent equals what a Go struct cannot
/// tell from it.
pub(crate) fn same(one: &Tree, two: &Tree) -> bool {
    match (one, two) {
        (Tree::Object(a), Tree::Object(b)) => {
            a.iter().all(|(name, value)| b.get(name).map_or_else(|| is_absent(name, value), |other| same_member(name, value, other)))
                && b.iter().all(|(name, value)| a.contains_key(name) || is_absent(name, value))
        }
        (Tree::Array(a), Tree::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y)),
        (Tree::Null, other) | (other, Tree::Null) => is_empty(other) && !other.is_object(),
        _ => one == two,
    }
}

fn same_member(name: &str, one: &Tree, two: &Tree) -> bool {
    same(one, two) || (is_absent(name, one) && is_absent(name, two))
}

fn is_absent(name: &str, value: &Tree) -> bool {
    match value {
        Tree::Object(members) => PLAIN_STRUCTURES.contains(&name) && members.iter().all(|(name, value)| is_absent(name, value)),
        Tree::Bool(value) => !value && PLAIN_SCALARS.contains(&name),
        Tree::Number(number) => number.as_i64() == Some(0) && PLAIN_SCALARS.contains(&name),
        other => is_empty(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_go_cannot_tell_apart_is_the_same() {
        let check = |one: Tree, two: Tree, expected: bool| {
            assert_eq!(same(&one, &two), expected, "{one} {two}");
            assert_eq!(same(&two, &one), expected, "{two} {one}");
        };
        check(json!({"a": null, "labels": {}}), json!({}), true);
        check(json!({"hostNetwork": false, "args": []}), json!({}), true);
        check(json!({"automountServiceAccountToken": false}), json!({}), false);
        check(json!({"selector": {}}), json!({}), false);
        check(json!({"selector": {"matchLabels": {}}}), json!({"selector": {}}), true);
        check(json!({"replicas": 0}), json!({}), false);
        check(json!([1, 2]), json!([2, 1]), false);
    }
}
