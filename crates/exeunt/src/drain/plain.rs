//! Renders events as kubectl's lines, for pipes and scripts. Pure.

use std::collections::BTreeMap;

use drain::cordon::CordonChange;
use drain::event::DrainEvent;
use drain::evict::PodRef;
use drain::state::DrainState;

/// A line, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Data: standard output.
    Out(String),
    /// Messages: standard error.
    Err(String),
}

/// Returns true for the group of pods that were named one by one, which is no node.
pub(super) fn is_group(name: &str) -> bool {
    name.contains('/')
}

/// Renders events as lines. A refusal with the same message as the one before is omitted.
pub(super) struct Plain {
    suffix: &'static str,
    last_messages: BTreeMap<String, String>,
}

impl Plain {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            suffix: if dry_run { " (server dry run)" } else { "" },
            last_messages: BTreeMap::new(),
        }
    }

    /// Renders the lines of an event.
    pub(super) fn lines(&mut self, event: &DrainEvent, state: &DrainState) -> Vec<Line> {
        let suffix = self.suffix;
        match event {
            DrainEvent::Cordoned { node, change } => {
                let already = if *change == CordonChange::Unchanged {
                    "already "
                } else {
                    ""
                };
                vec![Line::Out(format!("node/{node} {already}cordoned{suffix}"))]
            }
            DrainEvent::Warning { message } => vec![Line::Err(format!("Warning: {message}"))],
            DrainEvent::EvictionRequested { pod, attempt: 1 } if !state.options().delete => {
                vec![Line::Out(format!("evicting pod {}{suffix}", name(pod)))]
            }
            DrainEvent::Refused { pod, why, .. } => {
                let text = std::iter::once(why.message.as_str())
                    .chain(why.causes.iter().map(String::as_str))
                    .collect::<Vec<_>>()
                    .join(" ");
                self.trouble(pod, "will retry", text)
            }
            DrainEvent::RequestFailed {
                pod,
                message,
                retry_seconds,
                ..
            } => self.trouble(
                pod,
                &format!("will retry after {retry_seconds}s"),
                message.clone(),
            ),
            DrainEvent::DeadlinePassed { pod } => vec![Line::Err(format!(
                "Warning: the deadline of pod {} has passed; still waiting",
                name(pod)
            ))],
            DrainEvent::Deleted { pod } => {
                vec![Line::Err(format!(
                    "Warning: the deadline of pod {} has passed; deleting it in spite of its budget",
                    name(pod)
                ))]
            }
            DrainEvent::TerminationDelayed { pod, cause } => vec![Line::Err(format!(
                "pod {} still exists after its eviction: {}",
                name(pod),
                cause.describe()
            ))],
            DrainEvent::Gone { pod, deleted, .. } => {
                // A pod that no longer existed at the first request was not evicted.
                let accepted = state
                    .pods()
                    .any(|entry| entry.target == *pod && entry.accepted_at.is_some());
                let verb = if *deleted { "deleted" } else { "evicted" };
                if accepted {
                    vec![Line::Out(format!("pod/{} {verb}", pod.name))]
                } else {
                    Vec::new()
                }
            }
            DrainEvent::Skipped { pod } => {
                let seconds = state.options().skip_after_seconds;
                vec![Line::Out(format!(
                    "pod {:?} has DeletionTimestamp older than {seconds} seconds, skipping",
                    pod.name
                ))]
            }
            DrainEvent::Surging { pod } => vec![Line::Err(format!(
                "starting another replica before pod {} is evicted",
                name(pod)
            ))],
            DrainEvent::Surged { workload, .. } => {
                vec![Line::Err(format!("{workload} has another replica ready"))]
            }
            DrainEvent::Restored { workload } => {
                vec![Line::Err(format!("{workload} is scaled back"))]
            }
            DrainEvent::NodeDeleted { node } if !is_group(node) => {
                vec![Line::Err(format!(
                    "Warning: node {node:?} was deleted; the pod garbage collector deletes its pods"
                ))]
            }
            DrainEvent::Drained { node, .. } if !is_group(node) => {
                vec![Line::Out(format!("node/{node} drained{suffix}"))]
            }
            DrainEvent::NodeFailed { .. } => failure(event),
            _ => Vec::new(),
        }
    }

    fn trouble(&mut self, pod: &PodRef, then: &str, text: String) -> Vec<Line> {
        let line = format!(
            "error when evicting pods/{:?} -n {:?} ({then}): {text}",
            pod.name, pod.namespace
        );
        if self.last_messages.insert(pod.uid.clone(), text.clone()) == Some(text) {
            Vec::new()
        } else {
            vec![Line::Err(line)]
        }
    }
}

/// Renders the lines for a node that could not be drained.
pub(super) fn failure(event: &DrainEvent) -> Vec<Line> {
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
            .map(|error| Line::Err(format!("error: {error}")))
            .collect();
    }
    let all = match errors.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let mut lines = Vec::new();
    if !pending.is_empty() {
        lines.push(Line::Err(format!(
            "There are pending pods in node {node:?} when an error occurred: {all}"
        )));
        lines.extend(
            pending
                .iter()
                .map(|pod| Line::Err(format!("pod/{}", pod.rsplit('/').next().unwrap_or(pod)))),
        );
    }
    lines.push(Line::Err(format!(
        "error: unable to drain node {node:?} due to error: {all}, continuing command..."
    )));
    lines
}

fn name(pod: &PodRef) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
