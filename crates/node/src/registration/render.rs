//! Nodes and leases as API objects.

use clock::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use crate::addresses::NodeSubnet;
use crate::options::NodeOptions;

/// The conditions of a healthy node: type, status, reason, message.
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

/// Returns the node to register.
pub(super) fn node(
    options: &NodeOptions,
    name: &str,
    subnet: NodeSubnet,
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
        "spec": {"podCIDR": subnet.cidr(), "podCIDRs": [subnet.cidr()]},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": conditions(now, |_, _| None),
            "addresses": [
                {"type": "InternalIP", "address": subnet.node_ip().to_string()},
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

/// Returns the conditions of a healthy node for a status report. A condition that is published with
/// another status has its transition now; the others keep the time of theirs.
pub(super) fn current_conditions(published: &Node, now: Timestamp) -> Value {
    let published = published
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let unchanged_since = |kind: &str, status: &str| {
        let condition = published
            .clone()
            .find(|condition| condition.type_ == kind && condition.status == status);
        condition
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map(|time| time.0)
    };
    conditions(now, unchanged_since)
}

fn conditions(now: Timestamp, unchanged_since: impl Fn(&str, &str) -> Option<Timestamp>) -> Value {
    let now = whole_seconds(now);
    let one = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": unchanged_since(kind, status).unwrap_or(now),
        })
    };
    CONDITIONS.into_iter().map(one).collect()
}

/// Returns the specification of a lease that is renewed at `now`.
pub(super) fn lease_spec(name: &str, seconds: u64, now: Timestamp) -> Value {
    // A `metav1.MicroTime` has exactly six fractional digits.
    let renew_time = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    json!({"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": renew_time})
}

/// Returns the lease of a node.
pub(super) fn lease(name: &str, node_uid: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid},
            ],
        },
        "spec": spec,
    })
}
