//! Whether a node fits a pod. The order of the checks and the messages are those of the scheduler's
//! filters.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use crate::nodes;
use crate::resources::Amounts;

/// Why a node does not fit a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// The scheduler's messages, one for each reason.
    pub reasons: Vec<String>,
    /// True if the pod would fit after other pods left the node. Upstream distinguishes the codes
    /// `Unschedulable` and `UnschedulableAndUnresolvable` so.
    pub resolvable: bool,
}

impl Unschedulable {
    pub(crate) fn unresolvable(reason: &str) -> Self {
        Self {
            reasons: vec![reason.to_owned()],
            resolvable: false,
        }
    }

    pub(crate) fn resolvable(reason: &str) -> Self {
        Self {
            reasons: vec![reason.to_owned()],
            resolvable: true,
        }
    }
}

/// The taint that a cordon stands for.
#[must_use]
pub fn cordon_taint() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    }
}

/// Checks what depends on the node alone: cordon, taints, node selector and node affinity.
///
/// # Errors
/// The first check that fails.
pub fn admits(node: &Node, pod: &Pod) -> Result<(), Unschedulable> {
    let nothing = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&nothing);
    if nodes::is_cordoned(node) && !nodes::tolerates(spec.tolerations.as_ref(), &cordon_taint()) {
        return Err(Unschedulable::unresolvable("node(s) were unschedulable"));
    }
    let forbids = |effect: &str| matches!(effect, "NoSchedule" | "NoExecute");
    if nodes::taints(node)
        .any(|taint| forbids(&taint.effect) && !nodes::tolerates(spec.tolerations.as_ref(), taint))
    {
        return Err(Unschedulable::unresolvable(
            "node(s) had untolerated taint(s)",
        ));
    }
    if !nodes::matches_affinity(spec, node) {
        return Err(Unschedulable::unresolvable(
            "node(s) didn't match Pod's node affinity/selector",
        ));
    }
    Ok(())
}

/// Returns the host ports of a pod: protocol and number.
pub fn host_ports(pod: &Pod) -> impl Iterator<Item = (&str, i32)> {
    pod.spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number != 0)?;
            Some((port.protocol.as_deref().unwrap_or("TCP"), number))
        })
}

/// Checks that the pod's host ports are free beside the pods `others`.
///
/// # Errors
/// If one of them is taken.
pub fn has_ports<'a>(
    others: impl Iterator<Item = &'a Pod>,
    pod: &Pod,
) -> Result<(), Unschedulable> {
    let wanted: BTreeSet<_> = host_ports(pod).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut taken = others.flat_map(host_ports);
    if taken.any(|port| wanted.contains(&port)) {
        return Err(Unschedulable::resolvable(
            "node(s) didn't have free ports for the requested pod ports",
        ));
    }
    Ok(())
}

