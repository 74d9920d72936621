//! Nodes and leases as the API takes them.

use clock::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use crate::options::{NodeOptions, Range};

/// The four conditions of a node that is well: type, status, reason, message.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "False",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "False",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
    (
        "Ready",
        "True",
        "KubeletReady",
        "kubelet is posting ready status",
    ),
];

/// A node as it is registered.
pub(super) fn node(
    options: &NodeOptions,
    name: &str,
    range: Range,
    boot_id: &str,
    now: Timestamp,
) -> Value {
    let mut labels = options.labels.clone();
    for (key, value) in [("hostname", name), ("os", "linux"), ("arch", "amd64")] {
        labels.insert(format!("kubernetes.io/{key}"), value.to_owned());
    }
    let resources = json!({
        "cpu": options.cpu,
        "memory": options.memory,
        "pods": options.pods.to_string(),
        "ephemeral-storage": "100Gi",
    });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": range.cidr(), "podCIDRs": [range.cidr()]},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": conditions(now, |_, _| None),
            "addresses": [
                {"type": "InternalIP", "address": range.node().to_string()},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "machineID": boot_id.replace('-', ""),
                "systemUUID": boot_id,
                "bootID": boot_id,
                "kernelVersion": "0.0.0-simulated",
                "osImage": "Exeunt simulated node",
                "containerRuntimeVersion": concat!("simulated://", env!("CARGO_PKG_VERSION")),
                "kubeletVersion": kinds::git_version(),
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    })
}

/// The conditions of a node that is well, as a report: a condition that the API shows otherwise
/// changes now, the others have stood since they did.
pub(super) fn heartbeat(shown: &Node, now: Timestamp) -> Value {
    let shown = shown
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let stands = |kind: &str, status: &str| {
        let condition = shown
            .clone()
            .find(|condition| condition.type_ == kind && condition.status == status);
        condition
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map(|time| time.0)
    };
    conditions(now, stands)
}

fn conditions(now: Timestamp, stands: impl Fn(&str, &str) -> Option<Timestamp>) -> Value {
    let now = whole_seconds(now);
    let one = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": stands(kind, status).unwrap_or(now),
        })
    };
    CONDITIONS.into_iter().map(one).collect()
}

/// What a renewal writes.
pub(super) fn lease_spec(name: &str, seconds: u64, now: Timestamp) -> Value {
    // Times of this type have exactly six digits of a second.
    let renew_time = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    json!({"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": renew_time})
}

/// The lease of a node.
pub(super) fn lease(name: &str, node_uid: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}],
        },
        "spec": spec,
    })
}
