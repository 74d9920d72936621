//! Marks a node unschedulable, or schedulable again.

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Error, ResourceExt as _};
use serde_json::json;

/// Whether a call changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The node was changed.
    Made,
    /// The node was so already.
    Needless,
}

/// The nodes with these names (`n1` or `node/n1`), or with these labels; all of them or none.
///
/// # Errors
/// What the server answers, for example 404 for the first name that is no node's.
pub async fn find(
    client: &Client,
    names: &[String],
    selector: Option<&str>,
) -> Result<Vec<Node>, Error> {
    let api: Api<Node> = Api::all(client.clone());
    if let Some(selector) = selector {
        return Ok(api
            .list(&ListParams::default().labels(selector))
            .await?
            .items);
    }
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let node = api.get(short_name(name)).await?;
        // A name given twice is one node.
        if nodes.iter().all(|seen| seen.name_any() != node.name_any()) {
            nodes.push(node);
        }
    }
    Ok(nodes)
}

/// A name without the resource that people may put before it.
fn short_name(name: &str) -> &str {
    ["node/", "nodes/", "no/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// Lets no new pods onto the node (`wish`), or lets them again; asks the server no more than what
/// it would say when `dry_run` is set.
///
/// # Errors
/// What the server answers.
pub async fn set(client: &Client, node: &Node, wish: bool, dry_run: bool) -> Result<Change, Error> {
    if is_cordoned(node) == wish {
        return Ok(Change::Needless);
    }
    // As kubectl does: uncordoning removes the field instead of writing false.
    let value = if wish { json!(true) } else { json!(null) };
    let params = PatchParams {
        dry_run,
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(json!({"spec": {"unschedulable": value}}));
    Api::<Node>::all(client.clone())
        .patch(&node.name_any(), &params, &patch)
        .await?;
    Ok(Change::Made)
}

/// Whether the node takes no new pods.
#[must_use]
pub fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or(false)
}

/// Lets no new pods onto the node.
///
/// # Errors
/// What the server answers, for example 404 for a node that is not there.
pub async fn cordon(client: &Client, node: &str) -> Result<Change, Error> {
    set(
        client,
        &Api::all(client.clone()).get(node).await?,
        true,
        false,
    )
    .await
}
