//! Events as the lines that kubectl prints, for pipes and scripts. Pure.

use std::collections::BTreeMap;

use drain::cordon::CordonChange;
use drain::event::DrainEvent;
use drain::evict::PodRef;
use drain::state::DrainState;

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OutputLine {
    /// For standard output.
    Data(String),
    /// For standard error.
    Message(String),
}

/// Returns whether a name in the state of a drain is not a node's but stands for pods that `evict`
/// was given. Node names contain no slash.
pub(super) fn is_group(name: &str) -> bool {
    name.contains('/')
}

/// Formats events. A refusal with the same reason as the pod's last one gives no line.
pub(super) struct KubectlLines {
    suffix: &'static str,
    /// The last reason that was printed, by the uid of the pod.
    reported: BTreeMap<String, String>,
}

impl KubectlLines {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            suffix: if dry_run { " (server dry run)" } else { "" },
            reported: BTreeMap::new(),
        }
    }

    /// Returns the lines of an event; most events have one or none.
    pub(super) fn of_event(&mut self, event: &DrainEvent, state: &DrainState) -> Vec<OutputLine> {
        let suffix = self.suffix;
        match event {
            DrainEvent::Cordoned { node, change } => {
                let already = if *change == CordonChange::Unchanged {
                    "already "
                } else {
                    ""
                };
                vec![OutputLine::Data(format!(
                    "node/{node} {already}cordoned{suffix}"
                ))]
            }
            DrainEvent::Warning { message } => {
                vec![OutputLine::Message(format!("Warning: {message}"))]
            }
            DrainEvent::EvictionRequested { pod, attempt: 1 } if !state.options().delete => {
                vec![OutputLine::Data(format!(
                    "evicting pod {}{suffix}",
                    name(pod)
                ))]
            }
            DrainEvent::Refused { pod, why, .. } => {
                let text = std::iter::once(why.message.as_str())
                    .chain(why.causes.iter().map(String::as_str))
                    .collect::<Vec<_>>()
                    .join(" ");
                self.retry(pod, "will retry", text)
            }
            DrainEvent::RequestFailed {
                pod,
                message,
                retry_seconds,
                ..
            } => self.retry(
                pod,
                &format!("will retry after {retry_seconds}s"),
                message.clone(),
            ),
            DrainEvent::DeadlinePassed { pod } => vec![OutputLine::Message(format!(
                "Warning: pod {}: deadline exceeded; still waiting",
                name(pod)
            ))],
            DrainEvent::Deleted { pod } => {
                vec![OutputLine::Message(format!(
                    "Warning: pod {}: deadline exceeded; deleting it, which bypasses its budget",
                    name(pod)
                ))]
            }
            DrainEvent::TerminationDelayed { pod, cause } => vec![OutputLine::Message(format!(
                "pod {} is still terminating: {}",
                name(pod),
                cause.describe()
            ))],
            DrainEvent::Gone { pod, deleted, .. } => {
                // A pod that was deleted before an eviction was requested was not evicted.
                let accepted = state
                    .pods()
                    .any(|entry| entry.target == *pod && entry.accepted_at.is_some());
                let verb = if *deleted { "deleted" } else { "evicted" };
                if accepted {
                    vec![OutputLine::Data(format!("pod/{} {verb}", pod.name))]
                } else {
                    Vec::new()
                }
            }
            DrainEvent::Skipped { pod } => {
                let seconds = state.options().skip_after_seconds;
                vec![OutputLine::Data(format!(
                    "pod {:?} has DeletionTimestamp older than {seconds} seconds, skipping",
                    pod.name
                ))]
            }
            DrainEvent::Surging { pod } => vec![OutputLine::Message(format!(
                "starting another replica before evicting pod {}",
                name(pod)
            ))],
            DrainEvent::Surged { workload, .. } => {
                vec![OutputLine::Message(format!(
                    "{workload}: another replica is ready"
                ))]
            }
            DrainEvent::Restored { workload } => {
                vec![OutputLine::Message(format!("{workload}: scaled back"))]
            }
            DrainEvent::NodeDeleted { node } if !is_group(node) => {
                vec![OutputLine::Message(format!(
                    "Warning: node {node:?} was deleted; its pods are left to the garbage collector"
                ))]
            }
            DrainEvent::Drained { node, .. } if !is_group(node) => {
                vec![OutputLine::Data(format!("node/{node} drained{suffix}"))]
            }
            DrainEvent::NodeFailed { .. } => node_failure(event),
            _ => Vec::new(),
        }
    }

    fn retry(&mut self, pod: &PodRef, then: &str, text: String) -> Vec<OutputLine> {
        let line = format!(
            "error when evicting pods/{:?} -n {:?} ({then}): {text}",
            pod.name, pod.namespace
        );
        if self.reported.insert(pod.uid.clone(), text.clone()) == Some(text) {
            Vec::new()
        } else {
            vec![OutputLine::Message(line)]
        }
    }
}

/// Returns the lines about a node that could not be drained.
pub(super) fn node_failure(event: &DrainEvent) -> Vec<OutputLine> {
    let DrainEvent::NodeFailed {
        node,
        errors,
        pending,
    } = event
    else {
        return Vec::new();
    };
    if is_group(node) {
        return errors
            .iter()
            .map(|error| OutputLine::Message(format!("error: {error}")))
            .collect();
    }
    let all = match errors.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let mut lines = Vec::new();
    if !pending.is_empty() {
        lines.push(OutputLine::Message(format!(
            "There are pending pods in node {node:?} when an error occurred: {all}"
        )));
        lines.extend(pending.iter().map(|pod| {
            OutputLine::Message(format!("pod/{}", pod.rsplit('/').next().unwrap_or(pod)))
        }));
    }
    lines.push(OutputLine::Message(format!(
        "error: unable to drain node {node:?} due to error: {all}, continuing command..."
    )));
    lines
}

fn name(pod: &PodRef) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
