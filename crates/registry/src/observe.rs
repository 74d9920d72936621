//! What people learn about evictions beside the answer: figures, one log line each, events about
//! refusals, and warnings about budgets that cannot work.
//!
//! It must never decide, delay or fail a request. On the way of an eviction there are only counters
//! and, for a refusal, a note in a bounded table; [`Registry::observe`] runs beside the requests,
//! follows the store and writes the events. Figures are put together when somebody asks for them.
//!
//! Data flow: `pod/eviction.rs` fills a [`Sight`] while it works and hands it to
//! [`Registry::observed`] with the answer; `counts` counts, `notices` collects what `tell` writes.
//! `advice` looks at a budget that was just written. `render` prints.

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
use crate::key;
use crate::record::{self, More};
use crate::request::Refusal;
use crate::resource::ResourceRef;
use crate::target::Target;

/// Granted evictions whose pods are waited for at the same time; what goes beyond is not measured.
const MAX_LEAVING: usize = 50_000;

/// The buckets of lags.
const LAGS_MS: [u32; 13] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 10_000, 60_000,
];

/// What an eviction saw on its way. Filled in by the eviction, judged after its answer is known.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Nothing was to be stored.
    pub(crate) dry_run: bool,
    /// The pod, if it was found.
    pub(crate) pod: Option<Arc<Record>>,
    /// The budgets that select it.
    pub(crate) budgets: Vec<Arc<Record>>,
}

impl Sight {
    /// The names of the budgets, joined by commas; mostly it is one.
    fn budget_names(&self) -> String {
        let names: Vec<&str> = self
            .budgets
            .iter()
            .map(|budget| key::namespace_and_name(&budget.key).1)
            .collect();
        names.join(",")
    }
}

/// The memory of a registry for what it has observed.
#[derive(Debug)]
pub(crate) struct Observer {
    counts: Counts,
    to_gone: Histogram,
    status_lag: Histogram,
    /// How far the status of budgets was behind their pods, as the one who writes it tells.
    pod_lag: Histogram,
    /// When the evictions were granted whose pods are not gone, by the uid of the pod.
    leaving: Mutex<HashMap<String, Instant>>,
    notices: Notices,
    /// True while somebody follows the store; otherwise nothing is collected that only he takes
    /// out.
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

/// Ends the collecting when the one who follows the store is dropped.
struct Following<'a>(&'a AtomicBool);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Registry {
    /// Measures how long evicted pods and the status of budgets take, and writes the events about
    /// refused evictions if the options ask for them. Runs until the store is closed; nothing waits
    /// for it, and without it the registry answers the same.
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

    /// Takes note of how long the status of a budget lagged behind its pods. Whoever keeps the
    /// status knows; the store cannot tell which change of a pod a status has counted.
    pub fn budget_status_told(&self, lag: Duration) {
        self.observer().pod_lag.observe(lag);
    }

    /// Takes note of an eviction that has been answered; `refusal` is the answer if it was refused.
    pub(crate) fn observed(&self, target: &Target, sight: &Sight, refusal: Option<&Refusal>) {
        let observer = self.observer();
        let refused = refusal.map(|refusal| &*refusal.status);
        let outcome = outcome::of(sight, refused);
        let budget = sight.budget_names();
        // Anybody can ask for pods of namespaces that do not exist; those get no series.
        let known = sight.pod.is_some()
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
            uid = %sight.pod.as_deref().map_or("", uid_of),
            budget = %budget,
            outcome = outcome.name(),
            reason = %refused.map_or_else(String::new, reason),
            dry_run = sight.dry_run,
            "eviction answered"
        );
        match refused {
            None if outcome == Outcome::Allowed => self.await_end(target, sight),
            Some(refused) if outcome.is_blocked() && self.options().refusal_events => {
                observer.note_refusal(target, sight, refused)
            }
            _ => {}
        }
    }

    fn await_end(&self, target: &Target, sight: &Sight) {
        let observer = self.observer();
        let Some(pod) = sight
            .pod
            .as_deref()
            .filter(|_| observer.following.load(Ordering::Relaxed))
        else {
            return;
        };
        let uid = uid_of(pod);
        observer.leave(uid);
        // A pod that nothing has to stop is gone already, and its end may have been followed before
        // it was waited for.
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

/// Shows all events; false when some were missed and the watch has to begin anew.
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
        // Who evicts a pod again while it ends has been granted the same end.
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

    /// `behind` holds the budgets whose status does not know their spec yet, and since when.
    fn budget_changed(&self, behind: &mut HashMap<Arc<str>, Instant>, event: &StoreEvent) {
        let budget = ResourceRef::built_in("policy", "v1", "poddisruptionbudgets")
            .map(|resource| &record::facts(&resource, &event.record).more);
        match budget {
            Some(More::Budget(budget)) if !event.removed && !budget.state.observed => {
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

/// The uid of a pod; empty for a record that is none.
fn uid_of(pod: &Record) -> &str {
    match ResourceRef::built_in("", "v1", "pods").map(|pods| &record::facts(&pods, pod).more) {
        Some(More::Pod(facts)) => &facts.uid,
        _ => "",
    }
}

/// Why something was refused, as exactly as the answer says it.
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