/// Checks that a node fits one more pod with these `requests`. The node has the resources `has`, of
/// which its `pods` pods use `used`.
///
/// # Errors
/// All resources of which there is too little.
pub fn has_room(
    has: &Amounts,
    used: &Amounts,
    pods: usize,
    requests: &Amounts,
) -> Result<(), Unschedulable> {
    let mut reasons = Vec::new();
    let mut resolvable = true;
    if i64::try_from(pods + 1).unwrap_or(i64::MAX) > has.get("pods") {
        reasons.push("Too many pods".to_owned());
    }
    for (name, amount) in requests.asked() {
        if amount > has.get(name) - used.get(name) {
            reasons.push(format!("Insufficient {name}"));
            resolvable &= amount <= has.get(name);
        }
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(Unschedulable {
            reasons,
            resolvable,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::{allocatable, requests};

    fn node(json: Value) -> Node {
        serde_json::from_value(json).expect("a node")
    }

    fn pod(json: Value) -> Pod {
        serde_json::from_value(json).expect("a pod")
    }

    fn check(result: Result<(), Unschedulable>, expected: Result<(), (&[&str], bool)>) {
        let expected = expected.map_err(|(reasons, resolvable)| Unschedulable {
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            resolvable,
        });
        assert_eq!(result, expected);
    }

    #[test]
    fn a_node_admits_pods_that_tolerate_it_and_select_it() {
        let cordoned = node(json!({"spec": {"unschedulable": true}}));
        let tainted =
            |effect: &str| node(json!({"spec": {"taints": [{"key": "k", "effect": effect}]}}));
        let plain = pod(json!({"spec": {"containers": []}}));
        let tolerant =
            pod(json!({"spec": {"containers": [], "tolerations": [{"operator": "Exists"}]}}));
        let choosy = pod(json!({"spec": {"containers": [], "nodeSelector": {"a": "b"}}}));
        check(
            admits(&cordoned, &plain),
            Err((&["node(s) were unschedulable"], false)),
        );
        check(admits(&cordoned, &tolerant), Ok(()));
        let tolerates = |key: &str| {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
            pod(json!({"spec": {"containers": [], "tolerations": [toleration]}}))
        };
        let unschedulable = tolerates("node.kubernetes.io/unschedulable");
        check(admits(&cordoned, &unschedulable), Ok(()));
        check(
            admits(&cordoned, &tolerates("k")),
            Err((&["node(s) were unschedulable"], false)),
        );
        for effect in ["NoSchedule", "NoExecute"] {
            check(
                admits(&tainted(effect), &plain),
                Err((&["node(s) had untolerated taint(s)"], false)),
            );
            check(admits(&tainted(effect), &tolerant), Ok(()));
        }
        check(admits(&tainted("PreferNoSchedule"), &plain), Ok(()));
        check(
            admits(&Node::default(), &choosy),
            Err((
                &["node(s) didn't match Pod's node affinity/selector"],
                false,
            )),
        );
        check(admits(&Node::default(), &Pod::default()), Ok(()));
    }

    #[test]
    fn host_ports_are_taken_by_protocol_and_number() {
        let with =
            |port: Value| pod(json!({"spec": {"containers": [{"name": "c", "ports": [port]}]}}));
        let tcp = with(json!({"containerPort": 1, "hostPort": 80}));
        let udp = with(json!({"containerPort": 1, "hostPort": 80, "protocol": "UDP"}));
        let none = with(json!({"containerPort": 80, "hostPort": 0}));
        let taken: (&[&str], bool) = (
            &["node(s) didn't have free ports for the requested pod ports"],
            true,
        );
        check(has_ports([&tcp, &udp].into_iter(), &tcp), Err(taken));
        check(has_ports([&udp, &none].into_iter(), &tcp), Ok(()));
        check(has_ports([&none].into_iter(), &none), Ok(()));
        assert_eq!(host_ports(&udp).collect::<Vec<_>>(), [("UDP", 80)]);
    }

    #[test]
    fn a_node_has_room_for_what_is_left() {
        let has = allocatable(&node(
            json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}}}),
        ));
        let asks = |cpu: &str, memory: &str| {
            requests(&pod(json!({"spec": {"containers": [
                {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}})))
        };
        let used = asks("1500m", "0");
        check(has_room(&has, &used, 2, &asks("500m", "1Gi")), Ok(()));
        check(
            has_room(&has, &used, 3, &asks("0", "0")),
            Err((&["Too many pods"], true)),
        );
        check(
            has_room(&has, &used, 2, &asks("501m", "0")),
            Err((&["Insufficient cpu"], true)),
        );
        check(
            has_room(&has, &asks("0", "0"), 2, &asks("2", "1Gi")),
            Ok(()),
        );
        // No eviction makes the node larger.
        check(
            has_room(&has, &used, 3, &asks("501m", "2Gi")),
            Err((
                &["Too many pods", "Insufficient cpu", "Insufficient memory"],
                false,
            )),
        );
    }
}
