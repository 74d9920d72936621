//! Metrics, log lines, events and warnings about evictions.
//!
//! Nothing here decides, delays or fails a request. An eviction only increments counters and, if it
//! is refused, adds an entry to a bounded table. [`Registry::observe`] runs beside the requests,
//! watches the store and writes the events. Metrics are rendered when they are scraped.
//!
//! Data flow: `pod/eviction.rs` fills an [`Observation`] and passes it to [`Registry::observed`]
//! with
//! the answer; `counts` counts, `notices` collects the events that `tell` writes. `advice` checks a
//! budget that was just written. `render` renders the metrics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kinds::status::Status;
use store::{Compacted, Record, StoreEvent, Watch};
use tokio::time::Instant;

mod advice;
mod counts;
mod histogram;
mod notices;
mod outcome;
mod render;
mod tell;

use self::counts::Counts;
use self::histogram::Histogram;
use self::notices::Notices;
use self::outcome::Outcome;
use crate::Registry;
use crate::facts::{BudgetFacts, PodFacts};
use crate::key;
use crate::record;
use crate::request::Refusal;
use crate::resource::ResourceRef;
use crate::target::Target;

/// The most evicted pods whose end is awaited at the same time. The end of further ones is not
/// measured.
const MAX_LEAVING: usize = 50_000;

/// The upper bounds of the buckets of lags, in milliseconds.
const LAGS_MS: [u32; 13] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 10_000, 60_000,
];

/// What an eviction read. The eviction fills it in; it is evaluated with the answer.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    /// True when the eviction was a dry run.
    pub(crate) dry_run: bool,
    /// The pod, if it was found.
    pub(crate) pod: Option<Arc<Record>>,
    /// The budgets that select it.
    pub(crate) budgets: Vec<Arc<Record>>,
}

impl Observation {
    /// Returns the names of the budgets, joined by commas; mostly there is one.
    fn budget_names(&self) -> String {
        let names: Vec<&str> = self
            .budgets
            .iter()
            .map(|budget| key::namespace_and_name(&budget.key).1)
            .collect();
        names.join(",")
    }
}

/// The metrics and pending events of a registry.
#[derive(Debug)]
pub(crate) struct Observer {
    counts: Counts,
    to_gone: Histogram,
    status_lag: Histogram,
    ///  How far the status of budgets was behind their pods, as the disruption controller measures
    /// it.
    pod_lag: Histogram,
    /// The times at which evictions were granted whose pods still exist, by the uid of the pod.
    leaving: Mutex<HashMap<String, Instant>>,
    notices: Notices,
    /// True while [`Registry::observe`] runs. Otherwise nothing is collected that only it removes.
    following: AtomicBool,
}

impl Default for Observer {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            to_gone: Histogram::new(&[
                5, 50, 100, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 45_000, 60_000,
                120_000, 600_000,
            ]),
            status_lag: Histogram::new(&LAGS_MS),
            pod_lag: Histogram::new(&LAGS_MS),
            leaving: Mutex::default(),
            notices: Notices::default(),
            following: AtomicBool::new(false),
        }
    }
}

/// Ends the collection when the future of [`Registry::observe`] is dropped.
struct Following<'a>(&'a AtomicBool);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Registry {
    ///  Measures how long evicted pods take to end, and the status of budgets to follow its spec,
    /// and
    /// writes events about refused evictions if the options enable them. Runs until the store is
    /// closed. Requests are answered without it, too.
    pub async fn observe(&self) {
        let observer = self.observer();
        observer.following.store(true, Ordering::Relaxed);
        let _following = Following(&observer.following);
        tokio::select! {
            () = self.follow("", "pods", |event| observer.pod_changed(event)) => {}
            () = self.follow_budgets() => {}
            () = self.tell() => {}
        }
    }

    ///  Records how long the status of a budget lagged behind its pods. Only the disruption
    /// controller
    /// knows it: the store cannot see which change of a pod a status has counted.
    pub fn record_budget_status_lag(&self, lag: Duration) {
        self.observer().pod_lag.observe(lag);
    }

