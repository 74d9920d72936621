//! `exeunt lint`: reads manifests or a cluster, prints findings, fails when they are bad enough.

use ::drain::cluster::{ClusterSnapshot, NamespaceScope};
use ::drain::lint::{Finding, FindingSeverity, LintOptions, SourceMap, lint, sarif, text};
use clock::Clock;

use crate::cli::{Lint, LintForm, LintSeverity};
use crate::connect::connect;
use crate::failure::Failure;
use crate::snapshot;
use crate::terminal::{remark, say};

/// Runs the command.
pub(crate) async fn run(arguments: &Lint) -> Result<(), Failure> {
    let mut sources = SourceMap::default();
    let mut snapshot = match arguments.files.is_empty() {
        true => online(arguments).await?,
        false => {
            let files = snapshot::read(&arguments.files)?;
            files
                .iter()
                .for_each(|file| sources.add(&file.name, &file.text));
            let mut parsed = snapshot::parse(&files, Clock::system().now())?;
            // Manifests are not expected to hold everything.
            parsed.unread.clear();
            parsed
        }
    };
    for unread in &snapshot.unread {
        remark(&format!(
            "warning: {} cannot be read, so rules about them find nothing: {}",
            unread.resource, unread.why
        ));
    }
    // What could not be read must not look like what is not there.
    if snapshot
        .unread
        .iter()
        .any(|unread| unread.resource == "pods")
    {
        snapshot.budgets.clear();
    }
    let findings = lint(
        &snapshot,
        &sources,
        &LintOptions {
            max_grace: arguments.max_grace,
        },
    );
    print(arguments.output, &findings)?;
    let limit = match arguments.fail_on {
        LintSeverity::Note => FindingSeverity::Note,
        LintSeverity::Warning => FindingSeverity::Warning,
        LintSeverity::Error => FindingSeverity::Error,
    };
    match findings
        .iter()
        .filter(|finding| !finding.suppressed && finding.severity >= limit)
        .count()
    {
        0 => Ok(()),
        count => {
            let hint = "mend them, suppress them by annotation (exeunt lint --help), or choose another --fail-on";
            Err(Failure::new(format!(
                "findings of severity {} or above: {count}",
                limit.as_str()
            ))
            .hint(hint))
        }
    }
}

async fn online(arguments: &Lint) -> Result<ClusterSnapshot, Failure> {
    let connection = connect(&arguments.connect).await?;
    let scope = if arguments.all_namespaces {
        NamespaceScope::Cluster
    } else {
        NamespaceScope::Namespace(connection.namespace.clone())
    };
    let read = ClusterSnapshot::read(&connection.client, &scope, Clock::system().now()).await;
    read.map_err(|error| connection.failure("read the cluster", &error))
}

fn print(form: LintForm, findings: &[Finding]) -> Result<(), Failure> {
    let json = match form {
        LintForm::Text => {
            say(text(findings).trim_end());
            return Ok(());
        }
        LintForm::Json => serde_json::to_string_pretty(findings),
        LintForm::Sarif => {
            serde_json::to_string_pretty(&sarif(findings, env!("CARGO_PKG_VERSION")))
        }
    };
    say(&json.map_err(|error| Failure::new(error.to_string()))?);
    Ok(())
}
