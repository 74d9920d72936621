//! The state of a drain as a table for a terminal. Pure.

use drain::format::plural;
use drain::progress::PodProgress;
use drain::state::{DrainState, PodEntry};
use jiff::Timestamp;

use super::kubectl::is_group;
use super::summary::counts;
use crate::terminal::{StyledText, Terminal, TextStyle, escape};

/// Returns the lines of the table: at most `rows`, none longer than `columns` characters.
pub(super) fn render(
    state: &DrainState,
    terminal: Terminal,
    now: Timestamp,
    rows: usize,
    columns: usize,
) -> Vec<StyledText> {
    let mut lines = Vec::new();
    for node in state
        .nodes()
        .iter()
        .filter(|node| node.since.is_some() && node.outcome.is_none())
    {
        let mut heading = format!("{}  {}", node.name, counts(state.counts(Some(&node.name))));
        if is_group(&node.name) {
            heading = counts(state.counts(Some(&node.name)));
        }
        lines.push((TextStyle::Heading, heading));
        let mut pods: Vec<&PodEntry> = state
            .pods()
            .filter(|entry| entry.node == node.name && rank(entry).is_some())
            .collect();
        pods.sort_by_key(|entry| (rank(entry), entry.refused_since, entry.target.name.clone()));
        let width = pods
            .iter()
            .map(|entry| entry.target.namespace.len() + 1 + entry.target.name.len())
            .max()
            .unwrap_or_default();
        for entry in pods {
            let pod = format!("{}/{}", entry.target.namespace, entry.target.name);
            let style = if matches!(
                entry.progress,
                PodProgress::Refused { .. } | PodProgress::Retrying { .. }
            ) {
                TextStyle::Failure
            } else {
                TextStyle::Faint
            };
            lines.push((
                style,
                format!("  {pod:width$}  {}", describe(state, entry, now)),
            ));
        }
    }
    if lines.is_empty() {
        return Vec::new();
    }
    let hidden = lines.len().saturating_sub(rows.saturating_sub(1));
    if hidden > 0 {
        lines.truncate(rows.saturating_sub(2));
        lines.push((TextStyle::Faint, format!("  … and {hidden} more")));
    }
    lines.push((TextStyle::Heading, footer(state, now)));
    lines
        .into_iter()
        .map(|(style, text)| terminal.paint(style, &shortened(&escape(&text), columns)))
        .collect()
}

/// Orders pods by urgency, the most urgent first; `None` for pods that are not shown.
fn rank(entry: &PodEntry) -> Option<u8> {
    match entry.progress {
        PodProgress::Retrying { .. } => Some(0),
        PodProgress::Refused { .. } => Some(1),
        PodProgress::Terminating => Some(2),
        PodProgress::Surging => Some(3),
        PodProgress::Requesting => Some(4),
        PodProgress::Queued => Some(5),
        PodProgress::Done { .. } => None,
    }
}

fn describe(state: &DrainState, entry: &PodEntry, now: Timestamp) -> String {
    match &entry.progress {
        PodProgress::Queued => "queued".to_owned(),
        PodProgress::Surging => "another replica is starting".to_owned(),
        PodProgress::Requesting => "requesting eviction".to_owned(),
        PodProgress::Refused { why, budgets, .. } => {
            let since = entry
                .refused_since
                .map_or(0, |since| now.duration_since(since).as_secs());
            let by = if budgets.is_empty() {
                String::new()
            } else {
                format!(" by {}", budgets.join(", "))
            };
            let why = why.causes.first().unwrap_or(&why.message);
            let times = if entry.refusals == 1 {
                "once".to_owned()
            } else {
                format!("{} times", entry.refusals)
            };
            format!("refused{by} for {since} s, {times}: {why}")
        }
        PodProgress::Retrying {
            message, retry_at, ..
        } => {
            format!(
                "failed, retrying in {} s: {message}",
                retry_at.duration_since(now).as_secs().max(0)
            )
        }
        PodProgress::Terminating => state.wait_cause(entry, now).describe(),
        PodProgress::Done { .. } => "gone".to_owned(),
    }
}

fn footer(state: &DrainState, now: Timestamp) -> String {
    let waiting = state
        .nodes()
        .iter()
        .filter(|node| node.since.is_none() && node.outcome.is_none())
        .count();
    let nodes = if waiting == 0 {
        String::new()
    } else {
        format!("; {} pending", plural(waiting, "node"))
    };
    let left = match state.forecast(now) {
        Some(left) if left.as_secs() > 0 => format!("; about {} left", span(left.as_secs())),
        Some(_) => String::new(),
        None => "; no estimate yet".to_owned(),
    };
    format!("{}{nodes}{left}", counts(state.counts(None)))
}

fn span(seconds: u64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn shortened(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars()
        .take(columns.saturating_sub(1))
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use drain::evict::{EvictionRefusal, EvictionResponse};
    use drain::state::DrainOptions;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_puts_refused_pods_first_and_fits_the_window() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let later: Timestamp = "2026-01-01T00:00:12Z".parse().expect("a time");
        let pod = |name: &str| {
            serde_json::from_value(
                json!({"metadata": {"name": name, "namespace": "shop", "uid": name}}),
            )
            .expect("a pod")
        };
        let mut state = DrainState::new(
            DrainOptions::default(),
            vec!["node-1".to_owned(), "node-2".to_owned()],
        );
        state.start("node-1", vec![pod("a"), pod("b"), pod("c")], now);
        drop(state.decide(now));
        state.responded("a", EvictionResponse::Granted, now);
        let cause = "The disruption budget web needs 2 healthy pods and has 2 currently";
        let why = EvictionRefusal {
            message: "no".to_owned(),
            causes: vec![cause.to_owned()],
            retry_after_seconds: 0,
        };
        state.responded("b", EvictionResponse::Refused(why), now);
        let text = |rows, columns| {
            let lines = render(&state, Terminal::without_colour(), later, rows, columns);
            let lines: Vec<&str> = lines.iter().map(StyledText::as_str).collect();
            lines.join("\n")
        };
        insta::assert_snapshot!(text(20, 100), @r"
        node-1  3 pods: 1 terminating, 1 refused, 1 queued
          shop/b  refused by shop/web for 12 s, once: The disruption budget web needs 2 healthy pods and ha…
          shop/a  terminating 0/30 s
          shop/c  requesting eviction
        3 pods: 1 terminating, 1 refused, 1 queued; 1 node pending; no estimate yet
        ");
        assert_eq!(text(4, 100).lines().count(), 4);
        assert!(text(4, 100).contains("… and 1 more"));
    }
}
