//! The state of a whole drain: nodes, pods and budgets, and what to do next about them. Pure.
//!
//! Facts come in (watches, answers, the time), [`Event`]s and [`Action`]s go out; requests are made
//! by the engine and nowhere else. One board holds all nodes of a command, so that pods of several
//! nodes take turns at a budget which they share.
//!
//! `decide` says what is to be done, `budgets` who is worth another try when a budget changes,
//! `tally` how far it has come.

mod budgets;
mod decide;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::event::Event;
use crate::evict::{Answer, Fault, Refused, Target};
use crate::health;
use crate::leaving::Cause;
use crate::stage::{End, OnDeadline, Stage};
use crate::surge::{Raised, Surge, may_be_raised};
use crate::tier::Tiers;
use budgets::Budgets;
pub use decide::Action;
pub use tally::{Hold, Tally};

/// How long a refused eviction waits at the most when budgets are watched: the watch tells sooner.
const RETRY_SECONDS: i64 = 15;
/// The same when they cannot be watched: as kubectl does.
const BLIND_RETRY_SECONDS: i64 = 5;

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What pods get to end; none is what they ask for themselves.
    pub grace_seconds: Option<i64>,
    /// Delete instead of evict.
    pub delete: bool,
    /// Ask the server what it would answer, once for each pod.
    pub dry_run: bool,
    /// Give up a node, failing, after so long.
    pub timeout: Option<Duration>,
    /// How long one pod may take.
    pub pod_deadline: Option<Duration>,
    /// How long one node may take.
    pub node_deadline: Option<Duration>,
    /// What happens then.
    pub on_deadline: OnDeadline,
    /// Pods that should have been gone for more than so many seconds are not waited for; 0 is off.
    pub skip_after_seconds: u32,
    /// What goes first and what goes last.
    pub tiers: Tiers,
    /// Start a second replica of single-replica Deployments first.
    pub surge: bool,
}

/// One pod of the drain.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which pod.
    pub target: Target,
    /// The node of whose drain it is part.
    pub node: String,
    /// Where it stands.
    pub stage: Stage,
    /// When its drain began.
    pub since: Timestamp,
    /// How often it was asked for.
    pub asked: u32,
    /// How often it was refused.
    pub refusals: u32,
    /// Since when it is refused.
    pub refused_since: Option<Timestamp>,
    /// When it was accepted.
    pub accepted_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The budgets that have refused it (`namespace/name`).
    pub budgets: BTreeSet<String>,
    tier: usize,
    /// As it was last seen.
    pod: Pod,
    faults: u32,
    chance: bool,
    /// The count of budget changes when it was last asked for.
    asked_at_change: u64,
    surge: Option<Surge>,
    wants_surge: bool,
    told_overdue: bool,
    deleted: bool,
    told_cause: Option<Cause>,
    looked_at: Timestamp,
}

/// One node of the drain.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// Its name; empty for pods that were named one by one.
    pub name: String,
    /// When its pods began to go; none before.
    pub since: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// As it was last seen; an inner none when it is gone.
    object: Option<Option<Node>>,
}

/// How the drain of a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// What kept it from being drained, in words; empty when it is.
    pub errors: Vec<String>,
}

/// The state of a drain.
#[derive(Debug)]
pub struct Board {
    policy: Policy,
    pods: BTreeMap<String, Entry>,
    nodes: Vec<NodeEntry>,
    budgets: Budgets,
    /// The watch of pods does not work: pods are looked at one by one.
    pods_blind: bool,
    /// Surges whose workload is to be scaled back.
    to_restore: Vec<Surge>,
    events: VecDeque<Event>,
}

