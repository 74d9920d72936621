//! `exeunt drain`, `cordon`, `uncordon` and `evict`: builds an engine from the arguments and prints
//! its events.
//!
//! `plain` renders events in kubectl's words, `table` the state on a terminal, `summary` what took
//! long; all three are pure. `confirm` asks before data is lost.

mod confirm;
mod plain;
mod summary;
mod table;

use std::time::Duration;

use ::drain::cordon::{self, CordonChange};
use ::drain::engine::DrainEngine;
use ::drain::event::DrainEvent;
use ::drain::filter::FilterOptions;
use ::drain::progress;
use ::drain::selection::PodSelection;
use ::drain::state::{DrainOptions, DrainState};
use ::drain::tier::Tiers;
use clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kinds::selector::LabelSelector;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::cli::{Cordon, Drain, DryRun, Evict, OnDeadline, Output, Pace};
use crate::connect::{Connection, connect};
use crate::failure::Failure;
use crate::terminal::{self, Terminal, remark, say};
use plain::{Line, Plain};

/// How often the table is redrawn.
const FRAME: Duration = Duration::from_millis(250);

/// Drains nodes.
pub(crate) async fn run(arguments: &Drain) -> Result<(), Failure> {
    let policy = policy_of_drain(arguments)?;
    parse_selector("--pod-selector", "<pod_selector>", &arguments.pod_selector)?;
    let connection = connect(&arguments.connect).await?;
    let (client, clock) = (connection.client.clone(), Clock::system());
    let nodes = find(&connection, &arguments.nodes, arguments.selector.as_deref()).await?;
    if nodes.is_empty() {
        remark("No resources found");
        return Ok(());
    }
    let survey = survey(arguments);
    if arguments.pace.dry_run == DryRun::Client {
        return rehearse(&connection, &survey, &nodes, clock.now()).await;
    }
    if confirm::is_needed(arguments) {
        let losses = losses(&connection, &survey, &nodes, arguments, clock.now()).await?;
        confirm::ask(&losses).await?;
    }
    let parallel = usize::try_from(arguments.parallel).unwrap_or(1);
    let engine = DrainEngine::drain(client, clock.clone(), policy, survey, nodes, parallel);
    Box::pin(follow(engine, clock, &arguments.pace)).await
}

/// Evicts pods by name or label.
pub(crate) async fn evict(arguments: &Evict) -> Result<(), Failure> {
    let policy = policy(&arguments.pace);
    let connection = connect(&arguments.connect).await?;
    let clock = Clock::system();
    let pods = pods(&connection, arguments).await?;
    if pods.is_empty() {
        remark("No resources found");
        return Ok(());
    }
    if arguments.pace.dry_run == DryRun::Client {
        pods.iter().for_each(|pod| {
            say(&format!(
                "evicting pod {}/{} (dry run)",
                pod.namespace().unwrap_or_default(),
                pod.name_any()
            ))
        });
        return Ok(());
    }
    let engine = DrainEngine::evict(connection.client.clone(), clock.clone(), policy, pods);
    Box::pin(follow(engine, clock, &arguments.pace)).await
}

/// Marks nodes as unschedulable or schedulable. Tries all of them, and returns the last failure.
pub(crate) async fn cordon(arguments: &Cordon, unschedulable: bool) -> Result<(), Failure> {
    let connection = connect(&arguments.connect).await?;
    let nodes = find(&connection, &arguments.nodes, arguments.selector.as_deref()).await?;
    let verb = if unschedulable { "cordon" } else { "uncordon" };
    let mut last = Ok(());
    for node in &nodes {
        let name = node.name_any();
        let change = match arguments.dry_run {
            DryRun::Client if cordon::is_cordoned(node) == unschedulable => {
                Ok(CordonChange::Unchanged)
            }
            DryRun::Client => Ok(CordonChange::Made),
            asked => {
                cordon::set(
                    &connection.client,
                    node,
                    unschedulable,
                    asked == DryRun::Server,
                )
                .await
            }
        };
        match change {
            Ok(CordonChange::Made) => say(&format!(
                "node/{name} {verb}ed{}",
                suffix(arguments.dry_run)
            )),
            Ok(CordonChange::Unchanged) => say(&format!(
                "node/{name} already {verb}ed{}",
                suffix(arguments.dry_run)
            )),
            Err(error) => {
                // The last failure ends the command; earlier ones are printed here.
                let failure = connection.failure(&format!("{verb} node {name:?}"), &error);
                if let Err(before) = std::mem::replace(&mut last, Err(failure)) {
                    remark(&before.render());
                }
            }
        }
    }
    last
}

async fn find(
    connection: &Connection,
    names: &[String],
    selector: Option<&str>,
) -> Result<Vec<Node>, Failure> {
    if let Some(selector) = selector {
        parse_selector("--selector", "<selector>", selector)?;
    }
    cordon::find(&connection.client, names, selector)
        .await
        .map_err(|error| connection.failure("read the nodes", &error))
}

