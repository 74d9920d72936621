//! The events that people read with `kubectl describe pod`.
//!
//! Telling must never slow down doing: the queue is bounded and what does not fit is dropped, what
//! repeats is counted on one object, and the rate is limited.

use std::collections::HashMap;
use std::sync::Arc;

use clock::{Clock, Entropy};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::pod::desired::{Desired, Role};
use crate::pod::phase::Note;
use crate::pod::status::whole_seconds;

/// Notes that wait to be written; more are dropped.
const QUEUE: usize = 4096;
/// Repetitions are recognised among this many texts.
const REMEMBERED: usize = 4096;
/// Seconds of unused rate that may be used at once.
const BURST_SECONDS: u32 = 10;

/// Takes notes; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    queue: Option<mpsc::Sender<Told>>,
}

/// One note with what it is about.
#[derive(Debug)]
struct Told {
    namespace: Arc<str>,
    pod: Box<str>,
    uid: Arc<str>,
    node: Arc<str>,
    field_path: Option<String>,
    warning: bool,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

impl Recorder {
    /// A recorder and the task that writes what it takes.
    pub(crate) fn new(
        client: Client,
        clock: Clock,
        entropy: Entropy,
        per_second: u32,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (queue, notes) = mpsc::channel(QUEUE);
        let recorder = Self {
            queue: (per_second > 0).then_some(queue),
        };
        let writer = Writer {
            client,
            entropy,
            written: HashMap::new(),
            allowance: Allowance::new(clock, per_second),
        };
        (recorder, async move {
            let _ = shutdown.run_until_cancelled(writer.run(notes)).await;
        })
    }

    /// Takes a note about a pod; drops it when too many wait.
    pub(crate) fn tell(&self, pod: &Desired, node: &Arc<str>, note: Note, at: Timestamp) {
        let Some(queue) = &self.queue else { return };
        let field_path = note
            .container
            .and_then(|index| pod.containers.get(index))
            .map(|container| {
                let list = match container.role {
                    Role::Main => "containers",
                    Role::Ephemeral => "ephemeralContainers",
                    Role::Init | Role::Sidecar => "initContainers",
                };
                format!("spec.{list}{{{}}}", container.name)
            });
        let told = Told {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            node: node.clone(),
            field_path,
            warning: note.warning,
            reason: note.reason,
            message: note.message,
            at,
        };
        if queue.try_send(told).is_err() {
            tracing::debug!("an event was dropped because too many wait");
        }
    }
}

/// Writes events.
struct Writer {
    client: Client,
    entropy: Entropy,
    written: HashMap<Key, Written>,
    allowance: Allowance,
}

type Key = (Arc<str>, Option<String>, &'static str, String);

/// An event that exists already.
struct Written {
    name: String,
    count: u32,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Told>) {
        while let Some(told) = notes.recv().await {
            if !self.allowance.take() {
                tracing::debug!(
                    reason = told.reason,
                    "an event was dropped because of the rate"
                );
            } else if let Err(error) = self.write(told).await {
                tracing::debug!(%error, "an event could not be written");
            }
        }
    }

    async fn write(&mut self, told: Told) -> Result<(), kube::Error> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &told.namespace);
        let key = (
            told.uid.clone(),
            told.field_path.clone(),
            told.reason,
            told.message.clone(),
        );
        if let Some(written) = self.written.get_mut(&key) {
            let repeated =
                json!({"count": written.count + 1, "lastTimestamp": whole_seconds(told.at)});
            match events
                .patch(
                    &written.name,
                    &PatchParams::default(),
                    &Patch::Merge(repeated),
                )
                .await
            {
                Ok(_) => {
                    written.count += 1;
                    return Ok(());
                }
                // It has expired: the next one starts over.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let name = format!("{}.{:016x}", told.pod, self.entropy.below(u64::MAX));
        let event =
            serde_json::from_value(render(&told, &name)).map_err(kube::Error::SerdeError)?;
        events.create(&PostParams::default(), &event).await?;
        if self.written.len() >= REMEMBERED {
            self.written.clear();
        }
        self.written.insert(key, Written { name, count: 1 });
        Ok(())
    }
}

fn render(told: &Told, name: &str) -> Value {
    let at = whole_seconds(told.at);
    json!({
        "apiVersion": Event::api_version(&()),
        "kind": Event::kind(&()),
        "metadata": {"name": name, "namespace": &*told.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": &*told.namespace,
            "name": &*told.pod,
            "uid": &*told.uid,
            "fieldPath": told.field_path,
        },
        "reason": told.reason,
        "message": told.message,
        "type": if told.warning { "Warning" } else { "Normal" },
        "source": {"component": "kubelet", "host": &*told.node},
        "reportingComponent": "kubelet",
        "reportingInstance": &*told.node,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    })
}

/// A rate with some slack.
struct Allowance {
    clock: Clock,
    per_second: f64,
    left: f64,
    counted_at: Timestamp,
}

impl Allowance {
    fn new(clock: Clock, per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self {
            counted_at: clock.now(),
            clock,
            per_second,
            left: per_second * f64::from(BURST_SECONDS),
        }
    }

    fn take(&mut self) -> bool {
        let now = self.clock.now();
        let passed = now.duration_since(self.counted_at).as_secs_f64().max(0.0);
        self.counted_at = now;
        self.left =
            (self.left + passed * self.per_second).min(self.per_second * f64::from(BURST_SECONDS));
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}
