//! Renders the summary of a drain: counts, duration, the slowest pods and budgets. Pure.

use drain::event::DrainEvent;
use drain::state::{DrainState, PodCounts};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::plain::is_group;

/// The maximum number of slow pods and of slow budgets in the summary.
const SLOWEST: usize = 3;
/// The minimum duration of a slow pod or budget in seconds.
const WORTH_SECONDS: f64 = 1.0;

/// Renders the summary as lines. Empty when there was nothing to do.
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
        "{}; {:.1} s, {refusals} {}",
        describe(all),
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
            "slow pod    {pod}: {seconds:.1} s, accepted after {accepted:.1} s"
        ));
    }
    for hold in state
        .delays(now)
        .into_iter()
        .take(SLOWEST)
        .filter(|hold| hold.seconds >= WORTH_SECONDS)
    {
        let pods = u32::try_from(hold.pods).unwrap_or(u32::MAX);
        let (refused, noun) = (plural(hold.refusals, "refusal"), plural(pods, "pod"));
        lines.push(format!(
            "slow budget {}: delayed {pods} {noun} by {:.1} s, {} {refused}",
            hold.budget, hold.seconds, hold.refusals
        ));
    }
    lines
}

/// Renders the state of each node when the drain is interrupted.
pub(super) fn standing(state: &DrainState) -> Vec<String> {
    let describe_node = |name: &str| match state.counts(Some(name)) {
        tally if tally == PodCounts::default() => "no pod was evicted".to_owned(),
        tally => describe(tally),
    };
    let line = |name: &str| {
        if is_group(name) {
            describe_node(name)
        } else {
            format!("node/{name} is cordoned: {}", describe_node(name))
        }
    };
    state.nodes().iter().map(|node| line(&node.name)).collect()
}

/// Renders counts.
pub(super) fn describe(tally: PodCounts) -> String {
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
    format!(
        "{pods} {}: {}",
        if pods == 1 { "pod" } else { "pods" },
        parts.join(", ")
    )
}

fn plural(count: u32, noun: &str) -> String {
    if count == 1 {
        noun.to_owned()
    } else {
        format!("{noun}s")
    }
}

/// Returns an event for programs.
pub(super) fn event_as_json(event: &DrainEvent, now: Timestamp) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    value["time"] = json!(now.to_string());
    value
}

/// Returns the summary for programs.
pub(super) fn as_json(state: &DrainState, now: Timestamp) -> Value {
    let all = state.counts(None);
    let pod = |(entry, seconds): (&drain::state::PodEntry, f64)| json!({"pod": entry.target, "node": entry.node, "seconds": seconds, "refusals": entry.refusals});
    let holds = state.delays(now);
    let budgets: Vec<Value> = holds
        .iter()
        .map(|hold| json!({"budget": hold.budget, "pods": hold.pods, "refusals": hold.refusals, "seconds": hold.seconds}))
        .collect();
    let failed = state.nodes().iter().filter(|node| {
        node.outcome
            .as_ref()
            .is_none_or(|outcome| !outcome.errors.is_empty())
    });
    json!({
        "event": "summary", "time": now.to_string(), "gone": all.gone, "leaving": all.leaving, "refused": all.refused,
        "queued": all.queued, "left": all.stuck, "failedNodes": failed.map(|node| node.name.clone()).collect::<Vec<_>>(),
        "slowestPods": state.slowest(SLOWEST, now).into_iter().map(pod).collect::<Vec<_>>(), "budgets": budgets,
    })
}
