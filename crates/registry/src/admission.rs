//! The admission plugins that Kubernetes enables by default. They set fields of new objects and
//! check requirements that depend on other objects.
//!
//! `mutate` runs before an object is validated, and `validate` runs afterwards. Both read the store
//! at one revision. `namespace` runs again inside the commit, which may see a later revision.

use kinds::Tree;
use kinds::tree::List;

use crate::request::Refusal;
use crate::target::Target;
use crate::view::StoreView;
use crate::{Registry, tree};

mod default_class;
mod limits;
pub(crate) mod namespace;
pub(crate) mod node_restriction;
mod priority;
mod resize;
mod runtime_class;
pub(crate) mod service_account;
mod storage;
mod subject_restriction;
mod tolerations;

/// Adds the fields that admission sets in a new object.
pub(crate) fn mutate(
    registry: &Registry,
    view: &impl StoreView,
    target: &Target,
    object: &mut Tree,
) -> Result<(), Refusal> {
    node_restriction::create(view, target, object)?;
    match target.stored.group_and_plural() {
        ("", "pods") => {
            limits::mutate(view, target, object);
            service_account::mutate(registry, view, target, object)?;
            tolerations::mutate(object);
            priority::mutate(view, target, object)?;
            runtime_class::mutate(view, target, object)
        }
        ("", "nodes") => {
            taint_not_ready(object);
            Ok(())
        }
        ("", "persistentvolumeclaims") => {
            default_class::mutate(view, &default_class::STORAGE, object);
            storage::protect(object, "kubernetes.io/pvc-protection");
            Ok(())
        }
        ("certificates.k8s.io", "certificatesigningrequests") => {
            name_requestor(target, object);
            Ok(())
        }
        ("networking.k8s.io", "ingresses") => {
            default_class::mutate(view, &default_class::INGRESS, object);
            Ok(())
        }
        ("", "persistentvolumes") => {
            storage::protect(object, "kubernetes.io/pv-protection");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Adds the fields that admission sets in a replaced or patched object. When a client omits the
/// priority or the preemption policy of a pod, the pod keeps its value.
pub(crate) fn mutate_update(target: &Target, new: &mut Tree, old: &Tree) {
    if target.stored.group_and_plural() != ("", "pods") {
        return;
    }
    tolerations::mutate(new);
    for field in ["priority", "preemptionPolicy"] {
        if tree::at(new, &["spec", field]).is_null() {
            tree::carry(old, new, &["spec", field]);
        }
    }
}

/// Refuses a valid new object that conflicts with other objects of the cluster.
pub(crate) fn validate(
    view: &impl StoreView,
    target: &Target,
    object: &Tree,
) -> Result<(), Refusal> {
    match target.stored.group_and_plural() {
        ("", "pods") => limits::validate(view, target, object),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            subject_restriction::validate(target, object)
        }
        ("scheduling.k8s.io", "priorityclasses") => priority::validate_class(view, target, object),
        _ => Ok(()),
    }
}

/// Refuses a valid change that conflicts with other objects of the cluster.
pub(crate) fn validate_update(
    view: &impl StoreView,
    target: &Target,
    subresource: &str,
    new: &Tree,
    old: &Tree,
) -> Result<(), Refusal> {
    let (group, plural) = target.stored.group_and_plural();
    match (group, plural, subresource) {
        ("", "pods", "resize") => resize::validate(view, target, new, old),
        ("scheduling.k8s.io", "priorityclasses", "") => priority::validate_class(view, target, new),
        _ => Ok(()),
    }
}

/// Sets the requestor of a certificate signing request to the authenticated user. Values of the
/// client are dropped.
fn name_requestor(target: &Target, request: &mut Tree) {
    let user = &target.user;
    let groups: List = user
        .groups
        .iter()
        .map(|group| Tree::from(group.as_str()))
        .collect();
    for (field, value) in [
        ("username", Tree::from(user.name.as_str())),
        ("uid", Tree::from(user.uid.as_str())),
        ("groups", Tree::Array(groups)),
    ] {
        let is_empty = tree::is_empty(&value);
        if is_empty {
            tree::take(request, &["spec", field]);
        } else {
            tree::put(request, &["spec", field], value);
        }
    }
    tree::take(request, &["spec", "extra"]);
    for (key, values) in &user.extra {
        tree::put(request, &["spec", "extra", key], values.clone());
    }
}

/// Taints a new node as not ready. The node controller removes the taint.
fn taint_not_ready(node: &mut Tree) {
    const KEY: &str = "node.kubernetes.io/not-ready";
    let present = tree::list(node, &["spec", "taints"])
        .iter()
        .any(|taint| tree::text(taint, &["key"]) == KEY);
    if present {
        return;
    }
    let spec = tree::ensure(node, &["spec"]);
    let taints = spec.entry("taints").or_insert(Tree::Null);
    if !taints.is_array() {
        *taints = Tree::Array(List::default());
    }
    if let Some(list) = taints.as_array_mut() {
        list.push(kinds::tree::json!({"key": KEY, "effect": "NoSchedule"}));
    }
}
