//! The side of the queue on which events become requests.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kinds::path::segment;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::bucket::RateLimit;
use crate::correlate::{Correlation, Correlator};
use crate::pending::PendingEvent;

/// How often an event is created under another name when its name is taken. In virtual time a
/// controller and a node agent may well emit an event about one pod in the same nanosecond.
const NAME_ATTEMPTS: u32 = 4;

/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// Sends recorded events to the API server.
#[must_use = "no event is written unless `run` is"]
pub struct EventWriter {
    requests: Requests,
    queue: mpsc::Receiver<PendingEvent>,
}

impl std::fmt::Debug for EventWriter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("EventWriter").finish_non_exhaustive()
    }
}

impl EventWriter {
    pub(crate) fn new(
        client: Client,
        queue: mpsc::Receiver<PendingEvent>,
        limit: Option<RateLimit>,
    ) -> Self {
        let requests = Requests {
            client,
            correlator: Correlator::new(limit),
            created: 0,
        };
        Self { requests, queue }
    }

    /// Writes events, one after the other, until `shutdown` is cancelled or all recorders are
    /// dropped. Events that wait at shutdown are lost.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            mut requests,
            mut queue,
        } = self;
        let writing = async move {
            while let Some(event) = queue.recv().await {
                if let Err(error) = requests.write(&event).await {
                    debug!(reason = event.reason, %error, "event not written");
                }
            }
        };
        // Either way nothing is left to do.
        let _ = shutdown.run_until_cancelled(writing).await;
    }
}

struct Requests {
    client: Client,
    correlator: Correlator,
    /// How many names were given.
    created: u64,
}

impl Requests {
    async fn write(&mut self, event: &PendingEvent) -> Result<(), kube::Error> {
        let namespace = segment(event.namespace());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        match self.correlator.correlate(event) {
            Correlation::Drop => {
                debug!(reason = event.reason, "event dropped: rate limit");
                return Ok(());
            }
            Correlation::Create => {}
            Correlation::Count { name, count } => {
                let seen = Time(clock::whole_seconds(event.at));
                let patch = serde_json::json!({"count": count, "lastTimestamp": seen});
                let patched = api
                    .patch(
                        &segment(&name),
                        &PatchParams::default(),
                        &Patch::Merge(&patch),
                    )
                    .await;
                match patched {
                    // Events expire, so that the count starts again from one.
                    Err(error) if code(&error) == 404 => {}
                    patched => return patched.map(drop),
                }
            }
        }
        self.create(&api, event).await
    }

    async fn create(&mut self, api: &Api<Event>, event: &PendingEvent) -> Result<(), kube::Error> {
        let mut attempt = 1;
        loop {
            let name = self.next_name(event);
            let object = event.to_object(name.clone());
            match api.create(&PostParams::default(), &object).await {
                Ok(_) => {
                    self.correlator.created(event, name);
                    return Ok(());
                }
                Err(error) if code(&error) == 409 && attempt < NAME_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// A name as upstream gives it: the object's, and a time in nanoseconds, so that a list of
    /// events of one object is in their order.
    fn next_name(&mut self, event: &PendingEvent) -> String {
        self.created += 1;
        let stamp = u64::try_from(event.at.as_nanosecond())
            .unwrap_or_default()
            .wrapping_add(self.created);
        let suffix = format!(".{stamp:x}");
        let object = event.involved.name.as_deref().unwrap_or_default();
        let object = object
            .get(..LONGEST_NAME - suffix.len())
            .unwrap_or(object)
            .trim_end_matches(['.', '-']);
        format!("{object}{suffix}")
    }
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
