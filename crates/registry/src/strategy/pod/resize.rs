//! The `resize` subresource: an update of CPU and memory in place, while the pod runs.
//!
//! Changes of other fields are discarded. Resources cannot be removed once set, and the QoS class
//! never changes.

use kinds::{Tree, status::FieldError};

use super::{MIRROR, podspec};
use crate::strategy::checks::Faults;
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::strategy::same;
use crate::tree::{at, carry, entries, is_empty, list, list_mut, put, take, text};

const SPEC: Path<'static> = Path::root("spec");
const CONTAINER: &str = "io.k8s.api.core.v1.Container";
const REQUIREMENTS: &str = "io.k8s.api.core.v1.ResourceRequirements";
const LISTS: [&str; 2] = ["initContainers", "containers"];
/// Resources that may be resized.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
const ONLY_THESE: &str = "only cpu and memory resources are mutable";

/// Discards all changes except resources and resize policies. Added, removed, renamed or reordered
/// containers are kept as sent, so that validation rejects them instead of ignoring them silently.
pub(super) fn prepare(new: &mut Tree, old: &Tree) {
    if LISTS
        .iter()
        .any(|kind| list(new, &["spec", kind]).len() != list(old, &["spec", kind]).len())
    {
        return;
    }
    let mut next = old.clone();
    for field in ["resourceVersion", "managedFields"] {
        if !at(new, &["metadata", field]).is_null() {
            carry(new, &mut next, &["metadata", field]);
        }
    }
    carry(new, &mut next, &["spec", "resources"]);
    for kind in LISTS {
        let wanted = list(new, &["spec", kind]);
        if names(new, kind) != names(old, kind) {
            carry(new, &mut next, &["spec", kind]);
            continue;
        }
        for (container, wanted) in list_mut(&mut next, &["spec", kind]).iter_mut().zip(wanted) {
            for field in ["resources", "resizePolicy"] {
                carry(wanted, container, &[field]);
            }
        }
    }
    *new = next;
}

fn names<'a>(pod: &'a Tree, kind: &str) -> Vec<&'a str> {
    list(pod, &["spec", kind])
        .iter()
        .map(|container| text(container, &["name"]))
        .collect()
}

/// Validates a resize.
pub(super) fn faults(new: &Tree, old: &Tree, out: &mut Faults) {
    let whole = if !at(old, &["metadata", "annotations", MIRROR]).is_null() {
        Some("static pods cannot be resized")
    } else {
        (text(old, &["spec", "os", "name"]) == "windows")
            .then_some("windows pods cannot be resized")
    };
    if let Some(detail) = whole {
        *out = FieldError::forbidden("", detail).into();
        return;
    }
    class(new, old, out);
    if !is_supported(old) {
        out.push(FieldError::forbidden(
            SPEC,
            "Pod running on node without support for resize",
        ));
    }
    pod_level(new, old, out);
    let before = out.len();
    LISTS
        .iter()
        .rev()
        .for_each(|kind| order(new, old, kind, out));
    if out.len() > before {
        return;
    }
    for kind in LISTS {
        for (index, (now, was)) in pairs(new, old, kind).enumerate() {
            let path = SPEC.child(kind);
            removed(
                now,
                was,
                &path.index(index).child("resources"),
                "resource",
                out,
            );
        }
    }
    for (now, was) in pairs(new, old, "containers") {
        if !same(CONTAINER, &[], &with_amounts_undone(now, was), was) {
            out.push(FieldError::forbidden(SPEC, ONLY_THESE));
        }
    }
    for (index, (now, was)) in pairs(new, old, "initContainers").enumerate() {
        init_container(now, was, &SPEC.child("initContainers").index(index), out);
    }
}

fn pairs<'a>(
    new: &'a Tree,
    old: &'a Tree,
    kind: &str,
) -> impl Iterator<Item = (&'a Tree, &'a Tree)> {
    list(new, &["spec", kind])
        .iter()
        .zip(list(old, &["spec", kind]))
}