impl Board {
    /// A board for these nodes, in order.
    #[must_use]
    pub fn new(policy: Policy, nodes: Vec<String>) -> Self {
        let node = |name| NodeEntry {
            name,
            since: None,
            outcome: None,
            object: None,
        };
        Self {
            policy,
            pods: BTreeMap::new(),
            nodes: nodes.into_iter().map(node).collect(),
            budgets: Budgets::default(),
            pods_blind: false,
            to_restore: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// All pods of the drain.
    pub fn pods(&self) -> impl Iterator<Item = &Entry> {
        self.pods.values()
    }

    /// All nodes of the drain, in order.
    #[must_use]
    pub fn nodes(&self) -> &[NodeEntry] {
        &self.nodes
    }

    /// What was asked for.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The next thing to tell.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Something to tell that the board has not found out itself.
    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// The pods of a node begin to go.
    pub fn start(&mut self, node: &str, pods: Vec<Pod>, now: Timestamp) {
        self.events.push_back(Event::Started {
            node: node.to_owned(),
            pods: pods.len(),
        });
        if let Some(entry) = self.node_mut(node) {
            entry.since = Some(now);
        }
        for pod in pods {
            let entry = Entry {
                target: Target::of(&pod),
                node: node.to_owned(),
                stage: Stage::Queued,
                since: now,
                asked: 0,
                refusals: 0,
                refused_since: None,
                accepted_at: None,
                ended_at: None,
                budgets: BTreeSet::new(),
                tier: self.policy.tiers.of(&pod),
                wants_surge: self.policy.surge && may_be_raised(&pod),
                pod,
                faults: 0,
                chance: false,
                asked_at_change: 0,
                surge: None,
                told_overdue: false,
                deleted: false,
                told_cause: None,
                looked_at: now,
            };
            self.pods.insert(entry.target.uid.clone(), entry);
        }
    }

    /// The node cannot be drained.
    pub fn fail(&mut self, node: &str, errors: Vec<String>, now: Timestamp) {
        if self
            .nodes
            .iter()
            .any(|entry| entry.name == node && entry.outcome.is_some())
        {
            return;
        }
        self.events.push_back(Event::NodeFailed {
            node: node.to_owned(),
            errors: errors.clone(),
            pending: Vec::new(),
        });
        if let Some(entry) = self.node_mut(node) {
            entry.outcome = Some(Outcome { at: now, errors });
        }
    }

    fn node_mut(&mut self, name: &str) -> Option<&mut NodeEntry> {
        self.nodes.iter_mut().find(|node| node.name == name)
    }

    /// A pod was seen; none of other pods than those of the drain matter.
    pub fn pod_seen(&mut self, pod: Pod, now: Timestamp) {
        let Some(entry) = pod
            .metadata
            .uid
            .as_ref()
            .and_then(|uid| self.pods.get_mut(uid))
        else {
            return;
        };
        entry.looked_at = now;
        // What decides about its eviction has changed: the next answer may be another one.
        let differs = health::is_ready(&pod) != health::is_ready(&entry.pod)
            || pod.metadata.labels != entry.pod.metadata.labels;
        entry.chance |= differs;
        entry.pod = pod;
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, uid: &str, now: Timestamp) {
        self.end(uid, End::Gone, now);
    }

    /// A whole list of a node's pods: those of the drain that are not in it are gone.
    pub fn pods_listed(&mut self, node: &str, uids: &BTreeSet<String>, now: Timestamp) {
        let gone = self
            .pods
            .iter()
            .filter(|(uid, entry)| entry.node == node && !uids.contains(*uid))
            .map(|(uid, _)| uid.clone());
        for uid in gone.collect::<Vec<_>>() {
            self.pod_gone(&uid, now);
        }
    }

    /// The watch of pods works, or it does not.
    pub fn pods_blind(&mut self, blind: bool) {
        self.pods_blind = blind;
    }

    /// The server would not say whether a pod is still there. Trouble of the network passes; a
    /// refusal does not.
    pub fn cannot_look(&mut self, uid: &str, error: &kube::Error, now: Timestamp) {
        if let kube::Error::Api(status) = error
            && matches!(status.code, 401 | 403)
        {
            self.end(
                uid,
                End::Failed(format!(
                    "cannot tell whether it is gone: {}",
                    status.message
                )),
                now,
            );
        }
    }

    /// A node was seen, or it is gone.
    pub fn node_seen(&mut self, name: &str, object: Option<Node>) {
        let Some(entry) = self.node_mut(name) else {
            return;
        };
        let vanished =
            object.is_none() && !matches!(entry.object, Some(None)) && entry.outcome.is_none();
        entry.object = Some(object);
        if vanished {
            self.events.push_back(Event::NodeVanished {
                node: name.to_owned(),
            });
        }
    }

    /// The server has answered about a pod.
    pub fn answered(&mut self, uid: &str, answer: Answer, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        if entry.stage != Stage::Asking {
            return;
        }
        match answer {
            Answer::Granted if self.policy.dry_run => self.end(uid, End::Would, now),
            Answer::Granted => self.accepted(uid, now),
            Answer::Gone => self.end(uid, End::Gone, now),
            Answer::Fatal(why) => {
                let why = self.with_budgets(uid, why);
                self.end(uid, End::Failed(why), now);
            }
            Answer::Refused(why) => self.refused(uid, why, now),
            Answer::Fault(fault) => self.faulty(uid, fault, now),
        }
    }

    /// The pod has been told to go, or was so before.
    fn accepted(&mut self, uid: &str, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        let (was_asked, pod) = (entry.stage == Stage::Asking, entry.target.clone());
        if was_asked {
            self.budgets.granted(entry);
        }
        entry.stage = Stage::Leaving;
        entry.accepted_at = Some(now);
        entry.looked_at = now;
        self.to_restore.extend(entry.surge.take());
        self.events.push_back(Event::Accepted { pod });
    }

    fn refused(&mut self, uid: &str, why: Refused, now: Timestamp) {
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
        let patience = if self.budgets.blind || budgets.is_empty() {
            BLIND_RETRY_SECONDS
        } else {
            RETRY_SECONDS
        };
        let wanted = i64::from(why.retry_after_seconds);
        let retry_at = later(
            now,
            if wanted > 0 {
                wanted.min(patience)
            } else {
                patience
            },
        );
        let event = Event::Refused {
            pod: entry.target.clone(),
            why: why.clone(),
            budgets: budgets.clone(),
            times: entry.refusals,
        };
        if self.policy.dry_run {
            let end = End::Left(why.causes.first().unwrap_or(&why.message).clone());
            self.events.push_back(event);
            return self.end(uid, end, now);
        }
        entry.chance = self.budgets.freed_since(&budgets, entry.asked_at_change);
        entry.stage = Stage::Refused {
            why,
            budgets,
            retry_at,
        };
        self.events.push_back(event);
    }

    fn faulty(&mut self, uid: &str, fault: Fault, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        entry.faults += 1;
        let Fault {
            class,
            message,
            retry_after_seconds,
        } = fault;
        if self.policy.dry_run || class.tries().is_some_and(|tries| entry.faults >= tries) {
            let why = if entry.faults > 1 {
                format!("{message} ({} tries)", entry.faults)
            } else {
                message
            };
            return self.end(uid, End::Failed(why), now);
        }
        let retry_seconds = class
            .pause_seconds(entry.faults)
            .max(i64::from(retry_after_seconds).min(30));
        let pod = entry.target.clone();
        entry.stage = Stage::Faulty {
            class,
            message: message.clone(),
            retry_at: later(now, retry_seconds),
        };
        self.events.push_back(Event::Faulty {
            pod,
            class,
            message,
            retry_seconds,
        });
    }

    /// The server does not say which budgets it means when there are several.
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

    /// Another replica is ready, or not needed, or could not be had.
    pub fn surged(&mut self, uid: &str, surged: Result<Raised, String>, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        entry.wants_surge = false;
        let waits = entry.stage == Stage::Surging;
        if waits && surged.is_ok() {
            entry.stage = Stage::Queued;
        }
        match surged {
            Ok(Raised::Needless) => {}
            Ok(Raised::Unwise(message)) => self.events.push_back(Event::Warning { message }),
            Ok(Raised::Ready(surge)) => {
                if waits {
                    entry.surge = Some(surge.clone());
                } else {
                    self.to_restore.push(surge.clone());
                }
                let pod = entry.target.clone();
                self.events.push_back(Event::Surged {
                    pod,
                    workload: surge.told(),
                });
                self.events
                    .extend(surge.caveat().map(|message| Event::Warning { message }));
            }
            Err(why) => self.end(uid, End::Failed(why), now),
        }
    }

    /// The drain of a pod is over.
    fn end(&mut self, uid: &str, end: End, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        if matches!(entry.stage, Stage::Done { .. }) {
            return;
        }
        let pod = entry.target.clone();
        self.events.push_back(match &end {
            End::Gone => Event::Gone {
                pod,
                deleted: entry.deleted || self.policy.delete,
                seconds: now.duration_since(entry.since).as_secs_f64(),
            },
            End::Skipped => Event::Skipped { pod },
            End::Would => Event::Would { pod },
            End::Left(why) => Event::Left {
                pod,
                why: why.clone(),
            },
            End::Failed(why) => Event::Failed {
                pod,
                why: why.clone(),
            },
        });
        entry.ended_at = Some(now);
        entry.stage = Stage::Done { end };
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
