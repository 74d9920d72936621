//! Detects pods that serve the volumes of a CSI driver, as far as the API shows it: by the driver's
//! directory below the kubelet's, by CSI sidecars, and by the labels of well-known storage systems.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::cluster::ClusterSnapshot;
use crate::pods;

/// Image names of the sidecars that attach and detach volumes for a driver's controller.
const SIDECARS: &[&str] = &["csi-attacher", "csi-provisioner"];

/// Storage systems whose data is served by ordinary pods: label key, label value, and the driver's
/// name or its suffix.
const BACK_ENDS: &[(&str, &str, &str)] = &[
    (
        "longhorn.io/component",
        "instance-manager",
        "driver.longhorn.io",
    ),
    ("app", "rook-ceph-osd", ".rbd.csi.ceph.com"),
    ("name", "portworx", "pxd.portworx.com"),
];

/// A CSI driver that a pod serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServedDriver {
    /// The name of the driver, or its suffix when it begins with a dot.
    pub(super) driver: String,
    /// True when the pod serves only the pods of its own node, so that siblings on other nodes
    /// cannot replace it.
    pub(super) serves_own_node_only: bool,
    role: DriverRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverRole {
    /// Mounts and unmounts volumes on its node.
    NodePlugin,
    /// Attaches and detaches volumes in the whole cluster.
    Controller,
    /// Serves the data of volumes.
    BackEnd,
}

impl ServedDriver {
    fn new(driver: impl Into<String>, role: DriverRole) -> Self {
        Self {
            driver: driver.into(),
            serves_own_node_only: role != DriverRole::Controller,
            role,
        }
    }

    /// Returns what the pod does for the users of the volumes, as the end of "it …".
    pub(super) fn what(&self) -> String {
        let driver = self.driver.trim_start_matches('.');
        match self.role {
            DriverRole::NodePlugin => {
                format!("mounts and unmounts volumes of driver {driver} on this node")
            }
            DriverRole::Controller => {
                format!("is the only pod that attaches and detaches volumes of driver {driver}")
            }
            DriverRole::BackEnd => format!("serves the data of volumes of driver {driver}"),
        }
    }
}

/// Returns the drivers that this pod serves.
pub(super) fn served_by(snapshot: &ClusterSnapshot, pod: &Pod) -> Vec<ServedDriver> {
    let labels = pod.metadata.labels.as_ref();
    let back_ends = BACK_ENDS.iter().filter(|(key, value, _)| {
        labels
            .and_then(|labels| labels.get(*key))
            .is_some_and(|has| has == value)
    });
    let mut served: Vec<ServedDriver> = back_ends
        .map(|(_, _, driver)| ServedDriver::new(*driver, DriverRole::BackEnd))
        .collect();
    served.extend(plugged_in(pod).map(|driver| ServedDriver::new(driver, DriverRole::NodePlugin)));
    if containers(pod).any(|container| SIDECARS.contains(&image_name(container))) {
        served.extend(
            controlled(snapshot, pod)
                .into_iter()
                .map(|driver| ServedDriver::new(driver, DriverRole::Controller)),
        );
    }
    served
}

/// Returns true when the pod uses a volume of this driver.
pub(super) fn uses(snapshot: &ClusterSnapshot, pod: &Pod, driver: &str) -> bool {
    let named = |name: &str| {
        if driver.starts_with('.') {
            name.ends_with(driver)
        } else {
            name == driver
        }
    };
    snapshot.volumes_of(pod).into_iter().any(|(_, volume)| {
        let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
        csi.is_some_and(|csi| named(&csi.driver))
    })
}

/// Iterates over the drivers whose directory (`…/plugins/NAME/…`) the pod mounts from its node.
fn plugged_in(pod: &Pod) -> impl Iterator<Item = &str> {
    pods::volumes(pod).filter_map(|volume| {
        let path = volume.host_path.as_ref()?.path.as_str();
        let (_, rest) = path.split_once("/plugins/")?;
        // plugins/kubernetes.io belongs to the kubelet, and driver names are DNS names.
        rest.split('/')
            .next()
            .filter(|name| *name != "kubernetes.io" && name.contains('.'))
    })
}