    ///  Counts and logs an eviction that has been answered; `refusal` is the answer if it was
    /// refused.
    pub(crate) fn observed(
        &self,
        target: &Target,
        observation: &Observation,
        refusal: Option<&Refusal>,
    ) {
        let observer = self.observer();
        let refused = refusal.map(|refusal| &*refusal.status);
        let outcome = outcome::of(observation, refused);
        let budget = observation.budget_names();
        // Requests for namespaces that do not exist get no series, or clients could create any
        // number of them.
        let known = observation.pod.is_some()
            || self
                .store()
                .get(&key::core("namespaces", "", &target.namespace))
                .is_some();
        let namespace = if known { target.namespace.as_str() } else { "" };
        observer
            .counts
            .count(namespace, &budget, outcome, Instant::now());
        tracing::info!(
            target: "eviction",
            user = %target.user.name,
            namespace = %target.namespace,
            pod = %target.name,
            uid = %observation.pod.as_deref().map_or("", uid_of),
            budget = %budget,
            outcome = outcome.name(),
            reason = %refused.map_or_else(String::new, reason),
            dry_run = observation.dry_run,
            "eviction answered"
        );
        match refused {
            None if outcome == Outcome::Allowed => self.await_end(target, observation),
            Some(refused) if outcome.is_blocked() && self.options().refusal_events => {
                observer.note_refusal(target, observation, refused)
            }
            _ => {}
        }
    }

    fn await_end(&self, target: &Target, observation: &Observation) {
        let observer = self.observer();
        let Some(pod) = observation
            .pod
            .as_deref()
            .filter(|_| observer.following.load(Ordering::Relaxed))
        else {
            return;
        };
        let uid = uid_of(pod);
        observer.leave(uid);
        // A pod that needs no grace period is gone already, and the watch may have seen its end
        // before it was awaited.
        if self
            .store()
            .get(&target.key())
            .is_none_or(|found| found.created != pod.created)
        {
            observer.gone(uid);
        }
    }

    async fn follow(&self, group: &str, plural: &str, mut see: impl FnMut(&StoreEvent)) {
        let Some(resource) = kinds::resource(group, "v1", plural) else {
            return;
        };
        while let Ok(mut watch) = self
            .store()
            .watch(&key::prefix(resource, ""), self.store().revision())
        {
            if ended(&mut watch, &mut see).await {
                return;
            }
        }
    }

    async fn follow_budgets(&self) {
        let mut behind = HashMap::new();
        self.follow("policy", "poddisruptionbudgets", |event| {
            self.observer().budget_changed(&mut behind, event)
        })
        .await;
    }
}

/// Passes on all events until the watch ends; returns false when it must be started again because
/// events were missed.
async fn ended(watch: &mut Watch, see: &mut impl FnMut(&StoreEvent)) -> bool {
    loop {
        match watch.next().await {
            None => return true,
            Some(Ok(events)) => events.iter().for_each(|event| see(event)),
            Some(Err(Compacted { .. })) => return false,
        }
    }
}

impl Observer {
    fn leave(&self, uid: &str) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        // A pod that is evicted again while it ends is measured from the first eviction.
        if leaving.len() < MAX_LEAVING && !leaving.contains_key(uid) {
            leaving.insert(uid.to_owned(), Instant::now());
        }
    }

    fn gone(&self, uid: &str) {
        let since = self
            .leaving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
        if let Some(since) = since {
            self.to_gone.observe(since.elapsed());
        }
    }

    fn pod_changed(&self, event: &StoreEvent) {
        if event.removed {
            self.gone(uid_of(event.previous.as_ref().unwrap_or(&event.record)));
        }
    }

    /// Measures how long the status of a budget lags behind its spec. `behind` holds the budgets
    /// whose status has not observed their spec yet, and since when.
    fn budget_changed(&self, behind: &mut HashMap<Arc<str>, Instant>, event: &StoreEvent) {
        let budget: Option<&BudgetFacts> =
            ResourceRef::built_in("policy", "v1", "poddisruptionbudgets")
                .and_then(|resource| record::facts(&resource, &event.record).of_kind());
        match budget {
            Some(budget) if !event.removed && !budget.state.observed => {
                behind
                    .entry(event.record.key.clone())
                    .or_insert_with(Instant::now);
            }
            _ => {
                let since = behind.remove(&event.record.key);
                if let Some(since) = since.filter(|_| !event.removed) {
                    self.status_lag.observe(since.elapsed());
                }
            }
        }
    }
}

/// Returns the uid of a pod; empty for a record of another kind.
fn uid_of(pod: &Record) -> &str {
    let facts: Option<&PodFacts> = ResourceRef::built_in("", "v1", "pods")
        .and_then(|pods| record::facts(&pods, pod).of_kind());
    facts.map_or("", |pod| &pod.uid)
}

/// Returns the reason of a refusal: the causes that name a budget, or the message.
fn reason(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes: Vec<&str> = causes
        .filter(|cause| cause.reason == "DisruptionBudget")
        .map(|cause| cause.message.as_str())
        .collect();
    if causes.is_empty() {
        status.message.clone()
    } else {
        causes.join("; ")
    }
}
