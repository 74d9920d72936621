//! Pods that serve the volumes of a CSI driver, as far as the API shows it: by the driver's folder
//! under the kubelet's, by the sidecars of CSI, and by the labels of well-known back ends.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::cluster::Snapshot;
use crate::explain::volumes_of;

/// Sidecars that attach and detach volumes on behalf of a driver's controller.
const SIDECARS: &[&str] = &["csi-attacher", "csi-provisioner"];

/// Storage whose data comes from ordinary pods: a label of these, and the end of the driver's name.
const BACK_ENDS: &[(&str, &str, &str)] = &[
    (
        "longhorn.io/component",
        "instance-manager",
        "driver.longhorn.io",
    ),
    ("app", "rook-ceph-osd", ".rbd.csi.ceph.com"),
    ("name", "portworx", "pxd.portworx.com"),
];

/// A driver that a pod serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// Its name, or the end of it.
    pub(super) driver: String,
    /// It serves the pods of its own node only, so that siblings elsewhere are no help.
    pub(super) here_only: bool,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Plugin,
    Controller,
    BackEnd,
}

impl Served {
    fn new(driver: impl Into<String>, part: Part) -> Self {
        Self {
            driver: driver.into(),
            here_only: part != Part::Controller,
            part,
        }
    }

    /// What it does for the pods with the volumes.
    pub(super) fn what(&self) -> String {
        let driver = self.driver.trim_start_matches('.');
        match self.part {
            Part::Plugin => format!("mounts and unmounts volumes of driver {driver} on this node"),
            Part::Controller => {
                format!("attaches and detaches volumes of driver {driver}, and nobody else does")
            }
            Part::BackEnd => format!("holds the data of volumes of driver {driver}"),
        }
    }
}

/// The drivers that this pod serves.
pub(super) fn served_by(snapshot: &Snapshot, pod: &Pod) -> Vec<Served> {
    let labels = pod.metadata.labels.as_ref();
    let back_ends = BACK_ENDS.iter().filter(|(key, value, _)| {
        labels
            .and_then(|labels| labels.get(*key))
            .is_some_and(|has| has == value)
    });
    let mut served: Vec<Served> = back_ends
        .map(|(_, _, driver)| Served::new(*driver, Part::BackEnd))
        .collect();
    served.extend(plugged_in(pod).map(|driver| Served::new(driver, Part::Plugin)));
    if containers(pod).any(|container| SIDECARS.contains(&image_name(container))) {
        served.extend(
            controlled(snapshot, pod)
                .into_iter()
                .map(|driver| Served::new(driver, Part::Controller)),
        );
    }
    served
}

/// Whether the pod has a volume of this driver.
pub(super) fn uses(snapshot: &Snapshot, pod: &Pod, driver: &str) -> bool {
    let named = |name: &str| {
        if driver.starts_with('.') {
            name.ends_with(driver)
        } else {
            name == driver
        }
    };
    volumes_of(snapshot, pod).into_iter().any(|(_, volume)| {
        let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
        csi.is_some_and(|csi| named(&csi.driver))
    })
}

/// The drivers whose folder (`…/plugins/NAME/…`) the pod mounts from its node.
fn plugged_in(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let path = volume.host_path.as_ref()?.path.as_str();
        let (_, rest) = path.split_once("/plugins/")?;
        // The kubelet's own folder, and names of drivers are DNS names.
        rest.split('/')
            .next()
            .filter(|name| *name != "kubernetes.io" && name.contains('.'))
    })
}

/// The drivers of a controller: those that its arguments name, or whose plugin runs one of its
/// images.
fn controlled(snapshot: &Snapshot, pod: &Pod) -> Vec<String> {
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

/// The last part of an image's name, without tag and digest.
fn image_name(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::empty(jiff::Timestamp::UNIX_EPOCH);
        let volume = json!({"metadata": {"name": "v"}, "spec": {"csi": {"driver": "disk.example.com", "volumeHandle": "h"}}});
        snapshot
            .volumes
            .push(serde_json::from_value(volume).expect("a volume"));
        snapshot.pods.push(pod(
            json!({"containers": [{"name": "driver", "image": "example.com/disk:v1"}],
            "volumes": [{"name": "p", "hostPath": {"path": "/var/lib/kubelet/plugins/disk.example.com/"}}]}),
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
            .map(|served| (served.driver.as_str(), served.here_only))
            .collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{spec}");
    }

    #[test]
    fn drivers_are_told_from_folders_sidecars_and_labels() {
        let sidecar =
            json!({"name": "a", "image": "registry.k8s.io/sig-storage/csi-attacher:v4.8.0"});
        let with = |container: Value| json!({"containers": [sidecar, container]});
        let folder = |path: &str| json!({"containers": [], "volumes": [{"name": "p", "hostPath": {"path": path}}]});
        check(
            folder("/var/lib/kubelet/plugins/disk.example.com/csi.sock"),
            json!({}),
            Some(("disk.example.com", true)),
        );
        check(
            folder("/var/lib/kubelet/plugins/kubernetes.io/csi"),
            json!({}),
            None,
        );
        check(folder("/var/lib/kubelet/plugins_registry"), json!({}), None);
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
