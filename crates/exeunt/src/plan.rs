//! `exeunt plan`: reads a cluster or files, and prints what a drain would meet.

use std::path::PathBuf;

use ::drain::cluster::{ClusterSnapshot, NamespaceScope, RESOURCES};
use ::drain::filter::FilterOptions;
use ::drain::plan::{self, PlanOptions};
use ::drain::tier::Tiers;
use clock::Clock;
use kinds::selector::LabelSelector;

use crate::cli::{Form, Plan};
use crate::connect::connect;
use crate::failure::Failure;
use crate::snapshot;
use crate::terminal::say;

/// Runs the command.
pub(crate) async fn run(arguments: &Plan) -> Result<(), Failure> {
    let snapshot = if arguments.files.is_empty() {
        read(arguments).await?
    } else {
        read_files(&arguments.files)?
    };
    let options = options(arguments, &snapshot)?;
    let made = plan::make(&snapshot, &options);
    let plan = made.map_err(|error| {
        Failure::new(error.to_string()).hint("kubectl get nodes shows the nodes there are")
    })?;
    match arguments.output {
        Form::Text => say(plan.render(&options).trim_end()),
        Form::Json => say(&serde_json::to_string_pretty(&plan).map_err(anyhow::Error::from)?),
    }
    if plan.finishes {
        return Ok(());
    }
    Err(Failure::new("the drain would not finish")
        .hint("exeunt explain POD says what would let a pod go"))
}

async fn read(arguments: &Plan) -> Result<ClusterSnapshot, Failure> {
    let connection = connect(&arguments.connect).await?;
    let read = ClusterSnapshot::read(
        &connection.client,
        &NamespaceScope::Cluster,
        Clock::system().now(),
    )
    .await;
    let snapshot = read.map_err(|error| connection.failure("read the cluster", &error))?;
    // Without these a plan would be empty, and look as if all were well.
    match snapshot
        .unread
        .iter()
        .find(|unread| matches!(unread.resource, "nodes" | "pods"))
    {
        Some(unread) => {
            let hint = format!(
                "kubectl auth can-i list {} -A shows when the user has a role for it",
                unread.resource
            );
            Err(Failure::new(format!(
                "cannot plan without {}: {}",
                unread.resource, unread.why
            ))
            .hint(hint))
        }
        None => Ok(snapshot),
    }
}

fn read_files(files: &[PathBuf]) -> Result<ClusterSnapshot, Failure> {
    let read =
        snapshot::read(files).and_then(|files| snapshot::parse(&files, Clock::system().now()));
    let snapshot = read.map_err(|failure| failure.hint(how_to_make()))?;
    if snapshot.nodes.is_empty() || snapshot.pods.is_empty() {
        let missing = if snapshot.nodes.is_empty() {
            "nodes"
        } else {
            "pods"
        };
        return Err(
            Failure::new(format!("there are no {missing} in what was read")).hint(how_to_make()),
        );
    }
    Ok(snapshot)
}

fn how_to_make() -> String {
    format!(
        "make a whole one with: kubectl get {} --all-namespaces -o yaml > snapshot.yaml",
        RESOURCES.join(",")
    )
}

fn options(arguments: &Plan, snapshot: &ClusterSnapshot) -> Result<PlanOptions, Failure> {
    let nodes = match &arguments.selector {
        None => arguments.nodes.clone(),
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
                return Err(Failure::new(format!("no node has labels {text:?}"))
                    .hint("kubectl get nodes --show-labels shows what there is"));
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
    let pods = if arguments.pod_selector.is_empty() {
        None
    } else {
        Some(selector("pod-selector", &arguments.pod_selector)?)
    };
    Ok(PlanOptions {
        nodes,
        filter: FilterOptions {
            force: arguments.force,
            ignore_daemonsets: arguments.ignore_daemonsets,
            delete_emptydir_data: arguments.delete_emptydir_data,
            skip_after_seconds: 0,
        },
        pods,
        tiers: Tiers {
            first: all("first", &arguments.first)?,
            last: all("last", &arguments.last)?,
        },
        parallel: usize::try_from(arguments.parallel).unwrap_or(1),
        grace_seconds: Some(arguments.grace_period).filter(|seconds| *seconds >= 0),
        start_seconds: arguments.start_time.as_secs_f64(),
        stop_seconds: arguments.stop_time.as_secs_f64(),
    })
}

fn selector(flag: &str, text: &str) -> Result<LabelSelector, Failure> {
    LabelSelector::parse(text).map_err(|error| {
        Failure::usage(
            format!("--{flag}={text} is no label selector: {error}"),
            "write it like app=web,tier!=test",
        )
    })
}
