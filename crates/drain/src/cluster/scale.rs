//! The replicas of owners that are no built-in workload, from their `scale` subresource: budgets in
//! percent count by them.

use futures::StreamExt as _;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery;

use super::Snapshot;
use crate::{budget, health};

/// So many owners are asked at a time.
const AT_ONCE: usize = 8;

/// What one owner answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerScale {
    /// Group and version, as the pods name them.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its wish, or why there is none.
    pub replicas: Result<i32, String>,
}

/// Asks the owners of other kinds whose pods have a budget.
pub(super) async fn read(client: &Client, snapshot: &Snapshot) -> Vec<OwnerScale> {
    let mut wanted: Vec<OwnerScale> = Vec::new();
    for pod in &snapshot.pods {
        let Some(owner) = health::controller_of(pod).filter(|owner| budget::wants_scale(owner))
        else {
            continue;
        };
        let known = |scale: &OwnerScale| {
            (
                scale.kind.as_str(),
                scale.name.as_str(),
                scale.namespace.as_str(),
            ) == (&owner.kind, &owner.name, health::namespace(pod))
        };
        if wanted.iter().any(known) || budget::selecting(snapshot, pod).is_empty() {
            continue;
        }
        wanted.push(OwnerScale {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            namespace: health::namespace(pod).to_owned(),
            name: owner.name.clone(),
            replicas: Ok(0),
        });
    }
    let asked = wanted.into_iter().map(|scale| async move {
        OwnerScale {
            replicas: ask(client, &scale).await,
            ..scale
        }
    });
    futures::stream::iter(asked)
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn ask(client: &Client, scale: &OwnerScale) -> Result<i32, String> {
    let (group, version) = scale
        .api_version
        .split_once('/')
        .unwrap_or(("", &scale.api_version));
    let kind = GroupVersionKind::gvk(group, version, &scale.kind);
    let unknown = |_| {
        format!(
            "no matches for kind {:?} in version {:?}",
            scale.kind, scale.api_version
        )
    };
    let (resource, capabilities) = discovery::pinned_kind(client, &kind)
        .await
        .map_err(unknown)?;
    if !capabilities
        .subresources
        .iter()
        .any(|(sub, _)| sub.plural == "scale")
    {
        let named = if group.is_empty() {
            resource.plural.clone()
        } else {
            format!("{}.{group}", resource.plural)
        };
        return Err(format!("{named} does not implement the scale subresource"));
    }
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &scale.namespace, &resource);
    let answer = api
        .get_scale(&scale.name)
        .await
        .map_err(|error| error.to_string())?;
    Ok(answer
        .spec
        .and_then(|spec| spec.replicas)
        .unwrap_or_default())
}