/// Returns the drivers of a CSI controller: those that its arguments name, or whose node plugin
/// runs one of its images.
fn controlled(snapshot: &ClusterSnapshot, pod: &Pod) -> Vec<String> {
    let known = snapshot
        .volumes
        .iter()
        .filter_map(|volume| Some(volume.spec.as_ref()?.csi.as_ref()?.driver.as_str()));
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    let own = |container: &&Container| !SIDECARS.contains(&image_name(container));
    let images: Vec<&str> = containers(pod)
        .filter(own)
        .filter_map(|container| container.image.as_deref())
        .collect();
    let says = |driver: &str| {
        containers(pod).any(|container| {
            container
                .args
                .iter()
                .flatten()
                .any(|argument| argument.contains(driver))
        })
    };
    let shares = |driver: &str| {
        let plugins = snapshot
            .pods
            .iter()
            .filter(|other| plugged_in(other).any(|name| name == driver));
        plugins
            .flat_map(containers)
            .filter_map(|container| container.image.as_deref())
            .any(|image| images.contains(&image))
    };
    known
        .into_iter()
        .filter(|driver| says(driver) || shares(driver))
        .map(str::to_owned)
        .collect()
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| &spec.containers)
}

fn image_name(container: &Container) -> &str {
    pods::image_name(container.image.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot() -> ClusterSnapshot {
        let mut snapshot = ClusterSnapshot::empty(jiff::Timestamp::UNIX_EPOCH);
        let volume = json!({"metadata": {"name": "v"},
            "spec": {"csi": {"driver": "disk.example.com", "volumeHandle": "h"}}});
        snapshot
            .volumes
            .push(serde_json::from_value(volume).expect("a volume"));
        snapshot.pods.push(pod(
            json!({"containers": [{"name": "driver", "image": "example.com/disk:v1"}],
            "volumes": [{"name": "p",
                "hostPath": {"path": "/var/lib/kubelet/plugins/disk.example.com/"}}]}),
            json!({}),
        ));
        snapshot
    }

    fn pod(spec: Value, labels: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "labels": labels}, "spec": spec}))
            .expect("a pod")
    }

    fn check(spec: Value, labels: Value, expected: Option<(&str, bool)>) {
        let served = served_by(&snapshot(), &pod(spec.clone(), labels));
        let found: Vec<(&str, bool)> = served
            .iter()
            .map(|served| (served.driver.as_str(), served.serves_own_node_only))
            .collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{spec}");
    }

    #[test]
    fn drivers_are_detected_by_directories_sidecars_and_labels() {
        let sidecar =
            json!({"name": "a", "image": "registry.k8s.io/sig-storage/csi-attacher:v4.8.0"});
        let with = |container: Value| json!({"containers": [sidecar, container]});
        let directory = |path: &str| {
            json!({"containers": [],
            "volumes": [{"name": "p", "hostPath": {"path": path}}]})
        };
        check(
            directory("/var/lib/kubelet/plugins/disk.example.com/csi.sock"),
            json!({}),
            Some(("disk.example.com", true)),
        );
        check(
            directory("/var/lib/kubelet/plugins/kubernetes.io/csi"),
            json!({}),
            None,
        );
        check(
            directory("/var/lib/kubelet/plugins_registry"),
            json!({}),
            None,
        );
        check(
            with(json!({"name": "d", "image": "example.com/disk:v1"})),
            json!({}),
            Some(("disk.example.com", false)),
        );
        check(
            with(json!({"name": "d", "args": ["--driver=disk.example.com"]})),
            json!({}),
            Some(("disk.example.com", false)),
        );
        check(
            with(json!({"name": "d", "image": "other"})),
            json!({}),
            None,
        );
        check(
            json!({"containers": [{"name": "d", "image": "example.com/disk:v1"}]}),
            json!({}),
            None,
        );
        check(
            json!({"containers": []}),
            json!({"longhorn.io/component": "instance-manager"}),
            Some(("driver.longhorn.io", true)),
        );
    }
}
