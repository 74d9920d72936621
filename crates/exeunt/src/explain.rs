//! `exeunt explain`: finds the named objects, reads the cluster around them, prints explanations.

use ::drain::cluster::{ClusterSnapshot, NOT_IN_FILE, NamespaceScope, Unread};
use ::drain::explain::{ExplainSubject, Explanation, SubjectKind, explain, reads};
use clock::Clock;

use crate::cli::{ExplainArgs, ReportFormat};
use crate::connect::{Connection, connect};
use crate::error::CliError;
use crate::names;
use crate::snapshot;
use crate::terminal::{print_block, print_json};

/// An argument that names a subject, like `web-0` or `pod/web-0`.
struct SubjectName<'a> {
    /// `None` looks for pods, nodes and budgets of that name.
    kind: Option<SubjectKind>,
    name: &'a str,
}

/// Runs the command.
pub(crate) async fn run(arguments: &ExplainArgs) -> Result<(), CliError> {
    let wanted = arguments
        .targets
        .iter()
        .map(|text| parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let (explanations, snapshot) = match arguments.files.is_empty() {
        true => online(arguments, &wanted).await?,
        false => offline(arguments, &wanted)?,
    };
    match arguments.output {
        ReportFormat::Json => {
            let json = serde_json::to_string_pretty(&explanations)
                .map_err(|error| CliError::new(error.to_string()))?;
            print_json(&json);
        }
        ReportFormat::Text => {
            let texts: Vec<String> = explanations.iter().map(Explanation::render).collect();
            print_block(texts.join("\n").trim_end());
        }
    }
    let mut needed: Vec<&str> = Vec::new();
    for explanation in &explanations {
        needed.extend(reads(explanation.subject.kind));
    }
    snapshot::require_complete(&snapshot.failed_lists(&needed), arguments.ignore_unreadable)
}

fn parse(text: &str) -> Result<SubjectName<'_>, CliError> {
    let parsed = parse_kind(text)?;
    names::object(parsed.name)?;
    Ok(parsed)
}

fn parse_kind(text: &str) -> Result<SubjectName<'_>, CliError> {
    match text.split_once('/') {
        None => Ok(SubjectName {
            kind: None,
            name: text,
        }),
        Some((kind, name)) => match SubjectKind::named(kind) {
            Some(kind) if !name.is_empty() => Ok(SubjectName {
                kind: Some(kind),
                name,
            }),
            _ => Err(CliError::usage(
                format!("cannot explain {text:?}: expected a pod, a node or a budget"),
                "use NAME, pod/NAME, node/NAME or pdb/NAME",
            )),
        },
    }
}

fn offline(
    arguments: &ExplainArgs,
    wanted: &[SubjectName<'_>],
) -> Result<(Vec<Explanation>, ClusterSnapshot), CliError> {
    let files = snapshot::read(&arguments.files, arguments.recursive)?;
    let snapshot = snapshot::parse(&files, Clock::system().now())?;
    let namespace = if arguments.all_namespaces {
        None
    } else {
        arguments.connect.namespace.as_deref()
    };
    let mut explanations = Vec::new();
    for one in wanted {
        let subjects = ExplainSubject::find(&snapshot, one.kind, namespace, one.name);
        if subjects.is_empty() {
            return Err(missing(one, namespace, &snapshot));
        }
        explanations.extend(
            subjects
                .iter()
                .filter_map(|subject| explain(&snapshot, subject)),
        );
    }
    Ok((explanations, snapshot))
}

async fn online(
    arguments: &ExplainArgs,
    wanted: &[SubjectName<'_>],
) -> Result<(Vec<Explanation>, ClusterSnapshot), CliError> {
    let connection = connect(&arguments.connect).await?;
    let namespace = (!arguments.all_namespaces).then_some(connection.namespace.as_str());
    let nodes = wanted.iter().any(|one| one.kind == Some(SubjectKind::Node));
    let mut snapshot = match namespace {
        Some(namespace) if !nodes => {
            read(&connection, NamespaceScope::Namespace(namespace.to_owned())).await?
        }
        _ => read(&connection, NamespaceScope::Cluster).await?,
    };
    // The pods of a node are in all namespaces, and a bare name may be that of a node.
    let is_node = |one: &SubjectName<'_>| {
        ExplainSubject::find(&snapshot, one.kind, namespace, one.name)
            .iter()
            .any(|subject| subject.kind == SubjectKind::Node)
    };
    if !nodes && namespace.is_some() && wanted.iter().any(is_node) {
        snapshot = read(&connection, NamespaceScope::Cluster).await?;
    }
    let mut explanations = Vec::new();
    for one in wanted {
        let subjects = ExplainSubject::find(&snapshot, one.kind, namespace, one.name);
        if subjects.is_empty() {
            return Err(missing(one, namespace, &snapshot));
        }
        for explanation in subjects
            .iter()
            .filter_map(|subject| explain(&snapshot, subject))
        {
            explanations.push(explanation);
        }
    }
    if arguments.ask {
        for explanation in &mut explanations {
            explanation.ask(&connection.client).await;
        }
    }
    Ok((explanations, snapshot))
}

async fn read(connection: &Connection, scope: NamespaceScope) -> Result<ClusterSnapshot, CliError> {
    let read = ClusterSnapshot::read(&connection.client, &scope, Clock::system().now()).await;
    read.map_err(|error| connection.error("read the cluster", &error))
}

/// The error for a name that was not found, which may also be the user's missing rights.
fn missing(
    wanted: &SubjectName<'_>,
    namespace: Option<&str>,
    snapshot: &ClusterSnapshot,
) -> CliError {
    let (kind, resources): (_, &[&str]) = match wanted.kind {
        Some(SubjectKind::Pod) => ("pod", &["pods"]),
        Some(SubjectKind::Node) => ("node", &["nodes"]),
        Some(SubjectKind::Budget) => ("budget", &["poddisruptionbudgets.policy"]),
        None => (
            "pod, node or budget",
            &["pods", "nodes", "poddisruptionbudgets.policy"],
        ),
    };
    let place = match namespace {
        Some(namespace) if wanted.kind != Some(SubjectKind::Node) => {
            format!(" in namespace {namespace}")
        }
        _ => String::new(),
    };
    let message = format!("{kind} {:?} not found{place}", wanted.name);
    let hidden =
        |unread: &&Unread| resources.contains(&unread.resource) && unread.why != NOT_IN_FILE;
    match snapshot.unread.iter().find(hidden) {
        Some(unread) => CliError::new(format!("{message}, and {} cannot be read", unread.resource))
            .hint(unread.why.clone()),
        None => CliError::new(message).hint("use -n NAMESPACE for another namespace, -A for all"),
    }
}
