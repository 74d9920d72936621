//! Runs a drain to its end or until a signal, and prints its progress in the chosen format.

use std::time::Duration;

use ::drain::engine::DrainEngine;
use ::drain::event::DrainEvent;
use ::drain::state::{DrainState, PodCounts};
use clock::Clock;
use jiff::Timestamp;

use super::kubectl::{KubectlLines, OutputLine, is_group};
use super::outage::{OutageState, OutageWatch};
use super::{summary, table};
use crate::cli::{DryRun, EvictionArgs, ProgressFormat};
use crate::connect::Connection;
use crate::error::CliError;
use crate::signals::Signals;
use crate::terminal::{self, Terminal, print_json, print_line, print_message};

/// The pause between two redraws of the table.
const FRAME: Duration = Duration::from_millis(250);

/// Prints what the engine does until it has finished or a signal arrives.
pub(super) async fn follow(
    mut engine: DrainEngine,
    clock: Clock,
    arguments: &EvictionArgs,
    connection: &Connection,
    signals: &mut Signals,
) -> Result<(), CliError> {
    let mut outages = OutageWatch::new(connection, arguments.server_gone_after);
    let mut view = ProgressView::new(arguments);
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = signals.next() => {
                view.clear();
                return Err(interrupt(&mut engine).await);
            }
            event = engine.next() => match event {
                Some(event) => view.event(&event, engine.state(), clock.now()),
                None => break,
            },
            _ = frames.tick() => match outages.check() {
                OutageState::None => view.frame(engine.state(), clock.now()),
                OutageState::Report(message) => {
                    view.clear();
                    print_message(&waiting(&message, engine.state()));
                }
                OutageState::Gone(error) => {
                    view.clear();
                    let states = summary::node_states(engine.state());
                    states.iter().for_each(|line| print_message(line));
                    return Err(error);
                }
            },
        }
    }
    view.clear();
    suggest_plan(engine.state());
    finish(engine.state(), &view, clock.now())
}

/// Adds what the drain waits for.
fn waiting(outage: &str, state: &DrainState) -> String {
    match state.counts(None) {
        tally if tally == PodCounts::default() => outage.to_owned(),
        tally => format!("{outage}; waiting for {}", summary::counts(tally)),
    }
}

/// After a server dry run, prints what it cannot show.
fn suggest_plan(state: &DrainState) {
    let nodes = node_names(state);
    if state.options().dry_run && !nodes.is_empty() {
        print_message(&format!(
            "A dry run checks each pod alone against the current budgets; \
             simulate the whole drain with: exeunt plan {}",
            nodes.join(" ")
        ));
    }
}

fn node_names(state: &DrainState) -> Vec<&str> {
    state
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .filter(|name| !is_group(name))
        .collect()
}

async fn interrupt(engine: &mut DrainEngine) -> CliError {
    for fault in engine.stop().await {
        print_message(&format!("Warning: {fault}"));
    }
    let state = engine.state();
    summary::node_states(state)
        .iter()
        .for_each(|line| print_message(line));
    let nodes = node_names(state);
    let error =
        CliError::new("interrupted: accepted evictions continue, and no others are requested");
    if nodes.is_empty() {
        error.hint("continue with the same command")
    } else {
        error.hint(format!(
            "continue with the same command, or undo with: exeunt uncordon {}",
            nodes.join(" ")
        ))
    }
}

fn finish(state: &DrainState, view: &ProgressView, now: Timestamp) -> Result<(), CliError> {
    match view {
        ProgressView::Json => print_json(&summary::as_json(state, now).to_string()),
        ProgressView::Lines(_) | ProgressView::Table { .. } => summary::lines(state, now)
            .iter()
            .for_each(|line| print_message(line)),
    }
    let failed: Vec<_> = state
        .nodes()
        .iter()
        .filter(|node| {
            node.outcome
                .as_ref()
                .is_none_or(|outcome| !outcome.errors.is_empty())
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    if failed.iter().any(|node| is_group(&node.name)) {
        return Err(
            CliError::new("cannot evict all pods").hint("find out why with: exeunt explain POD")
        );
    }
    print_message("There are pending nodes to be drained:");
    failed
        .iter()
        .for_each(|node| print_message(&format!(" {}", node.name)));
    failed
        .iter()
        .filter_map(|node| node.outcome.as_ref())
        .flat_map(|outcome| &outcome.errors)
        .for_each(|error| print_message(error));
    Err(not_drained(
        failed.len(),
        state.nodes().len(),
        &failed[0].name,
    ))
}

/// The error of a drain in which `failed` of `all` nodes were not drained, `example` among them.
pub(super) fn not_drained(failed: usize, all: usize, example: &str) -> CliError {
    let nodes = if all == 1 {
        "the node".to_owned()
    } else {
        format!("{failed} of {all} nodes")
    };
    CliError::new(format!("unable to drain {nodes}")).hint(format!(
        "find out what blocks it with: exeunt explain {example}"
    ))
}

/// The output format with its state.
enum ProgressView {
    /// The lines that kubectl prints.
    Lines(KubectlLines),
    /// A table that is redrawn in place, below the lines that remain.
    Table {
        lines: KubectlLines,
        terminal: Terminal,
        /// Lines of the table on the screen.
        drawn: usize,
    },
    /// One JSON object for each event.
    Json,
}

impl ProgressView {
    fn new(arguments: &EvictionArgs) -> Self {
        let lines = KubectlLines::new(arguments.dry_run == DryRun::Server);
        match arguments.output {
            ProgressFormat::Json => Self::Json,
            ProgressFormat::Auto if terminal::is_live() => Self::Table {
                lines,
                terminal: Terminal::of_stdout(),
                drawn: 0,
            },
            ProgressFormat::Auto | ProgressFormat::Plain => Self::Lines(lines),
        }
    }

    fn event(&mut self, event: &DrainEvent, state: &DrainState, now: Timestamp) {
        match self {
            Self::Json => print_json(&summary::event_as_json(event, now).to_string()),
            Self::Lines(lines) => lines.of_event(event, state).iter().for_each(print),
            Self::Table { lines, .. } => {
                // The table shows the current state of these; their lines would repeat it.
                let in_table = matches!(
                    event,
                    DrainEvent::EvictionRequested { .. }
                        | DrainEvent::Refused { .. }
                        | DrainEvent::RequestFailed { .. }
                );
                let lines = lines.of_event(event, state);
                if !in_table && !lines.is_empty() {
                    self.clear();
                    lines.iter().for_each(print);
                    self.frame(state, now);
                }
            }
        }
    }

    fn frame(&mut self, state: &DrainState, now: Timestamp) {
        let Self::Table {
            terminal, drawn, ..
        } = self
        else {
            return;
        };
        let (columns, rows) = terminal::size();
        let lines = table::render(state, *terminal, now, rows.saturating_sub(2), columns);
        terminal::redraw(*drawn, &lines);
        *drawn = lines.len();
    }

    fn clear(&mut self) {
        if let Self::Table { drawn, .. } = self {
            terminal::redraw(*drawn, &[]);
            *drawn = 0;
        }
    }
}

/// Prints a line where it belongs.
pub(super) fn print(line: &OutputLine) {
    match line {
        OutputLine::Data(text) => print_line(text),
        OutputLine::Message(text) => print_message(text),
    }
}
