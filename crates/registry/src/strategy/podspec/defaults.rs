//! Defaults of pods and pod templates.
//!
//! Pods get more defaults than templates: requests default to limits in pods only, so that a
//! template reads back as its author wrote it.

use kinds::Tree;
use kinds::tree::{Map, json};

use crate::strategy::claim;
use crate::tree::{at, ensure, fill, flag, int, list_mut, put, text};

/// Applies the defaults of a pod, including those that templates do not get.
pub(crate) fn pod_defaults(object: &mut Tree) {
    let spec = ensure_tree(object, "spec");
    // Limits default the missing requests of pods. Templates stay as written.
    for kind in ["initContainers", "containers"] {
        for container in list_mut(spec, &[kind]) {
            requests_from_limits(container);
        }
    }
    fill(spec, &["enableServiceLinks"], true);
    if flag(spec, &["hostNetwork"]) {
        for kind in ["initContainers", "containers"] {
            for container in list_mut(spec, &[kind]) {
                for port in list_mut(container, &["ports"]) {
                    fill_zero(port, "hostPort", at(port, &["containerPort"]).clone());
                }
            }
        }
    }
    if int(spec, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        put(spec, &["terminationGracePeriodSeconds"], 1);
    }
    pod_spec_defaults(spec);
}

/// Applies the defaults of a pod template.
pub(crate) fn template_defaults(template: &mut Tree) {
    pod_spec_defaults(ensure_tree(template, "spec"));
}

/// Applies the defaults of a pod's spec.
fn pod_spec_defaults(spec: &mut Tree) {
    fill(spec, &["dnsPolicy"], "ClusterFirst");
    fill(spec, &["restartPolicy"], "Always");
    fill(spec, &["terminationGracePeriodSeconds"], 30);
    fill(spec, &["schedulerName"], "default-scheduler");
    ensure(spec, &["securityContext"]);
    // `serviceAccount` is a deprecated alias, which always mirrors `serviceAccountName`.
    let account = match (
        text(spec, &["serviceAccountName"]),
        text(spec, &["serviceAccount"]),
    ) {
        ("", old) => old.to_owned(),
        (new, _) => new.to_owned(),
    };
    if !account.is_empty() {
        put(spec, &["serviceAccountName"], account.clone());
        put(spec, &["serviceAccount"], account);
    }
    for volume in list_mut(spec, &["volumes"]) {
        volume_defaults(volume);
    }
    for kind in super::CONTAINER_LISTS {
        for container in list_mut(spec, &[kind]) {
            container_defaults(container);
        }
    }
}

fn ensure_tree<'a>(object: &'a mut Tree, member: &str) -> &'a mut Tree {
    let spec = ensure(object, &[]).entry(member).or_insert(Tree::Null);
    if !spec.is_object() {
        *spec = Tree::Object(Map::new());
    }
    spec
}

/// Returns one kind of a container's resources (requests or limits), if set.
pub(crate) fn resource_values<'a>(
    container: &'a Tree,
    kind: &str,
    resource: &str,
) -> Option<&'a str> {
    at(container, &["resources", kind, resource]).as_str()
}

fn requests_from_limits(container: &mut Tree) {
    let Some(limits) = at(container, &["resources", "limits"])
        .as_object()
        .filter(|limits| !limits.is_empty())
        .cloned()
    else {
        return;
    };
    let requests = ensure(container, &["resources", "requests"]);
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

fn container_defaults(container: &mut Tree) {
    if text(container, &["imagePullPolicy"]).is_empty() {
        let policy = if is_moving_tag(text(container, &["image"])) {
            "Always"
        } else {
            "IfNotPresent"
        };
        put(container, &["imagePullPolicy"], policy);
    }
    fill(
        container,
        &["terminationMessagePath"],
        "/dev/termination-log",
    );
    fill(container, &["terminationMessagePolicy"], "File");
    ensure(container, &["resources"]);
    for port in list_mut(container, &["ports"]) {
        fill(port, &["protocol"], "TCP");
    }
    for variable in list_mut(container, &["env"]) {
        value_source_defaults(variable, &["valueFrom"]);
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(probe).is_some_and(Tree::is_object) {
            probe_defaults(&mut container[probe]);
        }
    }
    for hook in ["postStart", "preStop"] {
        if at(container, &["lifecycle", hook, "httpGet"]).is_object() {
            http_defaults(&mut container["lifecycle"][hook]["httpGet"]);
        }
    }
}

/// Returns `true` if the image's tag is `latest`, explicitly or by default.
fn is_moving_tag(image: &str) -> bool {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none(),
    }
}

