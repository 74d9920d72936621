//! Validation of pod updates.
//!
//! A pod's spec is immutable except for container images, added tolerations, a shorter active
//! deadline and removed scheduling gates. A pod with scheduling gates also accepts a narrower node
//! selector and node affinity.

use std::collections::BTreeSet;

use kinds::{Tree, names, status::FieldError};

use crate::strategy::checks::{Faults, NOT_AN_IP, is_ip};
use crate::strategy::meta::{invalid_shown, invalid_text};
use crate::strategy::path::Path;
use crate::strategy::{podspec, same};
use crate::tree::{at, by_text, carry, entries, int, list, take, text};

const SPEC: Path<'static> = Path::root("spec");
const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";

const ONLY_THESE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Validates changes of the mirror and AppArmor annotations.
pub(super) fn annotations(new: &Tree, old: &Tree, out: &mut Faults) {
    const CONFINED: &str = "container.apparmor.security.beta.kubernetes.io/";
    let path = Path::root("metadata.annotations");
    let (now, before) = (
        at(new, &["metadata", "annotations"]),
        at(old, &["metadata", "annotations"]),
    );
    for (key, value) in entries(before, &[]) {
        if now.get(key) == Some(value) {
            continue;
        }
        if key.starts_with(CONFINED) {
            out.push(FieldError::forbidden(
                path.key(key),
                "may not remove or update AppArmor annotations",
            ));
        } else if key == super::MIRROR {
            out.push(FieldError::forbidden(
                path.key(key),
                "may not remove or update mirror pod annotation",
            ));
        }
    }
    for (key, _) in entries(now, &[])
        .into_iter()
        .filter(|(key, _)| before.get(key).is_none())
    {
        if key.starts_with(CONFINED) {
            out.push(FieldError::forbidden(
                path.key(key),
                "may not add AppArmor annotations",
            ));
        } else if key == super::MIRROR {
            out.push(FieldError::forbidden(
                path.key(key),
                "may not add mirror pod annotation",
            ));
        }
    }
}

/// Validates an update of the spec through the main resource.
pub(super) fn spec(new: &Tree, old: &Tree, out: &mut Faults) {
    let (spec, was) = (at(new, &["spec"]), at(old, &["spec"]));
    for kind in ["containers", "initContainers"] {
        let (now, before) = (list(spec, &[kind]), list(was, &[kind]));
        let path = SPEC.child(kind);
        if now.len() != before.len() {
            out.push(FieldError::forbidden(
                path,
                "pod updates may not add or remove containers",
            ));
            return;
        }
        for (index, container) in now.iter().enumerate() {
            let image = text(container, &["image"]);
            if image.is_empty() {
                out.push(FieldError::required(path.index(index).child("image"), ""));
            }
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
    let gated = !list(was, &["schedulingGates"]).is_empty();
    if gated && !narrows_node_selector(spec, was) {
        let detail = "only additions are allowed to spec.nodeSelector (no mutations or deletions)";
        out.push(FieldError::invalid(
            SPEC.child("nodeSelector"),
            at(spec, &["nodeSelector"]),
            detail,
        ));
    }
    let allowed = with_allowed_changes_undone(spec, was);
    if !same(POD_SPEC, &[], &allowed, was) {
        out.push(FieldError::forbidden(
            SPEC,
            format!("{ONLY_THESE}\n{}", difference(was, &allowed)),
        ));
    }
}

/// Validates a change of `activeDeadlineSeconds`, which may be set once and then only decrease.
/// Returns `false` if validation must stop.
fn deadline(spec: &Tree, was: &Tree, out: &mut Faults) -> bool {
    let path = SPEC.child("activeDeadlineSeconds");
    match (
        int(spec, &["activeDeadlineSeconds"]),
        int(was, &["activeDeadlineSeconds"]),
    ) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            out.push(FieldError::invalid(
                path,
                &Tree::from(now),
                "must be between 0 and 2147483647, inclusive",
            ));
            return false;
        }
        (Some(now), Some(before)) if before < now => {
            out.push(FieldError::invalid(
                path,
                &Tree::from(now),
                "must be less than or equal to previous value",
            ));
            return false;
        }
        (None, Some(_)) => out.push(FieldError::invalid(
            path,
            &Tree::Null,
            "must not update from a positive integer to nil value",
        )),
        _ => {}
    }
    true
}

