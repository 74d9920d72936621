//! What to do next about all pods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{Board, Entry, Outcome, after, later};
use crate::event::Event;
use crate::evict::Target;
use crate::health;
use crate::leaving::{self, Cause};
use crate::stage::{End, Facts, Stage, Step, next};
use crate::surge::Surge;

/// Requests about pods under way at the same time: enough to be bound by the budgets and not by
/// the network, and few enough not to crowd out others at the server.
const IN_FLIGHT: usize = 32;
/// How often a leaving pod is looked at when the watch works: in case that it is silent.
const LOOK_SECONDS: i64 = 30;
/// The same when it does not.
const BLIND_LOOK_SECONDS: i64 = 2;
/// A node agent may take so long to report the end of a pod before it counts as late.
const LATE_SECONDS: i64 = 2;

/// A request to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Evict the pod.
    Evict(Target),
    /// Delete it.
    Delete(Target),
    /// See whether it is still there.
    Look(Target),
    /// Start another replica of its workload; the node is the one that is drained.
    Surge(Box<Pod>, String),
    /// Scale the workload back.
    Restore(Surge),
}

impl Board {
    /// What to do now, and when something can happen by itself.
    pub fn decide(&mut self, now: Timestamp) -> (Vec<Action>, Option<Timestamp>) {
        let mut actions: Vec<Action> = std::mem::take(&mut self.to_restore)
            .into_iter()
            .map(Action::Restore)
            .collect();
        let mut wake: Option<Timestamp> = None;
        let tiers = self.open_tiers();
        let mut room = IN_FLIGHT.saturating_sub(
            self.pods
                .values()
                .filter(|entry| entry.stage == Stage::Asking)
                .count(),
        );
        let open = self
            .pods
            .values()
            .filter(|entry| !matches!(entry.stage, Stage::Done { .. }));
        // By name, so that a drain goes the same way when it is repeated.
        let mut targets: Vec<Target> = open.map(|entry| entry.target.clone()).collect();
        targets.sort();
        for Target { uid, .. } in targets {
            // One step may lead to the next at once; a few are the most that can follow each other.
            for _ in 0..4 {
                let Some(entry) = self.pods.get(&uid) else {
                    break;
                };
                let open = tiers
                    .get(&entry.node)
                    .is_some_and(|tier| entry.tier <= *tier);
                let facts = self.facts(entry, open && room > 0, now);
                let step = next(&entry.stage, &facts);
                if let Step::Wait(at) = step {
                    let look = self.look(&uid, &mut actions, now);
                    wake = [wake, at, look].into_iter().flatten().min();
                    break;
                }
                if matches!(step, Step::Ask | Step::Delete) {
                    room = room.saturating_sub(1);
                }
                actions.extend(self.take(&uid, step, now));
            }
        }
        // What ended above may have freed workloads.
        actions.extend(
            std::mem::take(&mut self.to_restore)
                .into_iter()
                .map(Action::Restore),
        );
        self.close_nodes(now);
        (actions, wake)
    }

    /// For each node the tier whose pods may go.
    fn open_tiers(&self) -> BTreeMap<String, usize> {
        let mut tiers = BTreeMap::new();
        for entry in self
            .pods
            .values()
            .filter(|entry| !matches!(entry.stage, Stage::Done { .. }))
        {
            let tier = tiers.entry(entry.node.clone()).or_insert(entry.tier);
            *tier = entry.tier.min(*tier);
        }
        tiers
    }

    fn facts(&self, entry: &Entry, may_ask: bool, now: Timestamp) -> Facts {
        let policy = &self.policy;
        let node_since = self
            .nodes
            .iter()
            .find(|node| node.name == entry.node)
            .and_then(|node| node.since)
            .unwrap_or(entry.since);
        let due = entry
            .pod
            .metadata
            .deletion_timestamp
            .as_ref()
            .map(|time| time.0);
        let deadlines = [
            policy.pod_deadline.map(|limit| after(entry.since, limit)),
            policy.node_deadline.map(|limit| after(node_since, limit)),
        ];
        let skip_at = due
            .filter(|_| policy.skip_after_seconds > 0)
            .map(|due| later(due, i64::from(policy.skip_after_seconds) + 1));
        Facts {
            now,
            may_ask,
            chance: entry.chance,
            terminating: health::is_terminating(&entry.pod)
                && (policy.grace_seconds.is_none() || entry.asked > 0)
                && !policy.dry_run,
            wants_surge: entry.wants_surge && !policy.dry_run,
            timeout_at: policy.timeout.map(|limit| after(node_since, limit)),
            deadline_at: deadlines
                .into_iter()
                .flatten()
                .min()
                .filter(|_| !entry.told_overdue),
            on_deadline: policy.on_deadline,
            skip_at,
        }
    }

