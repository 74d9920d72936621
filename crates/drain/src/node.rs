//! Drains one node with default options, for callers that need no more.

use clock::Clock;
use kube::Client;
use kube::api::Api;
use tokio::sync::mpsc::UnboundedSender;

use crate::engine::DrainEngine;
use crate::event::DrainEvent;
use crate::filter::FilterOptions;
use crate::selection::PodSelection;
use crate::state::DrainOptions;

/// Drains one node: evicts every pod except DaemonSet pods and mirror pods, including pods without
/// a controller and the contents of their emptyDir volumes. Returns when the drain has ended.
///
/// # Errors
/// The error of reading the node. A failed drain is reported by [`DrainEvent::NodeFailed`].
pub async fn drain(
    client: &Client,
    clock: &Clock,
    node: &str,
    events: UnboundedSender<DrainEvent>,
) -> Result<(), kube::Error> {
    let node = Api::all(client.clone())
        .get(&kinds::path::segment(node))
        .await?;
    let filter = FilterOptions {
        ignore_daemonsets: true,
        delete_emptydir_data: true,
        force: true,
        skip_after_seconds: 0,
    };
    let selection = PodSelection {
        filter,
        ..PodSelection::default()
    };
    let mut engine = DrainEngine::drain(
        client.clone(),
        clock.clone(),
        DrainOptions::default(),
        selection,
        vec![node],
        1,
    );
    while let Some(event) = engine.next().await {
        // A caller that no longer listens still wants the node drained.
        drop(events.send(event));
    }
    Ok(())
}
