//! Metrics, log lines, events and warnings about evictions.
//!
//! This module does not decide, delay or fail requests. An eviction only increments counters and,
//! if it is refused, adds an entry to a bounded table. [`Registry::observe`] runs concurrently with
//! the requests: it watches the store and writes the events. Metrics are rendered when they are
//! scraped.
//!
//! Data flow: `pod/eviction.rs` fills an [`EvictionObservation`] and passes it to
//! [`Registry::observed`] with the answer. `counts` counts it. `pending` collects the events that
//! `events` writes. `advice` checks a budget that was just written. `render` renders the metrics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use kinds::status::Status;
use store::{Compacted, Record, StoreEvent, Watch};
use tokio::time::Instant;

mod advice;
mod counts;
mod events;
mod histogram;
mod outcome;
mod pending;
mod render;

use self::counts::Counts;
use self::histogram::Histogram;
use self::outcome::EvictionOutcome;
use self::pending::PendingRefusals;
use crate::Registry;
use crate::facts::{BudgetFacts, PodFacts};
use crate::key;
use crate::record;
use crate::request::Refusal;
use crate::resource::ResourceRef;
use crate::target::Target;

/// The maximum number of evicted pods whose removal is awaited at the same time. The removal of
/// further pods is not measured.
const MAX_AWAITED: usize = 50_000;

/// The upper bounds of the buckets of the lag histograms, in milliseconds.
const LAG_BOUNDS_MS: [u32; 13] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 10_000, 60_000,
];

/// The objects that an eviction read. The eviction fills it in and passes it to
/// [`Registry::observed`].
#[derive(Debug, Default)]
pub(crate) struct EvictionObservation {
    /// True when the eviction was a dry run.
    pub(crate) dry_run: bool,
    /// The pod, if it was found.
    pub(crate) pod: Option<Arc<Record>>,
    /// The budgets that select the pod.
    pub(crate) budgets: Vec<Arc<Record>>,
}

impl EvictionObservation {
    /// Returns the names of the budgets, separated by commas. Usually there is at most one.
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
    /// The time from a granted eviction to the removal of the pod.
    to_gone: Histogram,
    /// The time from a change of a budget's spec to the status that has observed it.
    status_lag: Histogram,
    /// The time from a change of a pod to the status of its budget, as measured by the disruption
    /// controller.
    pod_lag: Histogram,
    /// The pods that were evicted and still exist: the time of the eviction by the uid of the pod.
    awaited: Mutex<HashMap<String, Instant>>,
    pending: PendingRefusals,
    /// True while [`Registry::observe`] runs. While it does not, entries that only it removes are
    /// not collected.
    observing: AtomicBool,
}

impl Default for Observer {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            to_gone: Histogram::new(&[
                5, 50, 100, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 45_000, 60_000,
                120_000, 600_000,
            ]),
            status_lag: Histogram::new(&LAG_BOUNDS_MS),
            pod_lag: Histogram::new(&LAG_BOUNDS_MS),
            awaited: Mutex::default(),
            pending: PendingRefusals::default(),
            observing: AtomicBool::new(false),
        }
    }
}

/// Clears [`Observer::observing`] when the future of [`Registry::observe`] is dropped.
struct ObservingGuard<'a>(&'a AtomicBool);