    fn take(&mut self, uid: &str, step: Step, now: Timestamp) -> Option<Action> {
        let changes = self.budgets.changes();
        let timeout = self.policy.timeout;
        let entry = self.pods.get_mut(uid)?;
        let target = entry.target.clone();
        match step {
            Step::Ask | Step::Delete => {
                let deletes = self.policy.delete || step == Step::Delete;
                entry.stage = Stage::Asking;
                entry.chance = false;
                entry.asked += 1;
                entry.asked_at_change = changes;
                if step == Step::Delete {
                    entry.deleted = true;
                    entry.told_overdue = true;
                    self.events.push_back(Event::Deleted {
                        pod: target.clone(),
                    });
                } else {
                    self.events.push_back(Event::Asked {
                        pod: target.clone(),
                        attempt: entry.asked,
                    });
                }
                Some(if deletes {
                    Action::Delete(target)
                } else {
                    Action::Evict(target)
                })
            }
            Step::Surge => {
                entry.stage = Stage::Surging;
                self.events.push_back(Event::Surging { pod: target });
                Some(Action::Surge(
                    Box::new(entry.pod.clone()),
                    entry.node.clone(),
                ))
            }
            Step::TellOverdue => {
                entry.told_overdue = true;
                self.events.push_back(Event::Overdue { pod: target });
                None
            }
            Step::Await => {
                self.accepted(uid, now);
                None
            }
            Step::Stop(end) => {
                self.end(uid, with_timeout(end, timeout), now);
                None
            }
            Step::Wait(_) => None,
        }
    }

    /// Looks after a leaving pod: tells what holds it, and asks for it when no watch has told of it
    /// for long. Gives the time of the next look.
    fn look(&mut self, uid: &str, actions: &mut Vec<Action>, now: Timestamp) -> Option<Timestamp> {
        let entry = self
            .pods
            .get_mut(uid)
            .filter(|entry| entry.stage == Stage::Leaving)?;
        let node = self
            .nodes
            .iter()
            .find(|node| node.name == entry.node)
            .and_then(|node| node.object.as_ref());
        let due = entry
            .pod
            .metadata
            .deletion_timestamp
            .as_ref()
            .map(|time| later(time.0, LATE_SECONDS));
        let cause = leaving::cause(&entry.pod, node.map(Option::as_ref), now);
        let held = match cause {
            Cause::Grace { .. } => false,
            Cause::NodeUnreachable | Cause::NodeGone => true,
            Cause::Finalizers { .. } | Cause::Overdue { .. } => due.is_some_and(|due| due <= now),
        };
        let news = entry
            .told_cause
            .as_ref()
            .is_none_or(|told| std::mem::discriminant(told) != std::mem::discriminant(&cause));
        if held && news {
            entry.told_cause = Some(cause.clone());
            self.events.push_back(Event::Held {
                pod: entry.target.clone(),
                cause,
            });
        }
        let look_at = later(
            entry.looked_at,
            if self.pods_blind {
                BLIND_LOOK_SECONDS
            } else {
                LOOK_SECONDS
            },
        );
        if look_at <= now {
            entry.looked_at = now;
            actions.push(Action::Look(entry.target.clone()));
        }
        [
            due.filter(|due| *due > now),
            Some(look_at).filter(|at| *at > now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends the nodes whose pods have all ended.
    fn close_nodes(&mut self, now: Timestamp) {
        for node in self
            .nodes
            .iter_mut()
            .filter(|node| node.since.is_some() && node.outcome.is_none())
        {
            let of_node = || self.pods.values().filter(|entry| entry.node == node.name);
            if of_node().any(|entry| !matches!(entry.stage, Stage::Done { .. })) {
                continue;
            }
            let failed = |entry: &Entry| match &entry.stage {
                Stage::Done {
                    end: End::Left(why) | End::Failed(why),
                } => Some(error_of(entry, why)),
                _ => None,
            };
            let errors: Vec<String> = of_node().filter_map(failed).collect();
            let name = node.name.clone();
            self.events.push_back(if errors.is_empty() {
                let seconds = now.duration_since(node.since.unwrap_or(now)).as_secs_f64();
                Event::Drained {
                    node: name,
                    seconds,
                }
            } else {
                let pending = of_node()
                    .filter(|entry| failed(entry).is_some())
                    .map(|entry| format!("{}/{}", entry.target.namespace, entry.target.name));
                Event::NodeFailed {
                    node: name,
                    errors: errors.clone(),
                    pending: pending.collect(),
                }
            });
            node.outcome = Some(Outcome { at: now, errors });
        }
    }
}

/// kubectl names the limit with one of its two texts.
fn with_timeout(end: End, timeout: Option<std::time::Duration>) -> End {
    match (end, timeout) {
        (End::Failed(why), Some(limit)) if why == "global timeout reached" => {
            End::Failed(format!("{why}: {}", go_duration(limit)))
        }
        (end, _) => end,
    }
}

/// A span of time as Go prints it: `1m30s`.
fn go_duration(duration: std::time::Duration) -> String {
    let (whole, fraction) = (
        duration.as_secs(),
        f64::from(duration.subsec_millis()) / 1000.0,
    );
    let (hours, minutes, seconds) = (
        whole / 3600,
        whole / 60 % 60,
        (whole % 60) as f64 + fraction,
    );
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// A pod's failure in kubectl's words.
fn error_of(entry: &Entry, why: &str) -> String {
    let Target {
        namespace, name, ..
    } = &entry.target;
    if entry.accepted_at.is_some() {
        return format!(
            "error when waiting for pod {name:?} in namespace {namespace:?} to terminate: {why}"
        );
    }
    format!("error when evicting pods/{name:?} -n {namespace:?}: {why}")
}
