//! Writes refused evictions as events on the pod and on the budgets that refused them.
//!
//! Events are created through the same path as those of clients, after the eviction was answered.
//! An event that cannot be written is dropped, for example because its namespace is being deleted.

use bytes::Bytes;
use jiff::Timestamp;
use kinds::Tree;
use kinds::status::Status;
use kinds::tree::json;
use std::sync::Arc;
use store::Record;

use super::pending::{RefusalEvent, Subject};
use super::{EvictionObservation, Observer, reason};
use crate::key;
use crate::request::{
    BodyForm, PatchKind, Refusal, Reply, Request, RequestBody, User, Verb, WriteOptions,
};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::{Registry, object, record};

/// The `reason` of the events.
const REASON: &str = "EvictionRefused";
/// The component that reports the events.
const REPORTER: &str = "exeunt";
/// The number of random characters at the end of an event's name.
const SUFFIX_CHARACTERS: usize = 8;
/// The maximum length of an event's name before its suffix, in bytes.
const MAX_PREFIX_BYTES: usize = 240;

impl Observer {
    /// Records a refusal for the events about the pod and about each budget. Does nothing if the
    /// pod was not found or [`Registry::observe`] does not run.
    pub(super) fn record_refusal(
        &self,
        target: &Target,
        observation: &EvictionObservation,
        refused: &Status,
    ) {
        let Some(pod) = observation
            .pod
            .as_deref()
            .filter(|_| self.observing.load(std::sync::atomic::Ordering::Relaxed))
        else {
            return;
        };
        let (user, now, why) = (&target.user.name, target.now, || why(observation, refused));
        // The revision distinguishes an object from an earlier one with the same name.
        let key = |record: &Record| format!("{}@{}", record.key, record.created);
        let of_pod = observation
            .budgets
            .iter()
            .fold(key(pod), |all, budget| format!("{all} {}", budget.key));
        self.pending.record(
            of_pod,
            now,
            || subject("v1", "Pod", pod),
            || format!("Eviction requested by {user} was refused: {}", why()),
        );
        for budget in &observation.budgets {
            let text = || {
                format!(
                    "Eviction of pod {} requested by {user} was refused: {}",
                    target.name,
                    why()
                )
            };
            self.pending.record(
                key(budget),
                now,
                || subject("policy/v1", "PodDisruptionBudget", budget),
                text,
            );
        }
    }
}

/// Returns the reason of the refusal. Adds the names of the budgets if there is more than one,
/// because the answer does not name them then.
fn why(observation: &EvictionObservation, refused: &Status) -> String {
    let reason = reason(refused);
    if observation.budgets.len() < 2 {
        reason
    } else {
        format!(
            "{reason} ({})",
            observation.budget_names().replace(',', ", ")
        )
    }
}

fn subject(api_version: &'static str, kind: &'static str, record: &Record) -> Subject {
    let (namespace, name) = key::namespace_and_name(&record.key);
    let uid = object::meta_text(&record::parse(&record.value), "uid").to_owned();
    Subject {
        api_version,
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid,
    }
}

impl Registry {
    /// Writes pending events as they become due. Never returns.
    pub(super) async fn write_refusal_events(&self) {
        loop {
            for event in self.observer().pending.next().await {
                let written = self.write_event(&event).await;
                if let Err(refusal) = &written {
                    tracing::debug!(subject = %event.subject.name, %refusal,
                        "cannot write the event about a refused eviction");
                }
                self.observer().pending.written(&event.key, written.ok());
            }
        }
    }

    /// Updates the event object, or creates it if it was not written before or no longer exists.
    /// Returns its name.
    async fn write_event(&self, event: &RefusalEvent) -> Result<String, Refusal> {
        let namespace = &event.subject.namespace;
        if let Some(name) = &event.event_name {
            let patch = Bytes::from(render_progress(event).to_string());
            let verb = Verb::Patch {
                kind: PatchKind::Merge,
                patch,
                options: options(),
            };
            match self.call_as_system(namespace, name, verb).await {
                Ok(_) => return Ok(name.clone()),
                // The event was deleted in the meantime.
                Err(refusal) if refusal.status.code == 404 => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let name = event_name(
            &event.subject.name,
            &self.entropy().suffix(SUFFIX_CHARACTERS),
        );
        let body = RequestBody {
            bytes: Bytes::from(render_event(event, &name).to_string()),
            form: BodyForm::Json,
        };
        self.call_as_system(
            namespace,
            "",
            Verb::Create {
                body,
                options: options(),
            },
        )
        .await?;
        Ok(name)
    }

    async fn call_as_system(
        &self,
        namespace: &str,
        name: &str,
        verb: Verb,
    ) -> Result<Reply, Refusal> {
        let user = User {
            name: "system:apiserver".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..User::default()
        };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let events =
            ResourceRef::built_in("", "v1", "events").ok_or_else(Status::no_such_resource)?;
        let request = Request {
            user: Arc::new(user),
            resource: events,
            subresource: None,
            namespace,
            name,
            verb,
        };
        // Boxed because this future is part of the observer's, which lives as long as the server.
        self.call(request).await
    }
}

fn options() -> WriteOptions {
    WriteOptions {
        field_manager: REPORTER.to_owned(),
        ..WriteOptions::default()
    }
}

/// Returns the name of an event: the subject, cut to [`MAX_PREFIX_BYTES`], a dot and the suffix.
fn event_name(subject: &str, suffix: &str) -> String {
    let cut = subject.len().min(MAX_PREFIX_BYTES);
    let prefix = subject
        .get(..cut)
        .unwrap_or_default()
        .trim_end_matches(['.', '-']);
    format!("{prefix}.{suffix}")
}

/// Renders the patch that updates an event.
fn render_progress(event: &RefusalEvent) -> Tree {
    json!({"count": event.count, "lastTimestamp": wire(event.last), "message": event.message})
}

fn wire(time: Timestamp) -> String {
    object::wire_time(time)
}

/// Renders the event object with this name.
fn render_event(event: &RefusalEvent, name: &str) -> Tree {
    let Subject {
        api_version,
        kind,
        namespace,
        name: subject,
        uid,
    } = &event.subject;
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"apiVersion": api_version, "kind": kind, "namespace": namespace,
            "name": subject, "uid": uid},
        "reason": REASON, "message": event.message, "type": "Warning", "count": event.count,
        "firstTimestamp": wire(event.first), "lastTimestamp": wire(event.last),
        "source": {"component": REPORTER}, "reportingComponent": REPORTER, "reportingInstance": "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_have_a_bounded_length() {
        for (subject, expected) in [
            ("web-1", "web-1.x"),
            (&*"a".repeat(300), &*format!("{}.x", "a".repeat(240))),
        ] {
            assert_eq!(event_name(subject, "x"), expected);
        }
        assert_eq!(
            event_name(&format!("{}.b", "a".repeat(239)), "x"),
            format!("{}.x", "a".repeat(239))
        );
    }
}