/// Reads the pods that were named, or that the selector selects.
async fn pods(connection: &Connection, arguments: &Evict) -> Result<Vec<Pod>, Failure> {
    let api = |namespace: &str| Api::<Pod>::namespaced(connection.client.clone(), namespace);
    if let Some(selector) = &arguments.selector {
        parse_selector("--selector", "<selector>", selector)?;
        let listed = api(&connection.namespace)
            .list(&ListParams::default().labels(selector))
            .await;
        return Ok(listed
            .map_err(|error| connection.failure("list the pods", &error))?
            .items);
    }
    let mut pods = Vec::new();
    for name in &arguments.pods {
        let (namespace, name) = match name.split_once('/') {
            Some(("pod" | "pods" | "po", name)) => (connection.namespace.as_str(), name),
            Some((namespace, name)) => (namespace, name),
            None => (connection.namespace.as_str(), name.as_str()),
        };
        pods.push(api(namespace).get(name).await.map_err(|error| {
            connection.failure(&format!("read pod {namespace}/{name}"), &error)
        })?);
    }
    Ok(pods)
}

fn policy(pace: &Pace) -> DrainOptions {
    DrainOptions {
        grace_seconds: (pace.grace_period >= 0).then_some(pace.grace_period),
        dry_run: pace.dry_run == DryRun::Server,
        timeout: (!pace.timeout.is_zero()).then_some(pace.timeout),
        pod_deadline: pace.pod_deadline,
        on_deadline: match pace.on_deadline {
            OnDeadline::Wait => progress::DeadlineAction::Wait,
            OnDeadline::Report => progress::DeadlineAction::Report,
            OnDeadline::Delete => progress::DeadlineAction::Delete,
        },
        ..DrainOptions::default()
    }
}

fn policy_of_drain(arguments: &Drain) -> Result<DrainOptions, Failure> {
    let parsed = |flag: &str, texts: &[String]| -> Result<Vec<LabelSelector>, Failure> {
        texts
            .iter()
            .map(|text| parse_selector(flag, "<selector>", text))
            .collect()
    };
    Ok(DrainOptions {
        delete: arguments.disable_eviction,
        node_deadline: arguments.node_deadline,
        skip_after_seconds: arguments.skip_wait_for_delete_timeout,
        tiers: Tiers {
            first: parsed("--first", &arguments.first)?,
            last: parsed("--last", &arguments.last)?,
        },
        surge: arguments.surge,
        ..policy(&arguments.pace)
    })
}

fn parse_selector(flag: &str, placeholder: &str, text: &str) -> Result<LabelSelector, Failure> {
    LabelSelector::parse(text).map_err(|error| {
        Failure::usage(
            format!("{flag}={placeholder} must be a valid label selector"),
            format!("{error}; write it like app=web,tier!=cache"),
        )
    })
}

fn survey(arguments: &Drain) -> PodSelection {
    PodSelection {
        filter: FilterOptions {
            force: arguments.force,
            ignore_daemonsets: arguments.ignore_daemonsets,
            delete_emptydir_data: arguments.delete_emptydir_data,
            skip_after_seconds: arguments.skip_wait_for_delete_timeout,
        },
        pod_selector: arguments.pod_selector.clone(),
        chunk_size: arguments.chunk_size,
    }
}

/// Returns what the drain would destroy, a line for each kind of loss.
async fn losses(
    connection: &Connection,
    survey: &PodSelection,
    nodes: &[Node],
    arguments: &Drain,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let mut losses = Vec::new();
    if arguments.disable_eviction {
        losses.push("--disable-eviction deletes pods and ignores their budgets".to_owned());
    }
    if arguments.pace.on_deadline == OnDeadline::Delete {
        losses.push("--on-deadline delete deletes refused pods in spite of their budgets when a deadline has passed".to_owned());
    }
    for node in nodes {
        losses.extend(look(connection, survey, node, now).await?.losses());
    }
    Ok(losses)
}

async fn look(
    connection: &Connection,
    survey: &PodSelection,
    node: &Node,
    now: Timestamp,
) -> Result<::drain::filter::FilteredPods, Failure> {
    let name = node.name_any();
    let sorted = survey.of_node(&connection.client, &name, now).await;
    sorted.map_err(|error| connection.failure(&format!("list the pods of node {name:?}"), &error))
}

/// `--dry-run=client`: sends no write.
async fn rehearse(
    connection: &Connection,
    survey: &PodSelection,
    nodes: &[Node],
    now: Timestamp,
) -> Result<(), Failure> {
    let suffix = suffix(DryRun::Client);
    for node in nodes {
        let already = if cordon::is_cordoned(node) {
            "already "
        } else {
            ""
        };
        say(&format!(
            "node/{} {already}cordoned{suffix}",
            node.name_any()
        ));
    }
    let mut failed = 0;
    for node in nodes {
        let (name, sorted) = (node.name_any(), look(connection, survey, node, now).await?);
        if !sorted.blocking.is_empty() {
            failed += 1;
            let event = DrainEvent::NodeFailed {
                node: name,
                errors: sorted.errors(),
                pending: Vec::new(),
            };
            plain::failure(&event).iter().for_each(print);
            continue;
        }
        sorted
            .warning()
            .iter()
            .for_each(|warning| remark(&format!("Warning: {warning}")));
        for pod in &sorted.evict {
            say(&format!(
                "evicting pod {}/{}{suffix}",
                pod.namespace().unwrap_or_default(),
                pod.name_any()
            ));
        }
        say(&format!("node/{name} drained{suffix}"));
    }
    if failed > 0 {
        Err(not_drained(failed, nodes.len(), "node"))
    } else {
        Ok(())
    }
}

