//! `exeunt drain`, `cordon`, `uncordon` and `evict`: from arguments to an engine, and from its
//! events to output.
//!
//! `kubectl` formats events as kubectl does, `table` the state for a terminal, `summary` the end;
//! all three are pure. `progress` runs the engine, and `confirm` asks before something is lost.

mod confirm;
mod kubectl;
mod outage;
mod progress;
mod summary;
mod table;

use ::drain::cordon::{self, CordonChange};
use ::drain::engine::DrainEngine;
use ::drain::event::DrainEvent;
use ::drain::filter::FilterOptions;
use ::drain::progress::DeadlineAction;
use ::drain::selection::PodSelection;
use ::drain::state::DrainOptions;
use ::drain::tier::Tiers;
use clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kinds::selector::LabelSelector;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::cli::{
    CordonArgs, DrainArgs, DryRun, EvictArgs, EvictionArgs, OnDeadline, SelectionArgs,
};
use crate::connect::{Connection, connect};
use crate::error::CliError;
use crate::names;
use crate::signals::Signals;
use crate::terminal::{print_line, print_message};

/// Drains nodes.
pub(crate) async fn run(arguments: &DrainArgs) -> Result<(), CliError> {
    let policy = policy_of_drain(arguments)?;
    let selection = &arguments.selection;
    parse_selector("--pod-selector", "<pod_selector>", &selection.pod_selector)?;
    let connection = connect(&arguments.connect).await?;
    let (client, clock) = (connection.client.clone(), Clock::system().steady());
    let nodes = find(&connection, &selection.nodes, selection.selector.as_deref()).await?;
    if nodes.is_empty() {
        print_message("No resources found");
        return Ok(());
    }
    let survey = survey(arguments);
    if arguments.eviction.dry_run == DryRun::Client {
        return dry_run(&connection, &survey, &nodes, clock.now()).await;
    }
    let losses = match confirm::is_needed(arguments) {
        true => losses(&connection, &survey, &nodes, arguments, clock.now()).await?,
        false => Vec::new(),
    };
    // Not earlier: while a command only reads, a signal ends the process at once.
    let mut signals = Signals::listen()?;
    confirm::ask(&losses, &mut signals).await?;
    let parallel = usize::try_from(selection.parallel).unwrap_or(1);
    let engine = DrainEngine::drain(client, clock.clone(), policy, survey, nodes, parallel);
    let eviction = &arguments.eviction;
    Box::pin(progress::follow(
        engine,
        clock,
        eviction,
        &connection,
        &mut signals,
    ))
    .await
}

/// Evicts pods by name or label.
pub(crate) async fn evict(arguments: &EvictArgs) -> Result<(), CliError> {
    let policy = policy(&arguments.eviction);
    let connection = connect(&arguments.connect).await?;
    let clock = Clock::system().steady();
    let pods = pods(&connection, arguments).await?;
    if pods.is_empty() {
        print_message("No resources found");
        return Ok(());
    }
    if arguments.eviction.dry_run == DryRun::Client {
        pods.iter().for_each(|pod| {
            print_line(&format!(
                "evicting pod {}/{} (dry run)",
                pod.namespace().unwrap_or_default(),
                pod.name_any()
            ))
        });
        return Ok(());
    }
    let mut signals = Signals::listen()?;
    let engine = DrainEngine::evict(connection.client.clone(), clock.clone(), policy, pods);
    let eviction = &arguments.eviction;
    Box::pin(progress::follow(
        engine,
        clock,
        eviction,
        &connection,
        &mut signals,
    ))
    .await
}

/// Cordons nodes, or uncordons them if `unschedulable` is false. Continues with the other nodes
/// after an error, and then fails.
pub(crate) async fn cordon(arguments: &CordonArgs, unschedulable: bool) -> Result<(), CliError> {
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
            DryRun::None | DryRun::Server => {
                let dry_run = arguments.dry_run == DryRun::Server;
                cordon::set(&connection.client, node, unschedulable, dry_run).await
            }
        };
        match change {
            Ok(CordonChange::Made) => print_line(&format!(
                "node/{name} {verb}ed{}",
                suffix(arguments.dry_run)
            )),
            Ok(CordonChange::Unchanged) => print_line(&format!(
                "node/{name} already {verb}ed{}",
                suffix(arguments.dry_run)
            )),
            Err(error) => {
                // The last error is returned; the others are printed here.
                let error = connection.error(&format!("{verb} node {name:?}"), &error);
                if let Err(before) = std::mem::replace(&mut last, Err(error)) {
                    before.print();
                }
            }
        }
    }
    last
}

async fn find(
    connection: &Connection,
    wanted: &[String],
    selector: Option<&str>,
) -> Result<Vec<Node>, CliError> {
    if let Some(selector) = selector {
        parse_selector("--selector", "<selector>", selector)?;
    }
    for name in wanted {
        names::node(cordon::short_name(name))?;
    }
    cordon::find(&connection.client, wanted, selector)
        .await
        .map_err(|error| connection.error("read the nodes", &error))
}

