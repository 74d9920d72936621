//! Marks nodes as unschedulable, and as schedulable again.

use k8s_openapi::api::core::v1::Node;
use kinds::path::segment;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Error, ResourceExt as _};
pub use rules::nodes::is_cordoned;
use serde_json::json;

/// Whether a request changed the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CordonChange {
    /// The node was changed.
    Made,
    /// The node had the requested state already.
    Unchanged,
}

/// Returns the nodes with these names (`n1` or `node/n1`), or all that the label selector selects.
///
/// # Errors
/// The error of the first request that fails, for example 404 for an unknown name.
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
        let node = api.get(&segment(short_name(name))).await?;
        if nodes.iter().all(|seen| seen.name_any() != node.name_any()) {
            nodes.push(node);
        }
    }
    Ok(nodes)
}

/// Strips the resource prefix that kubectl accepts.
#[must_use]
pub fn short_name(name: &str) -> &str {
    ["node/", "nodes/", "no/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// Marks the node as unschedulable or schedulable. With `dry_run` the server validates the request
/// and changes nothing.
///
/// # Errors
/// The error of the request.
pub async fn set(
    client: &Client,
    node: &Node,
    unschedulable: bool,
    dry_run: bool,
) -> Result<CordonChange, Error> {
    if is_cordoned(node) == unschedulable {
        return Ok(CordonChange::Unchanged);
    }
    // As kubectl does: uncordoning removes the field instead of writing false.
    let value = if unschedulable {
        json!(true)
    } else {
        json!(null)
    };
    let params = PatchParams {
        dry_run,
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(json!({"spec": {"unschedulable": value}}));
    Api::<Node>::all(client.clone())
        .patch(&segment(&node.name_any()), &params, &patch)
        .await?;
    Ok(CordonChange::Made)
}

/// Marks the node with this name as unschedulable.
///
/// # Errors
/// The error of the request, for example 404 when the node does not exist.
pub async fn cordon(client: &Client, node: &str) -> Result<CordonChange, Error> {
    set(
        client,
        &Api::all(client.clone()).get(&segment(node)).await?,
        true,
        false,
    )
    .await
}
