//! Defaults and validation of `Pod`, and what each of its subresources may change.
//!
//! Deletion is immediate for a pod that is not scheduled or has finished. Otherwise the pod's grace
//! period applies.
//!
//! Read next: [`update`] for the rules of changes, [`resize`] for those of its resources.

mod resize;
mod update;

use kinds::{
    Tree,
    status::{FieldError, FieldErrors},
};

use super::checks::Faults;
use super::meta::invalid_text;
use super::path::Path;
use super::{FieldNames, KindFacts, Strategy, StrategyContext, podspec};
use crate::facts::PodFacts;
use crate::references::MIRROR;
use crate::tree::{at, by_text, carry, flag, int, list, put, take, text};

pub(crate) struct Pod;

/// The annotation that ranks the pods of a replica set for deletion.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

impl Strategy for Pod {
    fn facts(&self, object: &Tree) -> Option<KindFacts> {
        Some(Box::new(PodFacts::of(object)))
    }

    fn default(&self, object: &mut Tree) {
        podspec::pod_defaults(object);
        agree_on_addresses(object);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, context: &StrategyContext<'_>, object: &mut Tree) {
        put(object, &["status", "phase"], "Pending");
        let class = podspec::qos_class(at(object, &["spec"]));
        put(object, &["status", "qosClass"], class);
        if !list(object, &["spec", "schedulingGates"]).is_empty() {
            let gated = kinds::tree::json!({
                "type": "PodScheduled",
                "status": "False",
                "lastTransitionTime": context.now_text(),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            });
            put(object, &["status", "conditions"], vec![gated]);
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        metadata_and_spec(object, &mut out);
        if !list(object, &["spec", "ephemeralContainers"]).is_empty() {
            out.push(FieldError::forbidden(
                "spec.ephemeralContainers",
                "cannot be set on create",
            ));
        }
        if !text(object, &["spec", "nodeName"]).is_empty()
            && !list(object, &["spec", "schedulingGates"]).is_empty()
        {
            let detail = "cannot be set until all schedulingGates have been cleared";
            out.push(FieldError::forbidden("spec.nodeName", detail));
        }
        out
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        match context.subresource {
            "status" => prepare_status(new, old),
            "ephemeralcontainers" => keep_only(new, old, &["spec", "ephemeralContainers"]),
            "resize" => resize::prepare(new, old),
            _ => {}
        }
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        match context.subresource {
            "status" => update::status(new, old, &mut out),
            "ephemeralcontainers" => {
                metadata_and_spec(new, &mut out);
                update::annotations(new, old, &mut out);
                update::ephemeral_containers(new, old, &mut out);
            }
            "resize" => {
                metadata_and_spec(new, &mut out);
                resize::faults(new, old, &mut out);
            }
            _ => {
                metadata_and_spec(new, &mut out);
                update::annotations(new, old, &mut out);
                update::spec(new, old, &mut out);
            }
        }
        out
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ])
    }

    fn selectable(&self, object: &Tree, field: &str) -> String {
        match field {
            "spec.hostNetwork" => flag(object, &["spec", "hostNetwork"]).to_string(),
            // Accepted as a selector, but never has a value.
            "status.podIPs" => String::new(),
            _ => super::text_at(object, field),
        }
    }

    fn field_alias(&self, field: &str) -> Option<&'static str> {
        (field == "spec.host").then_some("spec.nodeName")
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }

    fn grace_seconds(&self, object: &Tree, requested: Option<i64>) -> Option<i64> {
        let wanted = requested
            .or_else(|| int(object, &["spec", "terminationGracePeriodSeconds"]))
            .unwrap_or_default();
        let is_finished = matches!(text(object, &["status", "phase"]), "Failed" | "Succeeded");
        // No kubelet runs this pod, so a grace period would only delay the deletion.
        if text(object, &["spec", "nodeName"]).is_empty() || is_finished {
            return Some(0);
        }
        Some(if wanted < 0 { 1 } else { wanted })
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Synchronizes `podIP` and `podIPs`, whichever of them the client set.
fn agree_on_addresses(object: &mut Tree) {
    let single = text(object, &["status", "podIP"]).to_owned();
    let first = list(object, &["status", "podIPs"])
        .first()
        .map(|entry| text(entry, &["ip"]).to_owned())
        .unwrap_or_default();
    if single.is_empty() && !first.is_empty() {
        put(object, &["status", "podIP"], first);
    } else if !single.is_empty() && single != first {
        put(
            object,
            &["status", "podIPs"],
            vec![kinds::tree::json!({"ip": single})],
        );
    }
}

/// Discards all changes outside of `part`, the only one that a subresource may change.
fn keep_only(new: &mut Tree, old: &Tree, part: &[&str]) {
    let changed = at(new, part).clone();
    let (version, managed) = (
        at(new, &["metadata", "resourceVersion"]).clone(),
        at(new, &["metadata", "managedFields"]).clone(),
    );
    *new = old.clone();
    if changed.is_null() {
        take(new, part);
    } else {
        put(new, part, changed);
    }
    for (field, value) in [("resourceVersion", version), ("managedFields", managed)] {
        if !value.is_null() {
            put(new, &["metadata", field], value);
        }
    }
}

fn prepare_status(new: &mut Tree, old: &Tree) {
    // Old kubelets corrupt owner references when they update the status.
    carry(old, new, &["metadata", "ownerReferences"]);
    if text(new, &["status", "qosClass"]).is_empty() {
        carry(old, new, &["status", "qosClass"]);
    }
    if int(new, &["status", "observedGeneration"]).unwrap_or_default() == 0 {
        carry(old, new, &["status", "observedGeneration"]);
    }
    let before = by_text(list(old, &["status", "conditions"]), "type");
    for condition in crate::tree::list_mut(new, &["status", "conditions"]) {
        let was = before.get(text(condition, &["type"])).copied();
        if int(condition, &["observedGeneration"]).unwrap_or_default() == 0
            && let Some(was) = was
        {
            carry(was, condition, &["observedGeneration"]);
        }
    }
}

fn metadata_and_spec(object: &Tree, out: &mut Faults) {
    const SPEC: Path<'static> = Path::root("spec");
    annotations(object, out);
    let holder = podspec::Holder::Pod(text(object, &["metadata", "name"]));
    podspec::spec_faults(at(object, &["spec"]), holder, &SPEC, out);
}

fn annotations(object: &Tree, out: &mut Faults) {
    let path = Path::root("metadata.annotations");
    let Some(annotations) = at(object, &["metadata", "annotations"]).as_object() else {
        return;
    };
    if annotations.contains_key(MIRROR) && text(object, &["spec", "nodeName"]).is_empty() {
        let value = annotations
            .get(MIRROR)
            .and_then(Tree::as_str)
            .unwrap_or_default();
        out.push(invalid_text(
            path.key(MIRROR),
            value,
            "must set spec.nodeName if mirror pod annotation is set",
        ));
    }
    if let Some(cost) = annotations.get(DELETION_COST).and_then(Tree::as_str) {
        // The API rejects a plus sign and leading zeros, which Rust's integer parser accepts.
        let digits = cost.strip_prefix('-').unwrap_or(cost);
        let plain = !cost.starts_with('+') && (digits == "0" || !digits.starts_with('0'));
        if !plain || cost.parse::<i32>().is_err() {
            out.push(invalid_text(
                path.key(DELETION_COST),
                cost,
                "must be a 32bit integer",
            ));
        }
    }
    for (name, value) in annotations.iter() {
        let value = value.as_str().unwrap_or_default();
        if name == SECCOMP_POD || name.starts_with(SECCOMP_CONTAINER) {
            seccomp_profile(value, &path.child(name), out);
        }
        if let Some(container) = name.strip_prefix(APP_ARMOR) {
            if !has_container(at(object, &["spec"]), container) {
                out.push(invalid_text(
                    path.key(name),
                    container,
                    "container not found",
                ));
            }
            if !matches!(value, "" | "runtime/default" | "unconfined")
                && !value.starts_with("localhost/")
            {
                let why = format!(
                    "invalid AppArmor profile name: {}",
                    kinds::status::quoted(value)
                );
                out.push(invalid_text(path.key(name), value, why));
            }
        }
    }
}

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Validates the profile of an annotation, which has no effect any more.
fn seccomp_profile(profile: &str, path: &Path<'_>, out: &mut Faults) {
    match profile.strip_prefix("localhost/") {
        Some(file) if file.starts_with('/') => {
            out.push(invalid_text(path, file, "must be a relative path"));
        }
        Some(file) if file.split('/').any(|part| part == "..") => {
            out.push(invalid_text(path, file, "must not contain '..'"));
        }
        Some(_) => {}
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => out.push(invalid_text(
            path,
            profile,
            "must be a valid seccomp profile",
        )),
    }
}

fn has_container(spec: &Tree, name: &str) -> bool {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|kind| crate::tree::list(spec, &[kind]))
        .any(|container| text(container, &["name"]) == name)
}
