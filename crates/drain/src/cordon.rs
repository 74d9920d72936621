//! Marks a node unschedulable, or schedulable again.

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::json;

/// Whether a call changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node was changed.
    Made,
    /// The node was so already.
    Needless,
}

/// Lets no new pods onto the node.
///
/// # Errors
/// What the server answers, for example 404 for a node that is not there.
pub async fn cordon(client: &Client, node: &str) -> Result<Change, Error> {
    set(client, node, true).await
}

/// Lets pods onto the node again.
///
/// # Errors
/// As [`cordon`].
pub async fn uncordon(client: &Client, node: &str) -> Result<Change, Error> {
    set(client, node, false).await
}

async fn set(client: &Client, node: &str, wish: bool) -> Result<Change, Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let is = nodes.get(node).await?.spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
    if is == wish {
        return Ok(Change::Needless);
    }
    // As kubectl does: uncordoning removes the field instead of writing false.
    let value = if wish { json!(true) } else { json!(null) };
    nodes.patch(node, &PatchParams::default(), &Patch::Strategic(json!({"spec": {"unschedulable": value}}))).await?;
    Ok(Change::Made)
}
