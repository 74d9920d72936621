//! The side of the queue on which events happen.

use std::sync::Arc;

use clock::Clock;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::debug;

use crate::bucket::RateLimit;
use crate::pending::{EventOrigin, EventType, PendingEvent};
use crate::write::EventWriter;

/// How many events may wait for the writer. Further ones are dropped.
const QUEUE_LENGTH: usize = 4096;

/// Makes recorders that share one queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventBroadcaster {
    queue: mpsc::Sender<PendingEvent>,
    clock: Clock,
}

impl EventBroadcaster {
    /// Makes a broadcaster and the writer that sends its events, which has to be run. When the
    /// writer is dropped instead, recorded events vanish without a log line.
    ///
    /// `limit` bounds the events of all recorders together; none bounds only those of one source
    /// about one object.
    pub fn new(client: Client, clock: Clock, limit: Option<RateLimit>) -> (Self, EventWriter) {
        let (queue, events) = mpsc::channel(QUEUE_LENGTH);
        (
            Self { queue, clock },
            EventWriter::new(client, events, limit),
        )
    }

    /// A recorder for the events of one component, for example `deployment-controller`.
    #[must_use]
    pub fn recorder(&self, component: &'static str) -> EventRecorder {
        EventRecorder {
            broadcaster: self.clone(),
            source: EventOrigin {
                component,
                host: None,
            },
        }
    }
}

/// Records events in the name of one component. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventRecorder {
    broadcaster: EventBroadcaster,
    source: EventOrigin,
}

impl EventRecorder {
    /// A recorder for the events of this component on one node.
    #[must_use]
    pub fn on_host(&self, host: Arc<str>) -> Self {
        let mut recorder = self.clone();
        recorder.source.host = Some(host);
        recorder
    }

    /// Records an event about an object. Never waits.
    pub fn event<K>(
        &self,
        object: &K,
        event_type: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) where
        K: Resource,
        K::DynamicType: Default,
    {
        self.event_about(reference(object), event_type, reason, message);
    }

    /// Records an event about whatever `involved` names, for example one container of a pod. Never
    /// waits.
    pub fn event_about(
        &self,
        involved: ObjectReference,
        event_type: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.enqueue(involved, None, event_type, reason, message.into());
    }

    /// Records an event in the form of `events.k8s.io`: it names the action, carries `eventTime`,
    /// and repetitions are objects of their own. The scheduler does this. Never waits.
    pub fn event_with_action<K>(
        &self,
        object: &K,
        action: &'static str,
        event_type: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) where
        K: Resource,
        K::DynamicType: Default,
    {
        let involved = reference(object);
        self.enqueue(involved, Some(action), event_type, reason, message.into());
    }

    fn enqueue(
        &self,
        involved: ObjectReference,
        action: Option<&'static str>,
        event_type: EventType,
        reason: &'static str,
        message: String,
    ) {
        let event = PendingEvent {
            source: self.source.clone(),
            action,
            involved,
            event_type,
            reason,
            message,
            at: self.broadcaster.clock.now(),
        };
        if let Err(TrySendError::Full(event)) = self.broadcaster.queue.try_send(event) {
            debug!(reason = event.reason, "event dropped: queue full");
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
