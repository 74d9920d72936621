//! `exeunt lint`: checks manifests or a cluster, prints findings, fails from a severity on.

use ::drain::cluster::{ClusterSnapshot, NamespaceScope, Unread};
use ::drain::format::plural;
use ::drain::lint::{Finding, FindingSeverity, LintOptions, READS, SourceMap, lint, sarif, text};
use clock::Clock;

use crate::cli::{FailOn, FindingsFormat, LintArgs};
use crate::connect::connect;
use crate::error::CliError;
use crate::snapshot;
use crate::terminal::{print_block, print_json};

/// Runs the command.
pub(crate) async fn run(arguments: &LintArgs) -> Result<(), CliError> {
    let mut sources = SourceMap::default();
    let mut snapshot = match arguments.files.is_empty() {
        true => online(arguments).await?,
        false => {
            let files = snapshot::read(&arguments.files, arguments.recursive)?;
            files
                .iter()
                .for_each(|file| sources.add(&file.name, &file.text));
            snapshot::parse(&files, Clock::system().now())?
        }
    };
    let failed = snapshot.failed_lists(READS);
    let failed: Vec<Unread> = failed.into_iter().cloned().collect();
    // Without pods, every budget would look as if its selector matched nothing.
    if failed.iter().any(|unread| unread.resource == "pods") {
        snapshot.budgets.clear();
    }
    let findings = lint(
        &snapshot,
        &sources,
        &LintOptions {
            max_grace: arguments.max_grace,
        },
    );
    print(arguments.output, &findings, &failed)?;
    let complete = snapshot::require_complete(
        &failed.iter().collect::<Vec<_>>(),
        arguments.ignore_unreadable,
    );
    let limit = match arguments.fail_on {
        FailOn::Note => FindingSeverity::Note,
        FailOn::Warning => FindingSeverity::Warning,
        FailOn::Error => FindingSeverity::Error,
    };
    match findings
        .iter()
        .filter(|finding| !finding.suppressed && finding.severity >= limit)
        .count()
    {
        0 => complete,
        count => {
            let hint = "fix them, suppress them by annotation (see exeunt lint --help), or use \
                        another --fail-on";
            Err(CliError::new(format!(
                "{} with severity {} or higher",
                plural(count, "finding"),
                limit.as_str()
            ))
            .hint(hint))
        }
    }
}

async fn online(arguments: &LintArgs) -> Result<ClusterSnapshot, CliError> {
    let connection = connect(&arguments.connect).await?;
    let scope = if arguments.all_namespaces {
        NamespaceScope::Cluster
    } else {
        NamespaceScope::Namespace(connection.namespace.clone())
    };
    let read = ClusterSnapshot::read(&connection.client, &scope, Clock::system().now()).await;
    read.map_err(|error| connection.error("read the cluster", &error))
}

fn print(format: FindingsFormat, findings: &[Finding], failed: &[Unread]) -> Result<(), CliError> {
    let json = match format {
        FindingsFormat::Text => {
            print_block(text(findings, failed.is_empty()).trim_end());
            return Ok(());
        }
        FindingsFormat::Json => serde_json::to_string_pretty(findings),
        FindingsFormat::Sarif => {
            serde_json::to_string_pretty(&sarif(findings, failed, env!("CARGO_PKG_VERSION")))
        }
    };
    print_json(&json.map_err(|error| CliError::new(error.to_string()))?);
    Ok(())
}
