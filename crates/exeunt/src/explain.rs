//! `exeunt explain`: finds what is meant, reads what is needed, prints.

use ::drain::cluster::{ClusterSnapshot, NOT_IN_FILE, NamespaceScope, Unread};
use ::drain::explain::{ExplainSubject, Explanation, SubjectKind, explain};
use clock::Clock;

use crate::cli::{Explain, Form};
use crate::connect::{Connection, connect};
use crate::failure::Failure;
use crate::snapshot;
use crate::terminal::say;

/// A subject as it was written: `web-0`, `pod/web-0`.
struct Wanted<'a> {
    kind: Option<SubjectKind>,
    name: &'a str,
}

/// Runs the command.
pub(crate) async fn run(arguments: &Explain) -> Result<(), Failure> {
    let wanted = arguments
        .targets
        .iter()
        .map(|text| parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let explanations = match arguments.files.is_empty() {
        true => online(arguments, &wanted).await?,
        false => offline(arguments, &wanted)?,
    };
    match arguments.output {
        Form::Json => {
            let json = serde_json::to_string_pretty(&explanations)
                .map_err(|error| Failure::new(error.to_string()))?;
            say(&json);
        }
        Form::Text => {
            let texts: Vec<String> = explanations.iter().map(Explanation::render).collect();
            say(texts.join("\n").trim_end());
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<Wanted<'_>, Failure> {
    let hint = "write it as NAME, pod/NAME, node/NAME or pdb/NAME";
    match text.split_once('/') {
        None => Ok(Wanted {
            kind: None,
            name: text,
        }),
        Some((kind, name)) => match SubjectKind::named(kind) {
            Some(kind) if !name.is_empty() => Ok(Wanted {
                kind: Some(kind),
                name,
            }),
            _ => Err(Failure::usage(
                format!("{text:?} is no pod, node or budget"),
                hint,
            )),
        },
    }
}

fn offline(arguments: &Explain, wanted: &[Wanted<'_>]) -> Result<Vec<Explanation>, Failure> {
    let files = snapshot::read(&arguments.files)?;
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
    Ok(explanations)
}

async fn online(arguments: &Explain, wanted: &[Wanted<'_>]) -> Result<Vec<Explanation>, Failure> {
    let connection = connect(&arguments.connect).await?;
    let namespace = (!arguments.all_namespaces).then_some(connection.namespace.as_str());
    let nodes = wanted.iter().any(|one| one.kind == Some(SubjectKind::Node));
    let mut snapshot = match namespace {
        Some(namespace) if !nodes => {
            read(&connection, NamespaceScope::Namespace(namespace.to_owned())).await?
        }
        _ => read(&connection, NamespaceScope::Cluster).await?,
    };
    // A node concerns the pods of all namespaces, and a bare name may be one.
    let is_node = |one: &Wanted<'_>| {
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
    Ok(explanations)
}

async fn read(connection: &Connection, scope: NamespaceScope) -> Result<ClusterSnapshot, Failure> {
    let read = ClusterSnapshot::read(&connection.client, &scope, Clock::system().now()).await;
    read.map_err(|error| connection.failure("read the cluster", &error))
}

/// Nothing of that name: because there is none, or because it may not be seen.
fn missing(wanted: &Wanted<'_>, namespace: Option<&str>, snapshot: &ClusterSnapshot) -> Failure {
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
    let message = format!("no {kind} is called {:?}{place}", wanted.name);
    let hidden =
        |unread: &&Unread| resources.contains(&unread.resource) && unread.why != NOT_IN_FILE;
    match snapshot.unread.iter().find(hidden) {
        Some(unread) => Failure::new(format!(
            "{message}, or it may not be seen: {} cannot be read",
            unread.resource
        ))
        .hint(unread.why.clone()),
        None => Failure::new(message).hint("another namespace is -n NAMESPACE, all of them are -A"),
    }
}
