//! Events: what controllers tell people about an object.
//!
//! Recording never waits: an event goes into a bounded channel, and one writer task sends them. The
//! same event told again raises the count of the one that is there; a source that tells too much
//! about one object is silenced for a while. Events are a courtesy: one that cannot be written is
//! dropped with a debug line.

use std::collections::{HashMap, VecDeque};

use clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::error::code;
use crate::meta::on_wire;

/// How many events may wait for the writer.
const WAITING: usize = 4096;
/// How many told events are remembered, to raise their counts.
const REMEMBERED: usize = 4096;
/// How many events of one source about one object may come at once, and how often one more is
/// allowed.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// How serious it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

struct Told {
    component: &'static str,
    /// Set for events in the newer form, which name the action and carry no count.
    action: Option<&'static str>,
    about: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Where events go.
#[derive(Clone)]
pub(crate) struct Sink {
    sender: mpsc::Sender<Told>,
    clock: Clock,
}

impl Sink {
    pub(crate) fn new(client: Client, clock: Clock) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = Writer {
            client,
            receiver,
            known: HashMap::new(),
            order: VecDeque::new(),
            budgets: HashMap::new(),
            written: 0,
        };
        (Self { sender, clock }, writer)
    }

    pub(crate) fn recorder(&self, component: &'static str) -> Recorder {
        Recorder {
            sink: self.clone(),
            component,
        }
    }
}

/// Tells events under one component's name.
#[derive(Clone)]
pub(crate) struct Recorder {
    sink: Sink,
    component: &'static str,
}

impl Recorder {
    /// Tells that something happened to `object`.
    pub(crate) fn tell<K>(
        &self,
        object: &K,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) where
        K: Resource,
        K::DynamicType: Default,
    {
        self.send(reference(object), None, severity, reason, message.into());
    }

    /// The same in the newer form, as the scheduler does it.
    pub(crate) fn tell_action<K>(
        &self,
        object: &K,
        action: &'static str,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) where
        K: Resource,
        K::DynamicType: Default,
    {
        self.send(
            reference(object),
            Some(action),
            severity,
            reason,
            message.into(),
        );
    }

    fn send(
        &self,
        about: ObjectReference,
        action: Option<&'static str>,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        let told = Told {
            component: self.component,
            action,
            about,
            severity,
            reason,
            message,
            at: self.sink.clock.now(),
        };
        if self.sink.sender.try_send(told).is_err() {
            debug!(reason, "too many events are waiting; dropped one");
        }
    }
}

fn reference<K>(object: &K) -> ObjectReference
where
    K: Resource,
    K::DynamicType: Default,
{
    let ty = K::DynamicType::default();
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&ty).into_owned()),
        kind: Some(K::kind(&ty).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Same {
    component: &'static str,
    uid: String,
    name: String,
    reason: &'static str,
    severity: Severity,
    message: String,
}

struct Known {
    event: String,
    count: i32,
}

struct Allowance {
    left: f64,
    at: Timestamp,
}

impl Allowance {
    fn take(&mut self, now: Timestamp) -> bool {
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.left = (self.left + passed / REFILL_SECONDS).min(BURST);
        self.at = now;
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

/// Writes events to the API server.
pub(crate) struct Writer {
    client: Client,
    receiver: mpsc::Receiver<Told>,
    known: HashMap<Same, Known>,
    order: VecDeque<Same>,
    budgets: HashMap<(&'static str, String), Allowance>,
    written: u64,
}

impl Writer {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                told = self.receiver.recv() => {
                    let Some(told) = told else { return };
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.write(told) => {}
                    }
                }
            }
        }
    }

    async fn write(&mut self, told: Told) {
        let name = told.about.name.clone().unwrap_or_default();
        let uid = told.about.uid.clone().unwrap_or_default();
        if !self.allowed(told.component, &uid, told.at) {
            return;
        }
        let same = Same {
            component: told.component,
            uid,
            name,
            reason: told.reason,
            severity: told.severity,
            message: told.message.clone(),
        };
        let namespace = told
            .about
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if told.action.is_none()
            && let Some(known) = self.known.get_mut(&same)
        {
            known.count += 1;
            let patch =
                serde_json::json!({"count": known.count, "lastTimestamp": on_wire(told.at)});
            match api
                .patch(&known.event, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Ok(_) => return,
                Err(error) if code(&error) == 404 => drop(self.known.remove(&same)),
                Err(error) => {
                    debug!(%error, "an event was not counted");
                    return;
                }
            }
        }
        self.written += 1;
        let event = render(&told, &namespace, self.written);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => self.remember(same, event.metadata.name.unwrap_or_default()),
            Err(error) => debug!(%error, reason = told.reason, "an event was not written"),
        }
    }

    fn allowed(&mut self, component: &'static str, uid: &str, now: Timestamp) -> bool {
        if self.budgets.len() > REMEMBERED {
            // Objects that were not told about for long have a full allowance, which is what a new
            // entry has too.
            self.budgets.retain(|_, allowance| {
                now.duration_since(allowance.at).as_secs_f64() < REFILL_SECONDS
            });
        }
        if self.budgets.len() > REMEMBERED * 4 {
            self.budgets.clear();
        }
        self.budgets
            .entry((component, uid.to_owned()))
            .or_insert(Allowance {
                left: BURST,
                at: now,
            })
            .take(now)
    }

    fn remember(&mut self, same: Same, event: String) {
        if self
            .known
            .insert(same.clone(), Known { event, count: 1 })
            .is_none()
        {
            self.order.push_back(same);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

fn render(told: &Told, namespace: &str, number: u64) -> Event {
    let object = told.about.name.as_deref().unwrap_or_default();
    let stamp = u64::try_from(told.at.as_nanosecond())
        .unwrap_or_default()
        .wrapping_add(number);
    let severity = match told.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    let mut event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{object}.{stamp:x}")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: told.about.clone(),
        type_: Some(severity.to_owned()),
        reason: Some(told.reason.to_owned()),
        message: Some(told.message.clone()),
        reporting_component: Some(told.component.to_owned()),
        ..Event::default()
    };
    if let Some(action) = told.action {
        event.action = Some(action.to_owned());
        event.event_time = Some(MicroTime(told.at));
        event.reporting_instance = Some(format!("{}-exeunt", told.component));
    } else {
        event.source = Some(EventSource {
            component: Some(told.component.to_owned()),
            host: None,
        });
        event.first_timestamp = Some(on_wire(told.at));
        event.last_timestamp = Some(on_wire(told.at));
        event.count = Some(1);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_tells_too_much_about_one_object_is_silenced_and_heard_again_later() {
        let now = Timestamp::UNIX_EPOCH;
        let mut allowance = Allowance {
            left: BURST,
            at: now,
        };
        assert_eq!((0..40).filter(|_| allowance.take(now)).count(), 25);
        assert!(!allowance.take(crate::meta::after_seconds(now, 299)));
        assert!(allowance.take(crate::meta::after_seconds(now, 301)));
    }
}
