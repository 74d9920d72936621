//! Whether a node can take a pod, in the order and the words of upstream's filters.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use crate::nodes;
use crate::resources::Amounts;

/// Why a node will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// Upstream's words, one for each thing that is missing.
    pub reasons: Vec<String>,
    /// Other pods are in the way, and would not be if they left.
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

/// The taint that stands for a cordon.
#[must_use]
pub fn cordon_taint() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    }
}

/// What depends on the node alone: cordon, taints, labels.
///
/// # Errors
/// The first demand that the node does not meet.
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
    if !nodes::is_wanted(spec, node) {
        return Err(Unschedulable::unresolvable(
            "node(s) didn't match Pod's node affinity/selector",
        ));
    }
    Ok(())
}

/// The ports on the host that a pod wants: protocol and number.
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

/// Whether the ports on the host that the pod wants are free where these others are.
///
/// # Errors
/// When one of them is taken.
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

/// Whether what is left of `has` (with `pods` pods that use `used`) is enough for `requests`.
///
/// # Errors
/// Everything of which there is too little.
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
