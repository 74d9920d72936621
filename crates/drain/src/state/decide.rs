//! Decides the next requests for all pods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{DrainState, NodeOutcome, PodEntry, after, later};
use crate::event::DrainEvent;
use crate::evict::PodRef;
use crate::pods;
use crate::progress::{NextStep, PodOutcome, PodProgress, ProgressInputs, next};
use crate::surge::SurgedWorkload;
use crate::termination::{self, WaitCause};

/// The maximum number of requests in flight: enough that budgets limit a drain and not the network,
/// and few enough to leave the server's concurrency to other clients.
const MAX_IN_FLIGHT: usize = 32;
/// How often a terminating pod is read although a watch follows it, in case the watch has stalled.
const CHECK_SECONDS: i64 = 30;
/// How often a terminating pod is read when the watch fails.
const UNWATCHED_CHECK_SECONDS: i64 = 2;
/// How long after the grace period a kubelet may report the end of a pod without a warning.
const LATE_SECONDS: i64 = 2;

/// A request to send.
#[derive(Clone, Debug, PartialEq)]
pub enum DrainAction {
    /// Evict the pod.
    Evict(PodRef),
    /// Delete the pod.
    Delete(PodRef),
    /// Read whether the pod still exists.
    Check(PodRef),
    /// Scale up the workload of the pod for the drain of the node.
    Surge(Box<Pod>, String),
    /// Scale the workload back.
    Restore(SurgedWorkload),
}

impl DrainState {
    /// Returns the requests to send now, and the time of the next decision without an observation.
    pub fn decide(&mut self, now: Timestamp) -> (Vec<DrainAction>, Option<Timestamp>) {
        let mut actions: Vec<DrainAction> = std::mem::take(&mut self.to_restore)
            .into_iter()
            .map(DrainAction::Restore)
            .collect();
        let mut wake: Option<Timestamp> = None;
        let tiers = self.open_tiers();
        let mut slots = MAX_IN_FLIGHT.saturating_sub(
            self.pods
                .values()
                .filter(|entry| entry.progress == PodProgress::Requesting)
                .count(),
        );
        let open = self
            .pods
            .values()
            .filter(|entry| !matches!(entry.progress, PodProgress::Done { .. }));
        // Sorted by name, so that drains are reproducible.
        let mut targets: Vec<PodRef> = open.map(|entry| entry.target.clone()).collect();
        targets.sort();
        for PodRef { uid, .. } in targets {
            // A step may be followed by another at once: at most four, from Queued to Done.
            for _ in 0..4 {
                let Some(entry) = self.pods.get(&uid) else {
                    break;
                };
                let open = tiers
                    .get(&entry.node)
                    .is_some_and(|tier| entry.tier <= *tier);
                let inputs = self.inputs(entry, open && slots > 0, now);
                let step = next(&entry.progress, &inputs);
                if let NextStep::Wait(at) = step {
                    let check = self.watch_termination(&uid, &mut actions, now);
                    wake = [wake, at, check].into_iter().flatten().min();
                    break;
                }
                if matches!(step, NextStep::Request | NextStep::Delete) {
                    slots = slots.saturating_sub(1);
                }
                actions.extend(self.take(&uid, step, now));
            }
        }
        // Pods that ended above may have left workloads to scale back.
        actions.extend(
            std::mem::take(&mut self.to_restore)
                .into_iter()
                .map(DrainAction::Restore),
        );
        self.close_nodes(now);
        (actions, wake)
    }

    /// Returns the current tier of each node.
    fn open_tiers(&self) -> BTreeMap<String, usize> {
        let mut tiers = BTreeMap::new();
        for entry in self
            .pods
            .values()
            .filter(|entry| !matches!(entry.progress, PodProgress::Done { .. }))
        {
            let tier = tiers.entry(entry.node.clone()).or_insert(entry.tier);
            *tier = entry.tier.min(*tier);
        }
        tiers
    }