/// Validates that the QoS class does not change, because it determines the eviction order.
fn class(new: &Tree, old: &Tree, out: &mut Faults) {
    let promised = text(old, &["status", "qosClass"]);
    let promised = if promised.is_empty() {
        podspec::qos_class(at(old, &["spec"]))
    } else {
        promised
    };
    if promised != podspec::qos_class(at(new, &["spec"])) {
        let shown = text(new, &["status", "qosClass"]);
        out.push(invalid_text(
            SPEC,
            shown,
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
}

/// Returns `true` if the node supports resizing. A kubelet that does reports resources in the
/// status of running containers, but not of those without requests, so one report suffices.
fn is_supported(pod: &Tree) -> bool {
    let statuses = list(pod, &["status", "containerStatuses"]);
    let mut running = statuses
        .iter()
        .filter(|status| !at(status, &["state", "running"]).is_null())
        .peekable();
    running.peek().is_none() || running.any(|status| !at(status, &["resources"]).is_null())
}

/// Validates a change of pod-level resources.
fn pod_level(new: &Tree, old: &Tree, out: &mut Faults) {
    let path = SPEC.child("resources");
    let (now, was) = (
        at(new, &["spec", "resources"]),
        at(old, &["spec", "resources"]),
    );
    let is_set = |resources: &Tree| {
        ["requests", "limits"]
            .iter()
            .any(|part| !is_empty(at(resources, &[part])))
    };
    if !is_set(now) && !is_set(was) {
        return;
    }
    if now.is_null() {
        out.push(FieldError::forbidden(
            path,
            "pod-level resources cannot be removed",
        ));
        return;
    }
    removed(
        at(new, &["spec"]),
        at(old, &["spec"]),
        &path,
        "pod-level resource",
        out,
    );
    let (undone, was) = (
        with_amounts_undone(at(new, &["spec"]), at(old, &["spec"])),
        was,
    );
    if !same(REQUIREMENTS, &[], at(&undone, &["resources"]), was) {
        out.push(FieldError::forbidden(
            SPEC,
            format!("{ONLY_THESE} at pod-level"),
        ));
    }
}

/// Validates that containers keep their number and order.
fn order(new: &Tree, old: &Tree, kind: &str, out: &mut Faults) {
    let path = SPEC.child(kind);
    let (now, was) = (names(new, kind), names(old, kind));
    if now.len() != was.len() {
        out.push(FieldError::forbidden(
            path,
            format!("{kind} may not be added or removed on resize"),
        ));
        return;
    }
    for index in (0..now.len()).filter(|&index| now[index] != was[index]) {
        let detail = format!("{kind} may not be renamed or reordered on resize");
        out.push(FieldError::forbidden(
            path.index(index).child("name"),
            detail,
        ));
    }
}

/// Validates that no request or limit is removed.
fn removed(now: &Tree, was: &Tree, path: &Path<'_>, what: &str, out: &mut Faults) {
    for part in ["requests", "limits"] {
        let now = at(now, &["resources", part]);
        if entries(was, &["resources", part])
            .into_iter()
            .any(|(name, _)| now.get(name).is_none())
        {
            out.push(FieldError::forbidden(
                path.child(part),
                format!("{what} {part} cannot be removed"),
            ));
        }
    }
}

fn init_container(now: &Tree, was: &Tree, path: &Path<'_>, out: &mut Faults) {
    if !same(CONTAINER, &[], &with_amounts_undone(now, was), was) {
        out.push(FieldError::forbidden(
            path,
            "only cpu and memory resources for init or sidecar containers are mutable",
        ));
    }
    let is_sidecar = text(now, &["restartPolicy"]) == "Always";
    let restarts = list(now, &["resizePolicy"])
        .iter()
        .any(|policy| text(policy, &["restartPolicy"]) == "RestartContainer");
    if !is_sidecar && restarts && !same(CONTAINER, &[], now, was) {
        let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        out.push(FieldError::forbidden(path, detail));
    }
}

/// Returns `now` with its resizable requests and limits reset to their old values.
fn with_amounts_undone(now: &Tree, was: &Tree) -> Tree {
    let mut undone = now.clone();
    for part in ["requests", "limits"] {
        for name in RESIZABLE {
            carry(was, &mut undone, &["resources", part, name]);
        }
        if is_empty(at(&undone, &["resources", part])) {
            take(&mut undone, &["resources", part]);
        }
    }
    if at(&undone, &["resources"]).is_null() && !at(was, &["resources"]).is_null() {
        put(
            &mut undone,
            &["resources"],
            Tree::Object(kinds::tree::Map::new()),
        );
    }
    undone
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn a_kubelet_that_reports_container_resources_supports_resize() {
        let pod = |statuses: Vec<Tree>| {
            let mut pod = json!({"status": {}});
            pod["status"]["containerStatuses"] = Tree::from(statuses);
            pod
        };
        let running = json!({"state": {"running": {}}});
        let with_resources =
            json!({"state": {"running": {}}, "resources": {"requests": {"cpu": "1"}}});
        assert!(is_supported(&pod(vec![running.clone(), with_resources])));
        assert!(!is_supported(&pod(vec![running])));
        assert!(
            is_supported(&pod(vec![json!({"state": {"waiting": {}}})])),
            "nothing runs yet"
        );
    }
}
