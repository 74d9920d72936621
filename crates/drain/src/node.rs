//! The drain of one node with everything at its default, for those who need no more.

use clock::Clock;
use kube::Client;
use kube::api::Api;
use tokio::sync::mpsc::UnboundedSender;

use crate::board::Policy;
use crate::engine::Engine;
use crate::event::Event;
use crate::filter::Allowed;
use crate::survey::Survey;

/// Drains one node: every pod that some controller makes again goes, as does what it keeps in
/// emptyDir volumes; pods of DaemonSets stay. Returns when every pod that had to go is gone.
///
/// # Errors
/// The node cannot be read. What keeps it from being drained is told by an event.
pub async fn drain(
    client: &Client,
    clock: &Clock,
    node: &str,
    events: UnboundedSender<Event>,
) -> Result<(), kube::Error> {
    let node = Api::all(client.clone()).get(node).await?;
    let allowed = Allowed {
        ignore_daemonsets: true,
        delete_emptydir_data: true,
        force: true,
        skip_after_seconds: 0,
    };
    let survey = Survey {
        allowed,
        ..Survey::default()
    };
    let mut engine = Engine::drain(
        client.clone(),
        clock.clone(),
        Policy::default(),
        survey,
        vec![node],
        1,
    );
    while let Some(event) = engine.next().await {
        drop(events.send(event));
    }
    Ok(())
}
