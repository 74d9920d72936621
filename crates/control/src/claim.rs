//! Adoption: a controller adopts matching objects without a controlling owner and releases its own
//! objects that no longer match.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::api::{Patch, PatchParams};
use serde::de::DeserializeOwned;

use crate::context::ControllerContext;
use crate::error::{ReconcileError, ignore_not_found};
use crate::meta::{controlled_by, controller_of, uid, without_finalizer};
use crate::selector::Selector;

/// What a controller does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Keep,
    Adopt,
    Release,
    Ignore,
}

/// Decides what the owner does with an object. `adoptable` is false for objects that the owner has
/// no use for.
pub(crate) fn decide(
    owner: &ObjectMeta,
    selector: &Selector,
    object: &ObjectMeta,
    adoptable: bool,
) -> Claim {
    let matches = selector.matches(object.labels.as_ref());
    let leaving = object.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(controller) if controller.uid != uid(owner) => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        // An object that is being deleted is neither released nor counted.
        Some(_) if leaving || owner.deletion_timestamp.is_some() => Claim::Ignore,
        Some(_) => Claim::Release,
        None if matches && adoptable && !leaving && owner.deletion_timestamp.is_none() => {
            Claim::Adopt
        }
        None => Claim::Ignore,
    }
}

/// Adopts and releases candidates. Returns those that belong to the owner now.
pub(crate) async fn claim<O, K>(
    context: &ControllerContext,
    owner: &O,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
    adoptable: impl Fn(&K) -> bool,
) -> Result<Vec<Arc<K>>, ReconcileError>
where
    O: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    O::DynamicType: Default,
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    claim_with_finalizer(context, owner, selector, candidates, adoptable, None).await
}

/// Adopts and releases candidates. Adopted objects get the finalizer, and released ones lose it.
/// Returns those that belong to the owner now.
pub(crate) async fn claim_with_finalizer<O, K>(
    context: &ControllerContext,
    owner: &O,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
    adoptable: impl Fn(&K) -> bool,
    finalizer: Option<&str>,
) -> Result<Vec<Arc<K>>, ReconcileError>
where
    O: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    O::DynamicType: Default,
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let mut claimed = Vec::with_capacity(candidates.len());
    let mut may_adopt = false;
    for object in candidates {
        match decide(owner.meta(), selector, object.meta(), adoptable(&object)) {
            Claim::Keep => claimed.push(object),
            Claim::Ignore => {}
            Claim::Release => {
                let others = object
                    .meta()
                    .owner_references
                    .iter()
                    .flatten()
                    .filter(|other| other.uid != uid(owner.meta()));
                let finalizers = finalizer.map(|name| without_finalizer(object.meta(), name));
                let owners = others.cloned().collect();
                set_owners(context, owners, finalizers, &*object).await?;
            }
            Claim::Adopt => {
                if !may_adopt {
                    check_alive(context, owner).await?;
                    may_adopt = true;
                }
                let mut owners = object.meta().owner_references.clone().unwrap_or_default();
                owners.push(controlled_by(owner));
                let finalizers = finalizer.map(|name| with_finalizer(object.meta(), name));
                if set_owners(context, owners, finalizers, &*object).await? {
                    claimed.push(object);
                }
            }
        }
    }
    Ok(claimed)
}

/// Reads the owner from the server before the first adoption, because the cache may show an owner
/// that has been deleted.
async fn check_alive<O>(context: &ControllerContext, owner: &O) -> Result<(), ReconcileError>
where
    O: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    O::DynamicType: Default,
{
    let meta = owner.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    let fresh = context
        .namespaced::<O>(meta.namespace.as_deref().unwrap_or_default())
        .get(name)
        .await?;
    if uid(fresh.meta()) != uid(meta) || fresh.meta().deletion_timestamp.is_some() {
        return Err(ReconcileError::Plan(format!(
            "cannot adopt: owner {name} has been deleted"
        )));
    }
    Ok(())
}

/// The finalizers of the object and this one, as the value in a merge patch.
fn with_finalizer(meta: &ObjectMeta, name: &str) -> serde_json::Value {
    let known = meta.finalizers.iter().flatten().map(String::as_str);
    let others = known.filter(|finalizer| *finalizer != name);
    serde_json::json!(others.chain([name]).collect::<Vec<_>>())
}

/// Writes the owner references of an object, and its finalizers if given. Returns false when the
/// object does not exist.
async fn set_owners<K>(
    context: &ControllerContext,
    owners: Vec<OwnerReference>,
    finalizers: Option<serde_json::Value>,
    object: &K,
) -> Result<bool, ReconcileError>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let meta = object.meta();
    let owners = if owners.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::json!(owners)
    };
    let mut patch = serde_json::json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners,
    }});
    if let Some(finalizers) = finalizers {
        patch["metadata"]["finalizers"] = finalizers;
    }
    let api = context.namespaced::<K>(meta.namespace.as_deref().unwrap_or_default());
    let name = meta.name.as_deref().unwrap_or_default();
    Ok(ignore_not_found(
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await,
    )?
    .is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(json: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(json).expect("meta data")
    }

    #[test]
    fn objects_are_kept_adopted_released_or_ignored() {
        let labels: ObjectMeta = meta(json!({"labels": {"app": "web"}}));
        let selector = Selector::exactly(labels.labels.as_ref());
        let me = meta(json!({"uid": "me"}));
        let dying = meta(json!({"uid": "me", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        let owned = |uid: &str| {
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": "rs", "uid": uid, "controller": true}])
        };
        let cases = [
            (
                &me,
                json!({"labels": {"app": "web"}, "ownerReferences": owned("me")}),
                Claim::Keep,
            ),
            (
                &me,
                json!({"labels": {"app": "web"}, "ownerReferences": owned("other")}),
                Claim::Ignore,
            ),
            (
                &me,
                json!({"labels": {"app": "free"}, "ownerReferences": owned("me")}),
                Claim::Release,
            ),
            (&me, json!({"labels": {"app": "web"}}), Claim::Adopt),
            (&me, json!({"labels": {"app": "free"}}), Claim::Ignore),
            (
                &me,
                json!({"labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
                Claim::Ignore,
            ),
            (&dying, json!({"labels": {"app": "web"}}), Claim::Ignore),
            (
                &dying,
                json!({"labels": {"app": "free"}, "ownerReferences": owned("me")}),
                Claim::Ignore,
            ),
        ];
        for (owner, object, expected) in cases {
            let text = object.to_string();
            assert_eq!(
                decide(owner, &selector, &meta(object), true),
                expected,
                "{text}"
            );
        }
        assert_eq!(
            decide(
                &me,
                &selector,
                &meta(json!({"labels": {"app": "web"}})),
                false
            ),
            Claim::Ignore
        );
    }
}
