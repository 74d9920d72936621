//! Watches pods and budgets through the API, merges both streams in the order of their resource
//! versions, and passes them to the ledger.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clock::Clock;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::SignedDuration;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use testkit::safety::Ledger;
use tokio::task::JoinHandle;

/// The time that a controller may take to remove an expired `disruptedPods` entry.
const PATIENCE: SignedDuration = SignedDuration::from_secs(90);

/// An observed write: revision, kind, name, and the object unless it was deleted.
type Write = (u64, Kind, String, Option<Value>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pod,
    Budget,
}

/// The events of a watch.
#[derive(Debug, Default)]
struct WatchLog {
    writes: Vec<Write>,
    /// All events up to this revision have arrived.
    until: u64,
    fault: Option<String>,
}

type SharedLog = Arc<Mutex<WatchLog>>;

#[derive(Debug, Default)]
pub(crate) struct Observer {
    life: Option<Life>,
    /// The newest revision that any client has observed.
    newest: u64,
    charges: u64,
    statuses: u64,
    continued: u64,
    compacted: u64,
}

#[derive(Debug)]
struct Life {
    ledger: Ledger,
    clock: Clock,
    begin: jiff::Timestamp,
    pods: SharedLog,
    budgets: SharedLog,
    watches: Vec<JoinHandle<()>>,
}

impl Observer {
    /// Starts to watch a server that has just started.
    pub(crate) async fn begin(&mut self, client: &Client) {
        if self.newest > 0 {
            self.resume(client).await;
        }
        let clock = Clock::system();
        let (pods, pod_watch) = follow::<Pod>(client, Kind::Pod, self.newest).await;
        let (budgets, budget_watch) =
            follow::<PodDisruptionBudget>(client, Kind::Budget, self.newest).await;
        let watches = vec![pod_watch, budget_watch];
        self.life = Some(Life {
            ledger: Ledger::default(),
            begin: clock.now(),
            clock,
            pods,
            budgets,
            watches,
        });
    }

    /// Checks that a watch continues where the last one ended, or fails with 410.
    async fn resume(&mut self, client: &Client) {
        let api = Api::<Pod>::default_namespaced(client.clone());
        let stream = match api
            .watch(&WatchParams::default().timeout(5), &self.newest.to_string())
            .await
        {
            Ok(stream) => stream,
            Err(kube::Error::Api(status)) if status.code == 410 => {
                self.compacted += 1;
                return;
            }
            Err(error) => panic!("a watch from {} is refused: {error}", self.newest),
        };
        let mut stream = stream.boxed();
        match tokio::time::timeout(Duration::from_millis(300), stream.next()).await {
            Ok(Some(Ok(WatchEvent::Error(status)))) => {
                assert_eq!(status.code, 410, "a watch from {}: {status:?}", self.newest);
                self.compacted += 1;
            }
            Ok(Some(Ok(
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) | WatchEvent::Deleted(pod),
            ))) => {
                assert!(
                    revision(pod.resource_version()) > self.newest,
                    "a watch from {} goes back",
                    self.newest
                );
                self.continued += 1;
            }
            // No event has occurred since.
            Ok(Some(Ok(WatchEvent::Bookmark(_))) | None) | Err(_) => self.continued += 1,
            Ok(Some(Err(error))) => panic!("a watch from {} breaks: {error}", self.newest),
        }
    }

    /// Passes the events of both watches to the ledger.
    pub(crate) fn look(&mut self) {
        let Some(life) = &mut self.life else { return };
        self.newest = self.newest.max(life.judge());
    }

    /// Ends the watches of a server that has exited or is about to.
    pub(crate) async fn end(&mut self) {
        self.look();
        let Some(life) = self.life.take() else { return };
        for watch in life.watches {
            watch.abort();
            drop(watch.await);
        }
        let (charges, statuses) = life.ledger.counts();
        self.charges += charges;
        self.statuses += statuses;
    }

    pub(crate) fn counts(&self) -> String {
        format!(
            "{} charges and {} statuses checked, revision {}, watches continued {} times \
             and refused with 410 {} times",
            self.charges, self.statuses, self.newest, self.continued, self.compacted
        )
    }
}