    fn inputs(&self, entry: &PodEntry, may_request: bool, now: Timestamp) -> ProgressInputs {
        let options = &self.options;
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
            options.pod_deadline.map(|limit| after(entry.since, limit)),
            options.node_deadline.map(|limit| after(node_since, limit)),
        ];
        let skip_at = due
            .filter(|_| options.skip_after_seconds > 0)
            .map(|due| later(due, i64::from(options.skip_after_seconds) + 1));
        ProgressInputs {
            now,
            may_request,
            retry_now: entry.retry_now,
            terminating: pods::is_terminating(&entry.pod)
                && (options.grace_seconds.is_none() || entry.requests > 0)
                && !options.dry_run,
            wants_surge: entry.wants_surge && !options.dry_run,
            timeout_at: options.timeout.map(|limit| after(node_since, limit)),
            deadline_at: deadlines
                .into_iter()
                .flatten()
                .min()
                .filter(|_| !entry.deadline_reported),
            on_deadline: options.on_deadline,
            skip_at,
        }
    }

    fn take(&mut self, uid: &str, step: NextStep, now: Timestamp) -> Option<DrainAction> {
        let changes = self.budgets.changes();
        let timeout = self.options.timeout;
        let entry = self.pods.get_mut(uid)?;
        let target = entry.target.clone();
        match step {
            NextStep::Request | NextStep::Delete => {
                let deletes = self.options.delete || step == NextStep::Delete;
                entry.progress = PodProgress::Requesting;
                entry.retry_now = false;
                entry.requests += 1;
                entry.requested_at_change = changes;
                if step == NextStep::Delete {
                    entry.deleted = true;
                    entry.deadline_reported = true;
                    self.events.push_back(DrainEvent::Deleted {
                        pod: target.clone(),
                    });
                } else {
                    self.events.push_back(DrainEvent::EvictionRequested {
                        pod: target.clone(),
                        attempt: entry.requests,
                    });
                }
                Some(if deletes {
                    DrainAction::Delete(target)
                } else {
                    DrainAction::Evict(target)
                })
            }
            NextStep::Surge => {
                entry.progress = PodProgress::Surging;
                self.events.push_back(DrainEvent::Surging { pod: target });
                Some(DrainAction::Surge(
                    Box::new(entry.pod.clone()),
                    entry.node.clone(),
                ))
            }
            NextStep::ReportDeadline => {
                entry.deadline_reported = true;
                self.events
                    .push_back(DrainEvent::DeadlinePassed { pod: target });
                None
            }
            NextStep::AwaitDeletion => {
                self.accepted(uid, now);
                None
            }
            NextStep::Stop(outcome) => {
                self.end(uid, with_timeout(outcome, timeout), now);
                None
            }
            NextStep::Wait(_) => None,
        }
    }

    /// Reports what delays a terminating pod, and reads the pod when the watch has not reported it
    /// for long. Returns the time of the next check.
    fn watch_termination(
        &mut self,
        uid: &str,
        actions: &mut Vec<DrainAction>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let entry = self
            .pods
            .get_mut(uid)
            .filter(|entry| entry.progress == PodProgress::Terminating)?;
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
        let cause = termination::wait_cause(&entry.pod, node.map(Option::as_ref), now);
        let is_delayed = match cause {
            WaitCause::Grace { .. } => false,
            WaitCause::NodeUnreachable | WaitCause::NodeGone => true,
            WaitCause::Finalizers { .. } | WaitCause::Overdue { .. } => {
                due.is_some_and(|due| due <= now)
            }
        };
        let is_new = entry
            .reported_cause
            .as_ref()
            .is_none_or(|known| std::mem::discriminant(known) != std::mem::discriminant(&cause));
        if is_delayed && is_new {
            entry.reported_cause = Some(cause.clone());
            self.events.push_back(DrainEvent::TerminationDelayed {
                pod: entry.target.clone(),
                cause,
            });
        }
        let check_at = later(
            entry.checked_at,
            if self.pods_unwatched {
                UNWATCHED_CHECK_SECONDS
            } else {
                CHECK_SECONDS
            },
        );
        if check_at <= now {
            entry.checked_at = now;
            actions.push(DrainAction::Check(entry.target.clone()));
        }
        [
            due.filter(|due| *due > now),
            Some(check_at).filter(|at| *at > now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends the drains of nodes whose pods are all done.
    fn close_nodes(&mut self, now: Timestamp) {
        for node in self
            .nodes
            .iter_mut()
            .filter(|node| node.since.is_some() && node.outcome.is_none())
        {
            let of_node = || self.pods.values().filter(|entry| entry.node == node.name);
            if of_node().any(|entry| !matches!(entry.progress, PodProgress::Done { .. })) {
                continue;
            }
            let failed = |entry: &PodEntry| match &entry.progress {
                PodProgress::Done {
                    outcome: PodOutcome::NotEvicted(why) | PodOutcome::Failed(why),
                } => Some(error_of(entry, why)),
                _ => None,
            };
            let errors: Vec<String> = of_node().filter_map(failed).collect();
            let name = node.name.clone();
            self.events.push_back(if errors.is_empty() {
                let seconds = now.duration_since(node.since.unwrap_or(now)).as_secs_f64();
                DrainEvent::Drained {
                    node: name,
                    seconds,
                }
            } else {
                let pending = of_node()
                    .filter(|entry| failed(entry).is_some())
                    .map(|entry| format!("{}/{}", entry.target.namespace, entry.target.name));
                DrainEvent::NodeFailed {
                    node: name,
                    errors: errors.clone(),
                    pending: pending.collect(),
                }
            });
            node.outcome = Some(NodeOutcome { at: now, errors });
        }
    }
}

/// kubectl appends the limit to one of its two time-out messages.
fn with_timeout(outcome: PodOutcome, timeout: Option<std::time::Duration>) -> PodOutcome {
    match (outcome, timeout) {
        (PodOutcome::Failed(why), Some(limit)) if why == "global timeout reached" => {
            PodOutcome::Failed(format!("{why}: {}", go_duration(limit)))
        }
        (outcome, _) => outcome,
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

/// Formats the failure of a pod in kubectl's words.
fn error_of(entry: &PodEntry, why: &str) -> String {
    let PodRef {
        namespace, name, ..
    } = &entry.target;
    if entry.accepted_at.is_some() {
        return format!(
            "error when waiting for pod {name:?} in namespace {namespace:?} to terminate: {why}"
        );
    }
    format!("error when evicting pods/{name:?} -n {namespace:?}: {why}")
}
