//! The rules of changes to a pod: images, tolerations that are added, a deadline that comes
//! nearer, scheduling gates that fall. All else is refused.

use kinds::{Tree, names, status::FieldError};

use crate::strategy::checks::Faults;
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::strategy::{podspec, same};
use crate::tree::{at, carry, int, list, put, take, text};

const SPEC: Path<'static> = Path::root("spec");
const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";

const ONLY_THESE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const ONLY_RESOURCES: &str = "only cpu and memory resources are mutable";

/// Faults of a change through the main resource.
pub(super) fn spec(new: &Tree, old: &Tree, out: &mut Faults) {
    let (spec, was) = (at(new, &["spec"]), at(old, &["spec"]));
    for kind in ["containers", "initContainers"] {
        let (now, before) = (list(spec, &[kind]), list(was, &[kind]));
        let path = SPEC.child(kind);
        if now.len() != before.len() {
            out.push(FieldError::forbidden(path, "pod updates may not add or remove containers"));
            return;
        }
        for (index, container) in now.iter().enumerate() {
            let image = text(container, &["image"]);
            if image.trim() != image {
                let fault = "must not have leading or trailing whitespace";
                out.push(invalid_text(path.index(index).child("image"), image, fault));
            }
        }
    }
    if !deadline(spec, was, out) {
        return;
    }
    only_added_tolerations(spec, was, out);
    only_removed_gates(spec, was, out);
    if same(POD_SPEC, &[], spec, was) {
        return;
    }
    let allowed = with_allowed_changes_undone(spec, was);
    if !same(POD_SPEC, &[], &allowed, was) {
        out.push(FieldError::forbidden(SPEC, format!("{ONLY_THESE}\n{}", difference(was, &allowed))));
    }
}