impl Drop for ObservingGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Registry {
    /// Runs the observation of evictions until the store is closed.
    ///
    /// Measures the time from an eviction to the removal of the pod, and from a change of a
    /// budget's spec to its status. Writes events about refused evictions if the options enable
    /// them. Requests are answered whether or not this runs.
    pub fn observe(&self) -> BoxFuture<'_, ()> {
        // Boxed for the reason given in `Registry::call`.
        Box::pin(async {
            let observer = self.observer();
            observer.observing.store(true, Ordering::Relaxed);
            let _guard = ObservingGuard(&observer.observing);
            tokio::select! {
                () = self.follow("", "pods", |event| observer.pod_changed(event)) => {}
                () = self.follow_budgets() => {}
                () = self.write_refusal_events() => {}
            }
        })
    }

    /// Records how long the status of a budget lagged behind its pods.
    ///
    /// The disruption controller calls this: the store does not know which change of a pod a status
    /// has counted.
    pub fn record_budget_status_lag(&self, lag: Duration) {
        self.observer().pod_lag.observe(lag);
    }

    /// Counts and logs an answered eviction. `refusal` is the answer if the eviction was refused.
    pub(crate) fn observed(
        &self,
        target: &Target,
        observation: &EvictionObservation,
        refusal: Option<&Refusal>,
    ) {
        let observer = self.observer();
        let refused = refusal.map(|refusal| &*refusal.status);
        let outcome = outcome::of(observation, refused);
        let budget = observation.budget_names();
        // Requests for namespaces that do not exist get no series of their own. Otherwise clients
        // could create any number of series.
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
            None if outcome == EvictionOutcome::Allowed => self.await_removal(target, observation),
            Some(refused) if outcome.is_blocked() && self.options().refusal_events => {
                observer.record_refusal(target, observation, refused)
            }
            _ => {}
        }
    }

    /// Starts to measure the time until an evicted pod is removed.
    fn await_removal(&self, target: &Target, observation: &EvictionObservation) {
        let observer = self.observer();
        let Some(pod) = observation
            .pod
            .as_deref()
            .filter(|_| observer.observing.load(Ordering::Relaxed))
        else {
            return;
        };
        let uid = uid_of(pod);
        observer.evicted(uid);
        // A pod without a grace period is already removed, and the watch may have delivered that
        // event before this call.
        if self
            .store()
            .get(&target.key())
            .is_none_or(|found| found.created != pod.created)
        {
            observer.removed(uid);
        }
    }

    /// Watches a built-in kind in all namespaces and passes its events to `on_event`; `None` stands
    /// for events that were missed. Returns when the store is closed.
    async fn follow(
        &self,
        group: &str,
        plural: &str,
        mut on_event: impl FnMut(Option<&StoreEvent>),
    ) {
        let Some(resource) = kinds::resource(group, "v1", plural) else {
            return;
        };
        while let Ok(mut watch) = self
            .store()
            .watch(&key::prefix(resource, ""), self.store().revision())
        {
            if forward_events(&mut watch, &mut on_event).await {
                return;
            }
            on_event(None);
        }
    }

    async fn follow_budgets(&self) {
        let mut behind = HashMap::new();
        self.follow("policy", "poddisruptionbudgets", |event| match event {
            Some(event) => self.observer().budget_changed(&mut behind, event),
            // The status may have followed in one of the missed events.
            None => behind.clear(),
        })
        .await;
    }
}

/// Passes the events of a watch to `on_event` until the watch ends. Returns true when the store was
/// closed, and false when events were missed and the watch must be restarted.
async fn forward_events(watch: &mut Watch, on_event: &mut impl FnMut(Option<&StoreEvent>)) -> bool {
    loop {
        match watch.next().await {
            None => return true,
            Some(Ok(events)) => events.iter().for_each(|event| on_event(Some(event))),
            Some(Err(Compacted { .. })) => return false,
        }
    }
}

impl Observer {
    /// Records that the eviction of this pod was granted now.
    fn evicted(&self, uid: &str) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        // A pod that is evicted again during its termination is measured from the first eviction.
        if awaited.len() < MAX_AWAITED && !awaited.contains_key(uid) {
            awaited.insert(uid.to_owned(), Instant::now());
        }
    }

    /// Records that this pod was removed now. Ignores pods that were not evicted.
    fn removed(&self, uid: &str) {
        let since = self
            .awaited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
        if let Some(since) = since {
            self.to_gone.observe(since.elapsed());
        }
    }

    fn pod_changed(&self, event: Option<&StoreEvent>) {
        let Some(event) = event else {
            // The removals of these pods may be among the missed events.
            self.awaited
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            return;
        };
        if event.removed {
            self.removed(uid_of(event.previous.as_ref().unwrap_or(&event.record)));
        }
    }

    /// Measures how long the status of a budget lags behind its spec. `behind` maps the key of each
    /// budget whose status has not yet observed its spec to the time of that change.
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

/// Returns the uid of a pod, or an empty string if the record is not a pod.
fn uid_of(pod: &Record) -> &str {
    let facts: Option<&PodFacts> = ResourceRef::built_in("", "v1", "pods")
        .and_then(|pods| record::facts(&pods, pod).of_kind());
    facts.map_or("", |pod| &pod.uid)
}

/// Returns the reason of a refusal: the messages of its `DisruptionBudget` causes or, without such
/// causes, the message of the status.
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