impl Life {
    /// Returns the newest revision that was observed.
    fn judge(&mut self) -> u64 {
        let (mut pods, mut budgets) = (self.pods.lock().unwrap(), self.budgets.lock().unwrap());
        let until = pods.until.min(budgets.until);
        let newest = pods.until.max(budgets.until);
        let mut writes = take(&mut pods, until);
        writes.extend(take(&mut budgets, until));
        let faults: Vec<String> = [&mut pods, &mut budgets]
            .into_iter()
            .filter_map(|log| log.fault.take())
            .collect();
        drop((pods, budgets));
        assert!(faults.is_empty(), "{faults:#?}");
        writes.sort_by_key(|write| (write.0, write.1));
        self.ledger.at(self.clock.now());
        for (revision, kind, name, object) in writes {
            match kind {
                Kind::Pod => self.ledger.pod(revision, &name, object.as_ref()),
                Kind::Budget => self.ledger.budget(revision, &name, object.as_ref()),
            }
        }
        self.ledger.check_disrupted_pods(self.begin, PATIENCE);
        let violations = self.ledger.violations();
        assert!(violations.is_empty(), "{violations:#?}");
        newest
    }
}

fn take(log: &mut WatchLog, until: u64) -> Vec<Write> {
    let place = log
        .writes
        .partition_point(|(revision, ..)| *revision <= until);
    log.writes.drain(..place).collect()
}

/// Lists, and watches from there until the server exits.
async fn follow<K>(client: &Client, kind: Kind, newest: u64) -> (SharedLog, JoinHandle<()>)
where
    K: Resource<Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    K::DynamicType: Default,
{
    let api = Api::<K>::default_namespaced(client.clone());
    let list = api.list(&ListParams::default()).await.unwrap();
    let from = revision(list.metadata.resource_version);
    assert!(
        from >= newest,
        "the revision went back from {newest} to {from}"
    );
    let writes = list
        .items
        .iter()
        .map(|object| {
            (
                from,
                kind,
                object.name_any(),
                serde_json::to_value(object).ok(),
            )
        })
        .collect();
    let log = Arc::new(Mutex::new(WatchLog {
        writes,
        until: from,
        fault: None,
    }));
    let shared = Arc::clone(&log);
    let watch = tokio::spawn(async move {
        let mut from = from;
        loop {
            // The connection breaks when the server is killed.
            let Ok(stream) = api.watch(&WatchParams::default(), &from.to_string()).await else {
                return;
            };
            let mut stream = stream.boxed();
            while let Ok(Some(event)) = stream.try_next().await {
                match note(&shared, kind, event) {
                    Some(until) => from = until,
                    None => return,
                }
            }
        }
    });
    (log, watch)
}

/// Records an event; returns its revision if the watch continues.
fn note<K: Resource + Serialize>(log: &SharedLog, kind: Kind, event: WatchEvent<K>) -> Option<u64> {
    let mut log = log.lock().unwrap();
    let (object, removed) = match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
        WatchEvent::Deleted(object) => (object, true),
        WatchEvent::Bookmark(mark) => {
            log.until = log
                .until
                .max(revision(Some(mark.metadata.resource_version)));
            return Some(log.until);
        }
        WatchEvent::Error(status) => {
            log.fault = Some(format!("a watch of a running server ends with {status:?}"));
            return None;
        }
    };
    let at = revision(object.meta().resource_version.clone());
    if at <= log.until {
        log.fault = Some(format!(
            "revision {at} of {} comes after {}",
            object.name_any(),
            log.until
        ));
        return None;
    }
    log.until = at;
    let value = if removed {
        None
    } else {
        serde_json::to_value(&object).ok()
    };
    log.writes.push((at, kind, object.name_any(), value));
    Some(at)
}

fn revision(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