fn only_added_tolerations(spec: &Tree, was: &Tree, out: &mut Faults) {
    // The members of a toleration, of which an absent one equals an empty one.
    let identity = |toleration: &Tree| {
        ["key", "operator", "value", "effect"].map(|member| text(toleration, &[member]).to_owned())
    };
    let now: BTreeSet<_> = list(spec, &["tolerations"]).iter().map(identity).collect();
    let path = SPEC.child("tolerations");
    let kept = |before: &Tree| now.contains(&identity(before));
    if !list(was, &["tolerations"]).iter().all(kept) {
        out.push(FieldError::forbidden(
            path,
            "existing toleration can not be modified except its tolerationSeconds",
        ));
        return;
    }
    podspec::toleration_faults(list(spec, &["tolerations"]), &path, out);
}

fn only_removed_gates(spec: &Tree, was: &Tree, out: &mut Faults) {
    let before: BTreeSet<&str> = list(was, &["schedulingGates"])
        .iter()
        .map(|gate| text(gate, &["name"]))
        .collect();
    let path = SPEC.child("schedulingGates");
    for (index, gate) in list(spec, &["schedulingGates"]).iter().enumerate() {
        let name = text(gate, &["name"]);
        if !before.contains(name) {
            let detail =
                format!("only deletion is allowed, but found new scheduling gate '{name}'");
            out.push(FieldError::forbidden(
                path.index(index).child("name"),
                detail,
            ));
        }
    }
}