/// Reads the pods that the arguments name or select.
async fn pods(connection: &Connection, arguments: &EvictArgs) -> Result<Vec<Pod>, CliError> {
    let api = |namespace: &str| Api::<Pod>::namespaced(connection.client.clone(), namespace);
    if let Some(selector) = &arguments.selector {
        parse_selector("--selector", "<selector>", selector)?;
        let listed = api(&connection.namespace)
            .list(&ListParams::default().labels(selector))
            .await;
        return Ok(listed
            .map_err(|error| connection.error("list the pods", &error))?
            .items);
    }
    let mut pods = Vec::new();
    for name in &arguments.pods {
        let (namespace, name) = match name.split_once('/') {
            Some(("pod" | "pods" | "po", name)) => (connection.namespace.as_str(), name),
            Some((namespace, name)) => (namespace, name),
            None => (connection.namespace.as_str(), name.as_str()),
        };
        names::namespace(namespace)?;
        names::pod(name)?;
        pods.push(
            api(namespace).get(name).await.map_err(|error| {
                connection.error(&format!("read pod {namespace}/{name}"), &error)
            })?,
        );
    }
    Ok(pods)
}

fn policy(eviction: &EvictionArgs) -> DrainOptions {
    DrainOptions {
        grace_seconds: (eviction.grace_period >= 0).then_some(eviction.grace_period),
        dry_run: eviction.dry_run == DryRun::Server,
        timeout: (!eviction.timeout.is_zero()).then_some(eviction.timeout),
        pod_deadline: eviction.pod_deadline,
        on_deadline: match eviction.on_deadline {
            OnDeadline::Wait => DeadlineAction::Wait,
            OnDeadline::Report => DeadlineAction::Report,
            OnDeadline::Delete => DeadlineAction::Delete,
        },
        ..DrainOptions::default()
    }
}

fn policy_of_drain(arguments: &DrainArgs) -> Result<DrainOptions, CliError> {
    let parsed = |flag: &str, texts: &[String]| -> Result<Vec<LabelSelector>, CliError> {
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
            first: parsed("--first", &arguments.selection.first)?,
            last: parsed("--last", &arguments.selection.last)?,
        },
        surge: arguments.surge,
        ..policy(&arguments.eviction)
    })
}

fn parse_selector(flag: &str, placeholder: &str, text: &str) -> Result<LabelSelector, CliError> {
    LabelSelector::parse(text).map_err(|error| {
        CliError::usage(
            format!("{flag}={placeholder} must be a valid label selector"),
            format!("{error}; use a selector like app=web,tier!=cache"),
        )
    })
}

fn survey(arguments: &DrainArgs) -> PodSelection {
    let SelectionArgs {
        force,
        ignore_daemonsets,
        delete_emptydir_data,
        ref pod_selector,
        ..
    } = arguments.selection;
    PodSelection {
        filter: FilterOptions {
            force,
            ignore_daemonsets,
            delete_emptydir_data,
            skip_after_seconds: arguments.skip_wait_for_delete_timeout,
        },
        pod_selector: pod_selector.clone(),
        chunk_size: arguments.chunk_size,
    }
}

/// Lists what the drain would do that cannot be undone, one line for each kind of loss.
async fn losses(
    connection: &Connection,
    survey: &PodSelection,
    nodes: &[Node],
    arguments: &DrainArgs,
    now: Timestamp,
) -> Result<Vec<String>, CliError> {
    let mut losses = Vec::new();
    if arguments.disable_eviction {
        losses.push("--disable-eviction deletes pods and bypasses all budgets".to_owned());
    }
    if arguments.eviction.on_deadline == OnDeadline::Delete {
        losses.push(
            "--on-deadline=delete deletes refused pods after a deadline and bypasses their budgets"
                .to_owned(),
        );
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
) -> Result<::drain::filter::FilteredPods, CliError> {
    let name = node.name_any();
    let sorted = survey.of_node(&connection.client, &name, now).await;
    sorted.map_err(|error| connection.error(&format!("list the pods of node {name:?}"), &error))
}

/// Implements `--dry-run=client`: reads, and prints what a drain would do.
async fn dry_run(
    connection: &Connection,
    survey: &PodSelection,
    nodes: &[Node],
    now: Timestamp,
) -> Result<(), CliError> {
    let suffix = suffix(DryRun::Client);
    for node in nodes {
        let already = if cordon::is_cordoned(node) {
            "already "
        } else {
            ""
        };
        print_line(&format!(
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
            kubectl::node_failure(&event)
                .iter()
                .for_each(progress::print);
            continue;
        }
        sorted
            .warning()
            .iter()
            .for_each(|warning| print_message(&format!("Warning: {warning}")));
        for pod in &sorted.evict {
            print_line(&format!(
                "evicting pod {}/{}{suffix}",
                pod.namespace().unwrap_or_default(),
                pod.name_any()
            ));
        }
        print_line(&format!("node/{name} drained{suffix}"));
    }
    if failed > 0 {
        Err(progress::not_drained(failed, nodes.len(), "NODE"))
    } else {
        Ok(())
    }
}

/// Returns what kubectl appends to the lines of a dry run.
fn suffix(dry_run: DryRun) -> &'static str {
    match dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    }
}
