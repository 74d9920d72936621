//! The state of a drain: its nodes and pods, the budgets, and the next requests. Pure.
//!
//! Observations come in (watch events, responses, the time); [`DrainEvent`]s and [`DrainAction`]s
//! come out. Only the engine sends requests. One [`DrainState`] contains all nodes of a command, so
//! that nodes which share a budget take turns.
//!
//! `decide.rs` decides what to do next, `budget_tracker.rs` which pods to retry when a budget
//! changes, `counts.rs` how far the drain has come.

mod budget_tracker;
mod counts;
mod decide;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::event::DrainEvent;
use crate::evict::{EvictionFault, EvictionRefusal, EvictionResponse, PodRef};
use crate::pods;
use crate::progress::{DeadlineAction, PodOutcome, PodProgress};
use crate::surge::{SurgeResult, SurgedWorkload, can_surge};
use crate::termination::WaitCause;
use crate::tier::Tiers;
use budget_tracker::BudgetTracker;
pub use counts::{BudgetDelay, PodCounts};
pub use decide::DrainAction;

/// The longest wait before a refused eviction is retried while budgets are watched. The watch
/// usually triggers the retry earlier.
const RETRY_SECONDS: i64 = 15;
/// The wait before a refused eviction is retried when budgets cannot be watched: that of kubectl.
const UNWATCHED_RETRY_SECONDS: i64 = 5;

/// The options of a drain.
#[derive(Clone, Debug, Default)]
pub struct DrainOptions {
    /// The grace period in seconds, `None` for each pod's own.
    pub grace_seconds: Option<i64>,
    /// Delete pods instead of evicting them. Budgets do not apply to deletions.
    pub delete: bool,
    /// Send one dry-run request per pod and change nothing.
    pub dry_run: bool,
    /// Give a node up after this time, with kubectl's error.
    pub timeout: Option<Duration>,
    /// The time that one pod may take.
    pub pod_deadline: Option<Duration>,
    /// The time that one node may take.
    pub node_deadline: Option<Duration>,
    /// What to do when one of the deadlines has passed.
    pub on_deadline: DeadlineAction,
    /// Stop waiting for pods whose deletion deadline passed more than this many seconds ago; 0 is
    /// off.
    pub skip_after_seconds: u32,
    /// Which pods are evicted first and which last.
    pub tiers: Tiers,
    /// Scale single-replica workloads up before their pod is evicted.
    pub surge: bool,
}

/// One pod of the drain.
#[derive(Clone, Debug)]
pub struct PodEntry {
    /// The pod.
    pub target: PodRef,
    /// The node to whose drain it belongs.
    pub node: String,
    /// Its progress.
    pub progress: PodProgress,
    /// When its drain began.
    pub since: Timestamp,
    /// The number of eviction and deletion requests.
    pub requests: u32,
    /// The number of refusals.
    pub refusals: u32,
    /// The time of the first refusal.
    pub refused_since: Option<Timestamp>,
    /// When the server accepted its eviction or deletion.
    pub accepted_at: Option<Timestamp>,
    /// When its drain ended.
    pub ended_at: Option<Timestamp>,
    /// The budgets that have refused it (`NAMESPACE/NAME`).
    pub budgets: BTreeSet<String>,
    tier: usize,
    /// The newest observed version.
    pod: Pod,
    /// Consecutive failed requests.
    faults: u32,
    retry_now: bool,
    /// [`BudgetTracker::changes`] when the last request was sent.
    requested_at_change: u64,
    surge: Option<SurgedWorkload>,
    wants_surge: bool,
    deadline_reported: bool,
    deleted: bool,
    reported_cause: Option<WaitCause>,
    checked_at: Timestamp,
}

/// One node of the drain.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// Name of the node; `namespace/NAMESPACE` for pods that were named one by one.
    pub name: String,
    /// When its evictions began, `None` before that.
    pub since: Option<Timestamp>,
    /// How its drain ended, `None` before that.
    pub outcome: Option<NodeOutcome>,
    /// The newest observed version: `None` before the first observation, `Some(None)` when the node
    /// was deleted.
    object: Option<Option<Node>>,
}