/// Returns the new spec with all mutable fields reset to their old values.
fn with_allowed_changes_undone(spec: &Tree, was: &Tree) -> Tree {
    let mut undone = spec.clone();
    for kind in ["containers", "initContainers"] {
        for (container, before) in crate::tree::list_mut(&mut undone, &[kind])
            .iter_mut()
            .zip(list(was, &[kind]))
        {
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
    // The scheduler ignores a gated pod, so its scheduling constraints may still be narrowed.
    if !list(was, &["schedulingGates"]).is_empty() {
        carry(was, &mut undone, &["nodeSelector"]);
        if keeps_node_terms(spec, was) {
            carry(was, &mut undone, &["affinity", "nodeAffinity"]);
            if at(was, &["affinity"]).is_null() && crate::tree::is_empty(at(&undone, &["affinity"]))
            {
                take(&mut undone, &["affinity"]);
            }
        }
    }
    undone
}

fn narrows_node_selector(spec: &Tree, was: &Tree) -> bool {
    let now = at(spec, &["nodeSelector"]);
    crate::tree::entries(was, &["nodeSelector"])
        .into_iter()
        .all(|(key, value)| now.get(key) == Some(value))
}

/// Returns `true` if the new node affinity only adds constraints to the required terms.
fn keeps_node_terms(spec: &Tree, was: &Tree) -> bool {
    const TERMS: [&str; 4] = [
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ];
    let (now, before) = (list(spec, &TERMS), list(was, &TERMS));
    let holds_all = |term: &Tree, old: &Tree| {
        ["matchExpressions", "matchFields"].iter().all(|kind| {
            let parts: BTreeSet<String> = list(term, &[kind]).iter().map(Tree::to_string).collect();
            list(old, &[kind])
                .iter()
                .all(|part| parts.contains(&part.to_string()))
        })
    };
    before.is_empty()
        || now.len() == before.len()
            && now
                .iter()
                .zip(before)
                .all(|(term, old)| holds_all(term, old))
}

/// Renders the lines that differ between two trees as one hunk of a unified diff.
fn difference(old: &Tree, new: &Tree) -> String {
    let lines = |tree: &Tree| -> Vec<String> {
        serde_json::to_string_pretty(tree)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let (before, after) = (lines(old), lines(new));
    let head = before
        .iter()
        .zip(&after)
        .take_while(|(a, b)| a == b)
        .count();
    let tail = before[head..]
        .iter()
        .rev()
        .zip(after[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (gone, come) = (
        &before[head..before.len() - tail],
        &after[head..after.len() - tail],
    );
    let mut text = format!(
        "@@ -{},{} +{},{} @@\n",
        head + 1,
        gone.len(),
        head + 1,
        come.len()
    );
    for (sign, line) in gone
        .iter()
        .map(|line| ('-', line))
        .chain(come.iter().map(|line| ('+', line)))
    {
        text.push(sign);
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Validates an update of the status.
pub(super) fn status(new: &Tree, old: &Tree, out: &mut Faults) {
    const STATUS: Path<'static> = Path::root("status");
    // Upstream reports this path, although conditions are part of the status.
    let conditions = Path::root("metadata.conditions");
    for (index, condition) in list(new, &["status", "conditions"]).iter().enumerate() {
        let kind = text(condition, &["type"]);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let path = conditions.index(index);
            out.extend(
                names::qualified_name(kind)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("Type"), kind, fault)),
            );
        }
    }
    let nominated = text(new, &["status", "nominatedNodeName"]);
    if !nominated.is_empty() && nominated != text(old, &["status", "nominatedNodeName"]) {
        let path = STATUS.child("nominatedNodeName");
        out.extend(
            names::dns_subdomain(nominated)
                .into_iter()
                .map(|fault| invalid_text(path, nominated, fault)),
        );
    }
    for field in [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ] {
        transitions(new, old, field, &STATUS.child(field), out);
    }
    addresses(new, "podIPs", &STATUS.child("podIPs"), out);
    let hosts = list(new, &["status", "hostIPs"]);
    if let Some(first) = hosts.first()
        && text(first, &["ip"]) != text(new, &["status", "hostIP"])
    {
        let path = STATUS.child("hostIPs");
        out.push(invalid_text(
            path.index(0).child("ip"),
            text(first, &["ip"]),
            "must be equal to `hostIP`",
        ));
    }
    addresses(new, "hostIPs", &STATUS.child("hostIPs"), out);
}

/// Validates a list of addresses: each is a valid IP, with at most one of each family.
fn addresses(pod: &Tree, field: &str, path: &Path<'_>, out: &mut Faults) {
    let all: Vec<&str> = list(pod, &["status", field])
        .iter()
        .map(|entry| text(entry, &["ip"]))
        .collect();
    for (index, address) in all.iter().enumerate() {
        if !is_ip(address) {
            out.push(invalid_text(path.index(index), address, NOT_AN_IP));
        }
    }
    let is_mixed = matches!(all[..], [one, other] if one.contains(':') != other.contains(':'));
    if all.len() > 1 && !is_mixed {
        let shown: Vec<String> = all
            .iter()
            .map(|address| format!("{{\"IP\":{}}}", Tree::from(*address)))
            .collect();
        let detail = "may specify no more than one IP for each IP family";
        out.push(invalid_shown(
            path,
            &format!("[{}]", shown.join(",")),
            detail,
        ));
    }
}

/// Validates that terminated containers do not restart when the restart policy forbids it. Faults
/// report the index in the old status, as upstream does.
fn transitions(new: &Tree, old: &Tree, field: &str, path: &Path<'_>, out: &mut Faults) {
    let policy = if field == "ephemeralContainerStatuses" {
        "Never"
    } else {
        text(old, &["spec", "restartPolicy"])
    };
    if policy == "Always" {
        return;
    }
    let restarting: BTreeSet<&str> = ["initContainers", "containers"]
        .iter()
        .flat_map(|kind| list(old, &["spec", kind]))
        .filter(|container| !text(container, &["restartPolicy"]).is_empty())
        .map(|container| text(container, &["name"]))
        .collect();
    let by_name = by_text(list(new, &["status", field]), "name");
    for (index, before) in list(old, &["status", field]).iter().enumerate() {
        let name = text(before, &["name"]);
        let restarts_itself = restarting.contains(name);
        let ended = at(before, &["state", "terminated"]);
        let is_final = ended.is_object()
            && (policy == "Never" || int(ended, &["exitCode"]).unwrap_or_default() == 0);
        let now = by_name.get(name).copied();
        let comes_back = now.is_some_and(|now| !at(now, &["state", "terminated"]).is_object());
        if is_final && comes_back && !restarts_itself {
            out.push(FieldError::forbidden(
                path.index(index).child("state"),
                "may not be transitioned to non-terminated state",
            ));
        }
    }
}

/// Validates an update of the ephemeral containers, which can be added but not changed or removed.
pub(super) fn ephemeral_containers(new: &Tree, old: &Tree, out: &mut Faults) {
    if !at(old, &["metadata", "annotations", super::MIRROR]).is_null() {
        let detail = "static pods do not support ephemeral containers";
        *out = FieldError::forbidden("", detail).into();
        return;
    }
    let path = SPEC.child("ephemeralContainers");
    let now = by_text(list(new, &["spec", "ephemeralContainers"]), "name");
    for before in list(old, &["spec", "ephemeralContainers"]) {
        let name = text(before, &["name"]);
        match now.get(name).copied() {
            None => out.push(FieldError::forbidden(
                path,
                format!("existing ephemeral containers {name:?} may not be removed\n"),
            )),
            Some(container)
                if !same(
                    "io.k8s.api.core.v1.EphemeralContainer",
                    &[],
                    container,
                    before,
                ) =>
            {
                let detail = format!(
                    "existing ephemeral containers {name:?} may not be changed\n{}",
                    difference(before, container)
                );
                out.push(FieldError::forbidden(path, detail));
            }
            Some(_) => {}
        }
    }
}
