//! An event between its recorder and its writer.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};

/// The `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Something happened that was meant to happen.
    Normal,
    /// Something went wrong, or will.
    Warning,
}

impl EventType {
    /// The value of the field `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The component that emits an event, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EventOrigin {
    pub(crate) component: &'static str,
    /// The node, for components that run on one.
    pub(crate) host: Option<Arc<str>>,
}

/// An event that is not written yet.
#[derive(Clone, Debug)]
pub(crate) struct PendingEvent {
    pub(crate) source: EventOrigin,
    /// Set for events in the form of `events.k8s.io`.
    pub(crate) action: Option<&'static str>,
    pub(crate) involved: ObjectReference,
    pub(crate) event_type: EventType,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) at: Timestamp,
}

impl PendingEvent {
    /// The namespace in which the event is created. Events about cluster-wide objects go to
    /// `default`, as upstream's do.
    pub(crate) fn namespace(&self) -> &str {
        self.involved
            .namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or("default")
    }

    /// The event as an object with this name.
    pub(crate) fn to_object(&self, name: String) -> Event {
        let mut event = Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(self.namespace().to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: self.involved.clone(),
            type_: Some(self.event_type.as_str().to_owned()),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message.clone()),
            reporting_component: Some(self.source.component.to_owned()),
            ..Event::default()
        };
        let host = self.source.host.as_deref().map(str::to_owned);
        if let Some(action) = self.action {
            event.action = Some(action.to_owned());
            event.event_time = Some(MicroTime(self.at));
            // Validation demands an instance beside `eventTime`.
            let instance = host.unwrap_or_else(|| format!("{}-exeunt", self.source.component));
            event.reporting_instance = Some(instance);
        } else {
            event.reporting_instance.clone_from(&host);
            event.source = Some(EventSource {
                component: Some(self.source.component.to_owned()),
                host,
            });
            event.first_timestamp = Some(Time(clock::whole_seconds(self.at)));
            event.last_timestamp = event.first_timestamp.clone();
            event.count = Some(1);
        }
        event
    }
}
