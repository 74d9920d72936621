//! The end of a drain: counts, durations, and what was slow. Pure.

use drain::event::DrainEvent;
use drain::format::plural;
use drain::state::{DrainState, PodCounts};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::kubectl::is_group;

/// The number of slowest pods and budgets that are listed.
const SLOWEST: usize = 3;
/// What took less time is not listed.
const WORTH_SECONDS: f64 = 1.0;

/// Returns the lines of the summary; none if there was nothing to do.
pub(super) fn lines(state: &DrainState, now: Timestamp) -> Vec<String> {
    let all = state.counts(None);
    if state.pods().next().is_none() || state.options().dry_run {
        return Vec::new();
    }
    let from = state
        .nodes()
        .iter()
        .filter_map(|node| node.since)
        .min()
        .unwrap_or(now);
    let refusals: u32 = state.pods().map(|entry| entry.refusals).sum();
    let mut lines = vec![format!(
        "{}; {:.1} s, {}",
        counts(all),
        now.duration_since(from).as_secs_f64(),
        plural(refusals, "refusal")
    )];
    for (entry, seconds) in state
        .slowest(SLOWEST, now)
        .into_iter()
        .filter(|(_, seconds)| *seconds >= WORTH_SECONDS)
    {
        let accepted = entry
            .accepted_at
            .map_or(seconds, |at| at.duration_since(entry.since).as_secs_f64());
        let pod = format!("{}/{}", entry.target.namespace, entry.target.name);
        lines.push(format!(
            "slow pod    {pod}: {seconds:.1} s ({accepted:.1} s until its eviction was accepted)"
        ));
    }
    for hold in state
        .delays(now)
        .into_iter()
        .take(SLOWEST)
        .filter(|hold| hold.seconds >= WORTH_SECONDS)
    {
        lines.push(format!(
            "slow budget {}: blocked {} for {:.1} s, {}",
            hold.budget,
            plural(hold.pods, "pod"),
            hold.seconds,
            plural(hold.refusals, "refusal")
        ));
    }
    lines
}

/// Returns a line for each node with the state that an interrupted drain leaves it in.
pub(super) fn node_states(state: &DrainState) -> Vec<String> {
    let counts = |name: &str| match state.counts(Some(name)) {
        tally if tally == PodCounts::default() => "no pod was evicted".to_owned(),
        tally => counts(tally),
    };
    let line = |name: &str| {
        if is_group(name) {
            counts(name)
        } else {
            format!("node/{name} is cordoned: {}", counts(name))
        }
    };
    state.nodes().iter().map(|node| line(&node.name)).collect()
}

/// Formats the number of pods in each state.
pub(super) fn counts(tally: PodCounts) -> String {
    let parts = [
        (tally.gone, "gone"),
        (tally.leaving, "terminating"),
        (tally.refused, "refused"),
        (tally.queued, "queued"),
        (tally.stuck, "not evicted"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let pods = tally.gone + tally.leaving + tally.refused + tally.queued + tally.stuck;
    format!("{}: {}", plural(pods, "pod"), parts.join(", "))
}

/// Returns an event as JSON, with its time.
pub(super) fn event_as_json(event: &DrainEvent, now: Timestamp) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    value["time"] = json!(now.to_string());
    value
}

/// Returns the summary as JSON.
pub(super) fn as_json(state: &DrainState, now: Timestamp) -> Value {
    let all = state.counts(None);
    let pod = |(entry, seconds): (&drain::state::PodEntry, f64)| {
        json!({
            "pod": entry.target, "node": entry.node, "seconds": seconds,
            "refusals": entry.refusals,
        })
    };
    let holds = state.delays(now);
    let budgets: Vec<Value> = holds
        .iter()
        .map(|hold| {
            json!({
                "budget": hold.budget, "pods": hold.pods, "refusals": hold.refusals,
                "seconds": hold.seconds,
            })
        })
        .collect();
    let failed = state.nodes().iter().filter(|node| {
        node.outcome
            .as_ref()
            .is_none_or(|outcome| !outcome.errors.is_empty())
    });
    json!({
        "event": "summary", "time": now.to_string(),
        "gone": all.gone, "leaving": all.leaving, "refused": all.refused, "queued": all.queued,
        "left": all.stuck,
        "failedNodes": failed.map(|node| node.name.clone()).collect::<Vec<_>>(),
        "slowestPods": state.slowest(SLOWEST, now).into_iter().map(pod).collect::<Vec<_>>(),
        "budgets": budgets,
    })
}