/// The deadline may be set, and then only come nearer. False ends the judgement.
fn deadline(spec: &Tree, was: &Tree, out: &mut Faults) -> bool {
    let path = SPEC.child("activeDeadlineSeconds");
    match (int(spec, &["activeDeadlineSeconds"]), int(was, &["activeDeadlineSeconds"])) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            out.push(FieldError::invalid(path, &Tree::from(now), "must be between 0 and 2147483647, inclusive"));
            return false;
        }
        (Some(now), Some(before)) if before < now => {
            out.push(FieldError::invalid(path, &Tree::from(now), "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => out.push(FieldError::invalid(path, &Tree::Null, "must not update from a positive integer to nil value")),
        _ => {}
    }
    true
}

fn only_added_tolerations(spec: &Tree, was: &Tree, out: &mut Faults) {
    let without_seconds = |toleration: &Tree| {
        let mut bare = toleration.clone();
        take(&mut bare, &["tolerationSeconds"]);
        bare
    };
    let now: Vec<Tree> = list(spec, &["tolerations"]).iter().map(without_seconds).collect();
    let path = SPEC.child("tolerations");
    let kept =
        |before: &Tree| now.iter().any(|toleration| same("io.k8s.api.core.v1.Toleration", &[], toleration, &without_seconds(before)));
    if !list(was, &["tolerations"]).iter().all(kept) {
        out.push(FieldError::forbidden(path, "existing toleration can not be modified except its tolerationSeconds"));
    }
    podspec::toleration_faults(list(spec, &["tolerations"]), &path, out);
}

fn only_removed_gates(spec: &Tree, was: &Tree, out: &mut Faults) {
    let before: Vec<&str> = list(was, &["schedulingGates"]).iter().map(|gate| text(gate, &["name"])).collect();
    let path = SPEC.child("schedulingGates");
    for (index, gate) in list(spec, &["schedulingGates"]).iter().enumerate() {
        let name = text(gate, &["name"]);
        if !before.contains(&name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            out.push(FieldError::forbidden(path.index(index).child("name"), detail));
        }
    }
}

/// The new specification with everything put back that may change.
fn with_allowed_changes_undone(spec: &Tree, was: &Tree) -> Tree {
    let mut undone = spec.clone();
    for kind in ["containers", "initContainers"] {
        for (container, before) in crate::tree::list_mut(&mut undone, &[kind]).iter_mut().zip(list(was, &[kind])) {
            carry(before, container, &["image"]);
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        carry(was, &mut undone, &[field]);
    }
    if int(was, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0)
        && int(spec, &["terminationGracePeriodSeconds"]) == Some(1)
    {
        carry(was, &mut undone, &["terminationGracePeriodSeconds"]);
    }
    // A gated pod was not looked at by a scheduler, which may therefore still be told more.
    if !list(was, &["schedulingGates"]).is_empty() && narrows_node_selector(spec, was) {
        carry(was, &mut undone, &["nodeSelector"]);
    }
    undone
}

fn narrows_node_selector(spec: &Tree, was: &Tree) -> bool {
    let now = at(spec, &["nodeSelector"]);
    crate::tree::entries(was, &["nodeSelector"]).into_iter().all(|(key, value)| now.get(key) == Some(value))
}

/// The lines in which two trees differ, as one hunk of a unified difference.
fn difference(old: &Tree, new: &Tree) -> String {
    let lines =
        |tree: &Tree| -> Vec<String> { serde_json::to_string_pretty(tree).unwrap_or_default().lines().map(str::to_owned).collect() };
    let (before, after) = (lines(old), lines(new));
    let head = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let tail = before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (gone, come) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
    let mut text = format!("@@ -{},{} +{},{} @@\n", head + 1, gone.len(), head + 1, come.len());
    for (sign, line) in gone.iter().map(|line| ('-', line)).chain(come.iter().map(|line| ('+', line))) {
        text.push(sign);
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Faults of a change of the status.
pub(super) fn status(new: &Tree, old: &Tree, out: &mut Faults) {
    const STATUS: Path<'static> = Path::root("status");
    let nominated = text(new, &["status", "nominatedNodeName"]);
    if !nominated.is_empty() {
        let path = STATUS.child("nominatedNodeName");
        out.extend(names::dns_subdomain(nominated).into_iter().map(|fault| invalid_text(path, nominated, fault)));
    }
    let conditions = STATUS.child("conditions");
    for (index, condition) in list(new, &["status", "conditions"]).iter().enumerate() {
        let kind = text(condition, &["type"]);
        let path = conditions.index(index);
        out.extend(names::qualified_name(kind).into_iter().map(|fault| invalid_text(path.child("type"), kind, fault)));
    }
    for (field, restarts_alone) in [("containerStatuses", false), ("initContainerStatuses", true)] {
        transitions(new, old, field, restarts_alone, &STATUS.child(field), out);
    }
}

/// A container that has ended for good does not come back.
fn transitions(new: &Tree, old: &Tree, field: &str, init: bool, path: &Path<'_>, out: &mut Faults) {
    let policy = text(new, &["spec", "restartPolicy"]);
    if policy == "Always" {
        return;
    }
    for (index, now) in list(new, &["status", field]).iter().enumerate() {
        let name = text(now, &["name"]);
        let sidecar = init
            && list(new, &["spec", "initContainers"])
                .iter()
                .any(|container| text(container, &["name"]) == name && text(container, &["restartPolicy"]) == "Always");
        let Some(before) = list(old, &["status", field]).iter().find(|before| text(before, &["name"]) == name) else { continue };
        let ended = at(before, &["state", "terminated"]);
        let is_final = ended.is_object() && (policy == "Never" || int(ended, &["exitCode"]).unwrap_or_default() == 0);
        if is_final && !sidecar && !at(now, &["state", "terminated"]).is_object() {
            out.push(FieldError::forbidden(path.index(index).child("state"), "may not be transitioned to non-terminated state"));
        }
    }
}

/// Faults of a change of the ephemeral containers: they only become more.
pub(super) fn ephemeral_containers(new: &Tree, old: &Tree, out: &mut Faults) {
    let path = SPEC.child("ephemeralContainers");
    let now = list(new, &["spec", "ephemeralContainers"]);
    for before in list(old, &["spec", "ephemeralContainers"]) {
        let name = text(before, &["name"]);
        match now.iter().find(|container| text(container, &["name"]) == name) {
            None => out.push(FieldError::forbidden(path, format!("existing ephemeral containers {name:?} may not be removed\n"))),
            Some(container) if !same("io.k8s.api.core.v1.EphemeralContainer", &[], container, before) => {
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{}", difference(before, container));
                out.push(FieldError::forbidden(path, detail));
            }
            Some(_) => {}
        }
    }
}

/// Through `resize` only the resources of containers and their resize policies change.
pub(super) fn prepare_resize(new: &mut Tree, old: &Tree) {
    let wanted = new.clone();
    let (version, managed) = (at(new, &["metadata", "resourceVersion"]), at(new, &["metadata", "managedFields"]));
    let mut next = old.clone();
    for (field, value) in [("resourceVersion", version), ("managedFields", managed)] {
        if !value.is_null() {
            put(&mut next, &["metadata", field], value.clone());
        }
    }
    for kind in ["containers", "initContainers"] {
        for container in crate::tree::list_mut(&mut next, &["spec", kind]) {
            let name = text(container, &["name"]).to_owned();
            let Some(change) = list(&wanted, &["spec", kind]).iter().find(|change| text(change, &["name"]) == name) else { continue };
            for field in ["resources", "resizePolicy"] {
                carry(change, container, &[field]);
            }
        }
    }
    *new = next;
}

/// Faults of a resize.
pub(super) fn resize(new: &Tree, old: &Tree, out: &mut Faults) {
    let class = podspec::qos_class(at(new, &["spec"]));
    if class != podspec::qos_class(at(old, &["spec"])) {
        out.push(invalid_text("spec", class, "Pod QOS Class may not change as a result of resizing"));
    }
    for kind in ["containers", "initContainers"] {
        let path = SPEC.child(kind);
        for (index, (now, before)) in list(new, &["spec", kind]).iter().zip(list(old, &["spec", kind])).enumerate() {
            for part in ["limits", "requests"] {
                let others = |container: &Tree| {
                    let mut rest = at(container, &["resources", part]).clone();
                    take(&mut rest, &["cpu"]);
                    take(&mut rest, &["memory"]);
                    rest
                };
                if others(now) != others(before) && !(crate::tree::is_empty(&others(now)) && crate::tree::is_empty(&others(before))) {
                    out.push(FieldError::forbidden(path.index(index).child("resources").child(part), ONLY_RESOURCES));
                }
            }
        }
    }
}
