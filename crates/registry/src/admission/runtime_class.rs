//! Sets the overhead, node selector and tolerations of pods by their runtime class (RuntimeClass).

use kinds::Tree;
use kinds::status::Status;

use super::service_account::push;
use crate::request::Refusal;
use crate::target::Target;
use crate::view::StoreView;
use crate::{object, record, tree};

const CLASSES: &str = "runtimeclasses.node.k8s.io/";

/// Sets the fields of a pod from its class. Returns 403 when the class is missing or the pod
/// contradicts it.
pub(super) fn mutate(
    view: &impl StoreView,
    target: &Target,
    pod: &mut Tree,
) -> Result<(), Refusal> {
    let class = class(view, target, pod)?.unwrap_or_default();
    overhead(target, pod, tree::at(&class, &["overhead", "podFixed"]))?;
    for (key, value) in tree::entries(&class, &["scheduling", "nodeSelector"]) {
        let wanted = tree::text(pod, &["spec", "nodeSelector", key]);
        let given = value.as_str().unwrap_or_default();
        if !tree::at(pod, &["spec", "nodeSelector", key]).is_null() && wanted != given {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {given}; pod.spec.nodeSelector[{key}] = {wanted}"
            );
            return Err(refuse(target, pod, &why));
        }
        tree::put(pod, &["spec", "nodeSelector", key], value.clone());
    }
    for toleration in tree::list(&class, &["scheduling", "tolerations"]) {
        if !tree::list(pod, &["spec", "tolerations"]).contains(toleration)
            && let Some(spec) = tree::at_mut(pod, &["spec"])
        {
            push(spec, "tolerations", toleration.clone());
        }
    }
    Ok(())
}

fn class(view: &impl StoreView, target: &Target, pod: &Tree) -> Result<Option<Tree>, Refusal> {
    let name = tree::text(pod, &["spec", "runtimeClassName"]);
    if name.is_empty() {
        return Ok(None);
    }
    let found = view
        .record(&format!("{CLASSES}{name}"))
        .map(|found| record::parse(&found.value));
    let missing = || {
        refuse(
            target,
            pod,
            &format!("pod rejected: RuntimeClass {name:?} not found"),
        )
    };
    found.ok_or_else(missing).map(Some)
}

/// Sets the overhead of the class. Returns 403 when the pod has another one.
fn overhead(target: &Target, pod: &mut Tree, fixed: &Tree) -> Result<(), Refusal> {
    let given = tree::at(pod, &["spec", "overhead"]);
    if tree::is_empty(given) {
        if !tree::is_empty(fixed) {
            tree::put(pod, &["spec", "overhead"], fixed.clone());
        }
        return Ok(());
    }
    if fixed.is_null() {
        return Err(refuse(
            target,
            pod,
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ));
    }
    // Quantities are in canonical form here, so equal amounts are equal strings.
    if tree::entries(given, &[]) == tree::entries(fixed, &[]) {
        return Ok(());
    }
    Err(refuse(
        target,
        pod,
        "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    ))
}

fn refuse(target: &Target, pod: &Tree, why: &str) -> Refusal {
    Status::forbidden(
        target.resource.group_resource(),
        object::shown_name(pod),
        why,
    )
    .into()
}