fn value_source_defaults(holder: &mut Tree, path: &[&str]) {
    let field: Vec<&str> = path.iter().copied().chain(["fieldRef"]).collect();
    if at(holder, &field).is_object() {
        let version: Vec<&str> = field.iter().copied().chain(["apiVersion"]).collect();
        fill(holder, &version, "v1");
    }
    let resource: Vec<&str> = path.iter().copied().chain(["resourceFieldRef"]).collect();
    if at(holder, &resource).is_object() {
        let divisor: Vec<&str> = resource.iter().copied().chain(["divisor"]).collect();
        fill(holder, &divisor, "0");
    }
}

fn probe_defaults(probe: &mut Tree) {
    fill_zero(probe, "timeoutSeconds", 1);
    fill_zero(probe, "periodSeconds", 10);
    fill_zero(probe, "successThreshold", 1);
    fill_zero(probe, "failureThreshold", 3);
    if at(probe, &["httpGet"]).is_object() {
        http_defaults(&mut probe["httpGet"]);
    }
    if at(probe, &["grpc"]).is_object() && at(probe, &["grpc", "service"]).is_null() {
        put(probe, &["grpc", "service"], "");
    }
}

fn http_defaults(get: &mut Tree) {
    fill(get, &["path"], "/");
    fill(get, &["scheme"], "HTTP");
}

/// Sets a default if the field is absent or zero.
fn fill_zero(tree: &mut Tree, field: &str, value: impl Into<Tree>) {
    if int(tree, &[field]).unwrap_or_default() == 0 {
        put(tree, &[field], value);
    }
}

/// Default mode of files from secrets and config maps.
const FILE_MODE: i64 = 0o644;

fn volume_defaults(volume: &mut Tree) {
    let has_source = volume.as_object().is_some_and(|members| {
        members
            .iter()
            .any(|(name, value)| name != "name" && value.is_object())
    });
    if !has_source {
        put(volume, &["emptyDir"], json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if at(volume, &[source]).is_object() {
            fill(volume, &[source, "defaultMode"], FILE_MODE);
        }
    }
    for item in list_mut(volume, &["downwardAPI", "items"]) {
        value_source_defaults(item, &[]);
    }
    for source in list_mut(volume, &["projected", "sources"]) {
        if at(source, &["serviceAccountToken"]).is_object() {
            fill(source, &["serviceAccountToken", "expirationSeconds"], 3600);
        }
        for item in list_mut(source, &["downwardAPI", "items"]) {
            value_source_defaults(item, &[]);
        }
    }
    if at(volume, &["hostPath"]).is_object() && at(volume, &["hostPath", "type"]).is_null() {
        put(volume, &["hostPath", "type"], "");
    }
    if at(volume, &["iscsi"]).is_object() {
        fill(volume, &["iscsi", "iscsiInterface"], "default");
    }
    if at(volume, &["rbd"]).is_object() {
        fill(volume, &["rbd", "pool"], "rbd");
        fill(volume, &["rbd", "user"], "admin");
        fill(volume, &["rbd", "keyring"], "/etc/ceph/keyring");
    }
    if at(volume, &["azureDisk"]).is_object() {
        fill(volume, &["azureDisk", "cachingMode"], "ReadWrite");
        fill(volume, &["azureDisk", "kind"], "Shared");
        fill(volume, &["azureDisk", "fsType"], "ext4");
        fill(volume, &["azureDisk", "readOnly"], false);
    }
    if at(volume, &["scaleIO"]).is_object() {
        fill(volume, &["scaleIO", "storageMode"], "ThinProvisioned");
        fill(volume, &["scaleIO", "fsType"], "xfs");
    }
    if at(volume, &["image"]).is_object() && text(volume, &["image", "pullPolicy"]).is_empty() {
        let policy = if is_moving_tag(text(volume, &["image", "reference"])) {
            "Always"
        } else {
            "IfNotPresent"
        };
        put(volume, &["image", "pullPolicy"], policy);
    }
    if at(volume, &["ephemeral", "volumeClaimTemplate"]).is_object() {
        claim::spec_defaults(&mut volume["ephemeral"]["volumeClaimTemplate"]);
    }
}
