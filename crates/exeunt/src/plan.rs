//! `exeunt plan`: simulates a drain on a snapshot of a cluster and prints the result.

use std::path::PathBuf;

use ::drain::cluster::{ClusterSnapshot, NamespaceScope, RESOURCES};
use ::drain::filter::FilterOptions;
use ::drain::plan::{self, PlanOptions};
use ::drain::tier::Tiers;
use clock::Clock;
use kinds::selector::LabelSelector;

use crate::cli::{PlanArgs, ReportFormat};
use crate::connect::connect;
use crate::error::CliError;
use crate::snapshot;
use crate::terminal::{print_block, print_json};

/// Runs the command.
pub(crate) async fn run(arguments: &PlanArgs) -> Result<(), CliError> {
    let snapshot = if arguments.files.is_empty() {
        read(arguments).await?
    } else {
        read_files(&arguments.files, arguments.recursive)?
    };
    let options = options(arguments, &snapshot)?;
    let made = plan::make(&snapshot, &options);
    let plan = made.map_err(|error| {
        CliError::new(error.to_string()).hint("list the nodes with: kubectl get nodes")
    })?;
    match arguments.output {
        ReportFormat::Text => print_block(plan.render(&options).trim_end()),
        ReportFormat::Json => {
            print_json(&serde_json::to_string_pretty(&plan).map_err(anyhow::Error::from)?)
        }
    }
    let failed = snapshot.failed_lists(plan::READS);
    let complete = snapshot::require_complete(&failed, arguments.ignore_unreadable);
    if plan.finishes {
        return complete;
    }
    Err(CliError::new("the drain would not finish")
        .hint("find out what blocks a pod with: exeunt explain POD"))
}

async fn read(arguments: &PlanArgs) -> Result<ClusterSnapshot, CliError> {
    let connection = connect(&arguments.connect).await?;
    let read = ClusterSnapshot::read(
        &connection.client,
        &NamespaceScope::Cluster,
        Clock::system().now(),
    )
    .await;
    let snapshot = read.map_err(|error| connection.error("read the cluster", &error))?;
    // Without these the plan would be empty and look like a success.
    match snapshot
        .unread
        .iter()
        .find(|unread| matches!(unread.resource, "nodes" | "pods"))
    {
        Some(unread) => {
            let hint = format!(
                "grant the user a role for this; check with: kubectl auth can-i list {} -A",
                unread.resource
            );
            Err(CliError::new(format!(
                "cannot plan without reading {}: {}",
                unread.resource, unread.why
            ))
            .hint(hint))
        }
        None => Ok(snapshot),
    }
}

fn read_files(files: &[PathBuf], recursive: bool) -> Result<ClusterSnapshot, CliError> {
    let read = snapshot::read(files, recursive)
        .and_then(|files| snapshot::parse(&files, Clock::system().now()));
    let snapshot = read.map_err(|error| error.hint(snapshot_hint()))?;
    if snapshot.nodes.is_empty() || snapshot.pods.is_empty() {
        let missing = if snapshot.nodes.is_empty() {
            "nodes"
        } else {
            "pods"
        };
        return Err(
            CliError::new(format!("cannot plan: no {missing} found in the files"))
                .hint(snapshot_hint()),
        );
    }
    Ok(snapshot)
}

fn snapshot_hint() -> String {
    format!(
        "write a complete snapshot with: \
         kubectl get {} --all-namespaces -o yaml > snapshot.yaml",
        RESOURCES.join(",")
    )
}

fn options(arguments: &PlanArgs, snapshot: &ClusterSnapshot) -> Result<PlanOptions, CliError> {
    let selection = &arguments.selection;
    let nodes = match &selection.selector {
        None => selection.nodes.clone(),
        Some(text) => {
            let selector = selector("selector", text)?;
            let chosen = snapshot
                .nodes
                .iter()
                .filter(|node| selector.matches(&node.metadata.labels));
            let names: Vec<String> = chosen
                .filter_map(|node| node.metadata.name.clone())
                .collect();
            if names.is_empty() {
                return Err(CliError::new(format!("no node matches selector {text:?}"))
                    .hint("list the labels with: kubectl get nodes --show-labels"));
            }
            names
        }
    };
    let all = |flag: &str, texts: &[String]| {
        texts
            .iter()
            .map(|text| selector(flag, text))
            .collect::<Result<Vec<_>, _>>()
    };
    let pods = if selection.pod_selector.is_empty() {
        None
    } else {
        Some(selector("pod-selector", &selection.pod_selector)?)
    };
    Ok(PlanOptions {
        nodes,
        filter: FilterOptions {
            force: selection.force,
            ignore_daemonsets: selection.ignore_daemonsets,
            delete_emptydir_data: selection.delete_emptydir_data,
            skip_after_seconds: 0,
        },
        pods,
        tiers: Tiers {
            first: all("first", &selection.first)?,
            last: all("last", &selection.last)?,
        },
        parallel: usize::try_from(selection.parallel).unwrap_or(1),
        grace_seconds: Some(arguments.grace_period).filter(|seconds| *seconds >= 0),
        start_seconds: arguments.start_time.as_secs_f64(),
        stop_seconds: arguments.stop_time.as_secs_f64(),
    })
}

fn selector(flag: &str, text: &str) -> Result<LabelSelector, CliError> {
    LabelSelector::parse(text).map_err(|error| {
        CliError::usage(
            format!("cannot parse --{flag}={text}: {error}"),
            "use a label selector like app=web,tier!=test",
        )
    })
}