/// Prints the events of the engine until it ends or is interrupted.
async fn follow(mut engine: DrainEngine, clock: Clock, pace: &Pace) -> Result<(), Failure> {
    let mut show = Show::new(pace);
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut interrupted = std::pin::pin!(crate::signals::signalled());
    loop {
        tokio::select! {
            biased;
            () = &mut interrupted => {
                show.clear();
                return Err(interrupt(&mut engine).await);
            }
            event = engine.next() => match event {
                Some(event) => show.event(&event, engine.state(), clock.now()),
                None => break,
            },
            _ = frames.tick() => show.frame(engine.state(), clock.now()),
        }
    }
    show.clear();
    judged_alone(engine.state());
    finish(engine.state(), &show, clock.now())
}

/// Warns that a dry run by the server judges each pod alone.
fn judged_alone(state: &DrainState) {
    let nodes: Vec<&str> = state
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .filter(|name| !plain::is_group(name))
        .collect();
    if state.options().dry_run && !nodes.is_empty() {
        let plan = format!("exeunt plan {}", nodes.join(" "));
        remark(&format!(
            "A dry run judges each pod alone, by the current budgets; {plan} simulates the whole drain"
        ));
    }
}

async fn interrupt(engine: &mut DrainEngine) -> Failure {
    for fault in engine.stop().await {
        remark(&format!("Warning: {fault}"));
    }
    let state = engine.state();
    summary::standing(state)
        .iter()
        .for_each(|line| remark(line));
    let nodes: Vec<&str> = state
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .filter(|name| !plain::is_group(name))
        .collect();
    let failure = Failure::new("interrupted: accepted evictions continue, no others are requested");
    if nodes.is_empty() {
        failure.hint("run the same command to continue")
    } else {
        failure.hint(format!(
            "run the same command to continue, or exeunt uncordon {} to undo the cordon",
            nodes.join(" ")
        ))
    }
}

fn finish(state: &DrainState, show: &Show, now: Timestamp) -> Result<(), Failure> {
    match show {
        Show::Json => say(&summary::as_json(state, now).to_string()),
        Show::Plain(_) | Show::Table { .. } => summary::lines(state, now)
            .iter()
            .for_each(|line| remark(line)),
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
    if failed.iter().any(|node| plain::is_group(&node.name)) {
        return Err(
            Failure::new("not all pods could be evicted").hint("exeunt explain POD shows why")
        );
    }
    remark("There are pending nodes to be drained:");
    failed
        .iter()
        .for_each(|node| remark(&format!(" {}", node.name)));
    failed
        .iter()
        .filter_map(|node| node.outcome.as_ref())
        .flat_map(|outcome| &outcome.errors)
        .for_each(|error| remark(error));
    Err(not_drained(
        failed.len(),
        state.nodes().len(),
        &failed[0].name,
    ))
}

fn not_drained(failed: usize, of: usize, example: &str) -> Failure {
    let nodes = if of == 1 {
        "the node".to_owned()
    } else {
        format!("{failed} of {of} nodes")
    };
    Failure::new(format!("unable to drain {nodes}")).hint(format!(
        "exeunt explain {example} shows what blocks it and what to do"
    ))
}

/// How events are printed.
enum Show {
    Plain(Plain),
    Table {
        plain: Plain,
        terminal: Terminal,
        drawn: usize,
    },
    Json,
}

impl Show {
    fn new(pace: &Pace) -> Self {
        let plain = Plain::new(pace.dry_run == DryRun::Server);
        match pace.output {
            Output::Json => Self::Json,
            Output::Auto if terminal::is_live() => Self::Table {
                plain,
                terminal: Terminal::of_stdout(),
                drawn: 0,
            },
            Output::Auto | Output::Plain => Self::Plain(plain),
        }
    }

    fn event(&mut self, event: &DrainEvent, state: &DrainState, now: Timestamp) {
        match self {
            Self::Json => say(&summary::event_as_json(event, now).to_string()),
            Self::Plain(plain) => plain.lines(event, state).iter().for_each(print),
            Self::Table { plain, .. } => {
                // The table shows the state that these events lead to.
                let shown = matches!(
                    event,
                    DrainEvent::EvictionRequested { .. }
                        | DrainEvent::Refused { .. }
                        | DrainEvent::RequestFailed { .. }
                );
                let lines = plain.lines(event, state);
                if !shown && !lines.is_empty() {
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

fn print(line: &Line) {
    match line {
        Line::Out(text) => say(text),
        Line::Err(text) => remark(text),
    }
}

/// Returns kubectl's suffix for the lines of a dry run.
fn suffix(dry_run: DryRun) -> &'static str {
    match dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    }
}