/// How the drain of a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOutcome {
    /// The time of the end.
    pub at: Timestamp,
    /// Why the node is not drained, in kubectl's words. Empty when it is drained.
    pub errors: Vec<String>,
}

/// The state of a drain.
#[derive(Debug)]
pub struct DrainState {
    options: DrainOptions,
    pods: BTreeMap<String, PodEntry>,
    nodes: Vec<NodeEntry>,
    budgets: BudgetTracker,
    /// The watch of pods fails, so terminating pods are read one by one.
    pods_unwatched: bool,
    /// Workloads to scale back.
    to_restore: Vec<SurgedWorkload>,
    events: VecDeque<DrainEvent>,
}

impl DrainState {
    /// Creates the state of a drain of these nodes, in order.
    #[must_use]
    pub fn new(options: DrainOptions, nodes: Vec<String>) -> Self {
        let node = |name| NodeEntry {
            name,
            since: None,
            outcome: None,
            object: None,
        };
        Self {
            options,
            pods: BTreeMap::new(),
            nodes: nodes.into_iter().map(node).collect(),
            budgets: BudgetTracker::default(),
            pods_unwatched: false,
            to_restore: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Iterates over all pods of the drain.
    pub fn pods(&self) -> impl Iterator<Item = &PodEntry> {
        self.pods.values()
    }

    /// Returns all nodes of the drain, in order.
    #[must_use]
    pub fn nodes(&self) -> &[NodeEntry] {
        &self.nodes
    }

    /// Returns the options of the drain.
    #[must_use]
    pub fn options(&self) -> &DrainOptions {
        &self.options
    }

    /// Removes and returns the oldest event.
    pub fn next_event(&mut self) -> Option<DrainEvent> {
        self.events.pop_front()
    }

    /// Adds an event that the state does not derive itself.
    pub(crate) fn emit(&mut self, event: DrainEvent) {
        self.events.push_back(event);
    }

    /// Adds the pods of a node. Their evictions begin.
    pub fn start(&mut self, node: &str, pods: Vec<Pod>, now: Timestamp) {
        self.events.push_back(DrainEvent::Started {
            node: node.to_owned(),
            pods: pods.len(),
        });
        if let Some(entry) = self.node_mut(node) {
            entry.since = Some(now);
        }
        for pod in pods {
            let entry = PodEntry {
                target: PodRef::of(&pod),
                node: node.to_owned(),
                progress: PodProgress::Queued,
                since: now,
                requests: 0,
                refusals: 0,
                refused_since: None,
                accepted_at: None,
                ended_at: None,
                budgets: BTreeSet::new(),
                tier: self.options.tiers.of(&pod),
                wants_surge: self.options.surge && can_surge(&pod),
                pod,
                faults: 0,
                retry_now: false,
                requested_at_change: 0,
                surge: None,
                deadline_reported: false,
                deleted: false,
                reported_cause: None,
                checked_at: now,
            };
            self.pods.insert(entry.target.uid.clone(), entry);
        }
    }

    /// Ends the drain of a node with errors.
    pub fn fail(&mut self, node: &str, errors: Vec<String>, now: Timestamp) {
        if self
            .nodes
            .iter()
            .any(|entry| entry.name == node && entry.outcome.is_some())
        {
            return;
        }
        self.events.push_back(DrainEvent::NodeFailed {
            node: node.to_owned(),
            errors: errors.clone(),
            pending: Vec::new(),
        });
        if let Some(entry) = self.node_mut(node) {
            entry.outcome = Some(NodeOutcome { at: now, errors });
        }
    }

    fn node_mut(&mut self, name: &str) -> Option<&mut NodeEntry> {
        self.nodes.iter_mut().find(|node| node.name == name)
    }

    /// Records the newest version of a pod. Pods outside the drain are ignored.
    pub fn pod_observed(&mut self, pod: Pod, now: Timestamp) {
        let Some(entry) = pod
            .metadata
            .uid
            .as_ref()
            .and_then(|uid| self.pods.get_mut(uid))
        else {
            return;
        };
        entry.checked_at = now;
        // Readiness and labels decide which budget applies, so the server may answer differently.
        let differs = pods::is_ready(&pod) != pods::is_ready(&entry.pod)
            || pod.metadata.labels != entry.pod.metadata.labels;
        entry.retry_now |= differs;
        entry.pod = pod;
    }

    /// Records that a pod no longer exists.
    pub fn pod_deleted(&mut self, uid: &str, now: Timestamp) {
        self.end(uid, PodOutcome::Gone, now);
    }

    /// Records a complete list of a node's pods. Pods of the drain that are absent no longer exist.
    pub fn pods_listed(&mut self, node: &str, uids: &BTreeSet<String>, now: Timestamp) {
        let gone = self
            .pods
            .iter()
            .filter(|(uid, entry)| entry.node == node && !uids.contains(*uid))
            .map(|(uid, _)| uid.clone());
        for uid in gone.collect::<Vec<_>>() {
            self.pod_deleted(&uid, now);
        }
    }

    /// Records whether the watch of pods fails.
    pub fn set_pods_unwatched(&mut self, unwatched: bool) {
        self.pods_unwatched = unwatched;
    }

    /// Records that a pod could not be read. Network errors pass; missing rights fail the pod.
    pub fn check_failed(&mut self, uid: &str, error: &kube::Error, now: Timestamp) {
        if let kube::Error::Api(status) = error
            && matches!(status.code, 401 | 403)
        {
            self.end(
                uid,
                PodOutcome::Failed(format!(
                    "cannot read whether it still exists: {}",
                    status.message
                )),
                now,
            );
        }
    }

    /// Records the newest version of a node, `None` when it was deleted.
    pub fn node_observed(&mut self, name: &str, object: Option<Node>) {
        let Some(entry) = self.node_mut(name) else {
            return;
        };
        let was_deleted =
            object.is_none() && !matches!(entry.object, Some(None)) && entry.outcome.is_none();
        entry.object = Some(object);
        if was_deleted {
            self.events.push_back(DrainEvent::NodeDeleted {
                node: name.to_owned(),
            });
        }
    }

    /// Records the response to the request for a pod.
    pub fn responded(&mut self, uid: &str, response: EvictionResponse, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        if entry.progress != PodProgress::Requesting {
            return;
        }
        match response {
            EvictionResponse::Granted if self.options.dry_run => {
                self.end(uid, PodOutcome::WouldEvict, now)
            }
            EvictionResponse::Granted => self.accepted(uid, now),
            EvictionResponse::Gone => self.end(uid, PodOutcome::Gone, now),
            EvictionResponse::Fatal(why) => {
                let why = self.with_budgets(uid, why);
                self.end(uid, PodOutcome::Failed(why), now);
            }
            EvictionResponse::Refused(why) => self.refused(uid, why, now),
            EvictionResponse::Fault(fault) => self.failed(uid, fault, now),
        }
    }

    /// The pod is being deleted, by this drain or since before it.
    fn accepted(&mut self, uid: &str, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        let (was_requested, pod) = (
            entry.progress == PodProgress::Requesting,
            entry.target.clone(),
        );
        if was_requested {
            self.budgets.granted(entry);
        }
        entry.progress = PodProgress::Terminating;
        entry.accepted_at = Some(now);
        entry.checked_at = now;
        self.to_restore.extend(entry.surge.take());
        self.events.push_back(DrainEvent::Accepted { pod });
    }

    fn refused(&mut self, uid: &str, why: EvictionRefusal, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        let named: Vec<String> = why
            .budgets()
            .iter()
            .map(|name| format!("{}/{name}", entry.target.namespace))
            .collect();
        let budgets = if named.is_empty() && !why.causes.is_empty() {
            self.budgets.selecting(&entry.pod)
        } else {
            named
        };
        entry.faults = 0;
        entry.refusals += 1;
        entry.refused_since.get_or_insert(now);
        entry.budgets.extend(budgets.iter().cloned());
        let max_wait = if self.budgets.unwatched || budgets.is_empty() {
            UNWATCHED_RETRY_SECONDS
        } else {
            RETRY_SECONDS
        };
        let wanted = i64::from(why.retry_after_seconds);
        let retry_at = later(
            now,
            if wanted > 0 {
                wanted.min(max_wait)
            } else {
                max_wait
            },
        );
        let event = DrainEvent::Refused {
            pod: entry.target.clone(),
            why: why.clone(),
            budgets: budgets.clone(),
            times: entry.refusals,
        };
        if self.options.dry_run {
            let outcome =
                PodOutcome::NotEvicted(why.causes.first().unwrap_or(&why.message).clone());
            self.events.push_back(event);
            return self.end(uid, outcome, now);
        }
        entry.retry_now = self
            .budgets
            .freed_since(&budgets, entry.requested_at_change);
        entry.progress = PodProgress::Refused {
            why,
            budgets,
            retry_at,
        };
        self.events.push_back(event);
    }

    fn failed(&mut self, uid: &str, fault: EvictionFault, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        entry.faults += 1;
        let EvictionFault {
            class,
            message,
            retry_after_seconds,
        } = fault;
        if self.options.dry_run || class.max_tries().is_some_and(|tries| entry.faults >= tries) {
            let why = if entry.faults > 1 {
                format!("{message} ({} tries)", entry.faults)
            } else {
                message
            };
            return self.end(uid, PodOutcome::Failed(why), now);
        }
        let retry_seconds = class
            .pause_seconds(entry.faults)
            .max(i64::from(retry_after_seconds).min(30));
        let pod = entry.target.clone();
        entry.progress = PodProgress::Retrying {
            class,
            message: message.clone(),
            retry_at: later(now, retry_seconds),
        };
        self.events.push_back(DrainEvent::RequestFailed {
            pod,
            class,
            message,
            retry_seconds,
        });
    }

    /// Appends the names of the budgets to the server's message about several budgets, which names
    /// none.
    fn with_budgets(&self, uid: &str, why: String) -> String {
        let Some(entry) = self
            .pods
            .get(uid)
            .filter(|_| why.contains("more than one PodDisruptionBudget"))
        else {
            return why;
        };
        let budgets = self.budgets.selecting(&entry.pod);
        if budgets.is_empty() {
            why
        } else {
            format!("{why} (budgets: {})", budgets.join(", "))
        }
    }

    /// Records the result of scaling the pod's workload up.
    pub fn surged(&mut self, uid: &str, result: Result<SurgeResult, String>, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        entry.wants_surge = false;
        let is_waiting = entry.progress == PodProgress::Surging;
        if is_waiting && result.is_ok() {
            entry.progress = PodProgress::Queued;
        }
        match result {
            Ok(SurgeResult::NotNeeded) => {}
            Ok(SurgeResult::Declined(message)) => {
                self.events.push_back(DrainEvent::Warning { message })
            }
            Ok(SurgeResult::Ready(surge)) => {
                if is_waiting {
                    entry.surge = Some(surge.clone());
                } else {
                    self.to_restore.push(surge.clone());
                }
                let pod = entry.target.clone();
                self.events.push_back(DrainEvent::Surged {
                    pod,
                    workload: surge.describe(),
                });
                self.events.extend(
                    surge
                        .caveat()
                        .map(|message| DrainEvent::Warning { message }),
                );
            }
            Err(why) => self.end(uid, PodOutcome::Failed(why), now),
        }
    }

    /// Ends the drain of a pod.
    fn end(&mut self, uid: &str, outcome: PodOutcome, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        if matches!(entry.progress, PodProgress::Done { .. }) {
            return;
        }
        let pod = entry.target.clone();
        self.events.push_back(match &outcome {
            PodOutcome::Gone => DrainEvent::Gone {
                pod,
                deleted: entry.deleted || self.options.delete,
                seconds: now.duration_since(entry.since).as_secs_f64(),
            },
            PodOutcome::Skipped => DrainEvent::Skipped { pod },
            PodOutcome::WouldEvict => DrainEvent::WouldEvict { pod },
            PodOutcome::NotEvicted(why) => DrainEvent::NotEvicted {
                pod,
                why: why.clone(),
            },
            PodOutcome::Failed(why) => DrainEvent::Failed {
                pod,
                why: why.clone(),
            },
        });
        entry.ended_at = Some(now);
        entry.progress = PodProgress::Done { outcome };
        self.to_restore.extend(entry.surge.take());
    }
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    rules::after_seconds(now, seconds)
}

fn after(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| time.saturating_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}
