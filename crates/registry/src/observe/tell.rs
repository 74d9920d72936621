//! Writes refusals as events on the pod and on the budgets that stood in its way.
//!
//! Events are made as any client makes them, after the eviction was answered; one that cannot be
//! written is forgotten, for example because its namespace is on its way out.

use bytes::Bytes;
use jiff::Timestamp;
use kinds::Tree;
use kinds::status::Status;
use kinds::tree::json;
use std::sync::Arc;
use store::Record;

use super::notices::{Subject, Telling};
use super::{Observation, Observer, reason};
use crate::key;
use crate::request::{
    Body, BodyForm, PatchKind, Refusal, Reply, Request, User, Verb, WriteOptions,
};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::{Registry, object, record};

/// The reason of the events.
const REASON: &str = "EvictionRefused";
/// Who reports them.
const REPORTER: &str = "exeunt";
/// Letters that make the name of an event one of its own.
const SUFFIX_LETTERS: usize = 8;
/// Names end here, so that the suffix fits.
const MAX_PREFIX_BYTES: usize = 240;

impl Observer {
    /// Takes note of a refusal for the events about the pod and about each budget.
    pub(super) fn note_refusal(
        &self,
        target: &Target,
        observation: &Observation,
        refused: &Status,
    ) {
        let Some(pod) = observation
            .pod
            .as_deref()
            .filter(|_| self.following.load(std::sync::atomic::Ordering::Relaxed))
        else {
            return;
        };
        let (user, now, why) = (&target.user.name, target.now, || why(observation, refused));
        // The revision tells objects apart that have the same name one after the other.
        let key = |record: &Record| format!("{}@{}", record.key, record.created);
        let of_pod = observation
            .budgets
            .iter()
            .fold(key(pod), |all, budget| format!("{all} {}", budget.key));
        self.notices.note(
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
            self.notices.note(
                key(budget),
                now,
                || subject("policy/v1", "PodDisruptionBudget", budget),
                text,
            );
        }
    }
}

/// The reason of the answer, and which budgets it is about where it does not name them.
fn why(observation: &Observation, refused: &Status) -> String {
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
    /// Writes what there is to tell, for ever.
    pub(super) async fn tell(&self) {
        loop {
            for telling in self.observer().notices.next().await {
                let written = self.write_event(&telling).await;
                if let Err(refusal) = &written {
                    tracing::debug!(subject = %telling.subject.name, %refusal,
                        "an event about a refused eviction was not written");
                }
                self.observer().notices.written(&telling.key, written.ok());
            }
        }
    }

    /// The name of the event that now tells it.
    async fn write_event(&self, telling: &Telling) -> Result<String, Refusal> {
        let namespace = &telling.subject.namespace;
        if let Some(name) = &telling.event {
            let patch = Bytes::from(progress(telling).to_string());
            let verb = Verb::Patch {
                kind: PatchKind::Merge,
                patch,
                options: options(),
            };
            match self.ask_as_system(namespace, name, verb).await {
                Ok(_) => return Ok(name.clone()),
                // Somebody has cleared the events away.
                Err(refusal) if refusal.status.code == 404 => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let name = event_name(
            &telling.subject.name,
            &self.entropy().suffix(SUFFIX_LETTERS),
        );
        let body = Body {
            bytes: Bytes::from(event(telling, &name).to_string()),
            form: BodyForm::Json,
        };
        self.ask_as_system(
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

    async fn ask_as_system(
        &self,
        namespace: &str,
        name: &str,
        verb: Verb,
    ) -> Result<Reply, Refusal> {
        let user = User {
            name: "system:apiserver".to_owned(),
            uid: String::new(),
            groups: vec!["system:masters".to_owned()],
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
        // On the heap: this future lies in that of the observer for as long as the server runs.
        Box::pin(self.call(request)).await
    }
}

fn options() -> WriteOptions {
    WriteOptions {
        field_manager: REPORTER.to_owned(),
        ..WriteOptions::default()
    }
}

fn event_name(subject: &str, suffix: &str) -> String {
    let cut = subject.len().min(MAX_PREFIX_BYTES);
    let prefix = subject
        .get(..cut)
        .unwrap_or_default()
        .trim_end_matches(['.', '-']);
    format!("{prefix}.{suffix}")
}

fn progress(telling: &Telling) -> Tree {
    json!({"count": telling.count, "lastTimestamp": wire(telling.last), "message": telling.message})
}

fn wire(moment: Timestamp) -> String {
    object::wire_time(moment)
}

/// The whole event.
fn event(telling: &Telling, name: &str) -> Tree {
    let Subject {
        api_version,
        kind,
        namespace,
        name: subject,
        uid,
    } = &telling.subject;
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"apiVersion": api_version, "kind": kind, "namespace": namespace,
            "name": subject, "uid": uid},
        "reason": REASON, "message": telling.message, "type": "Warning", "count": telling.count,
        "firstTimestamp": wire(telling.first), "lastTimestamp": wire(telling.last),
        "source": {"component": REPORTER}, "reportingComponent": REPORTER, "reportingInstance": "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_stay_names() {
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
