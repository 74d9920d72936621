//! The command line: one definition from which parser, help, completions and manual pages are made.
//!
//! A file for each family of commands. [`connect`] holds the flags of all commands that talk to a
//! cluster; they are kubectl's.

mod bench;
mod connect;
mod drain;
mod duration;
mod explain;
mod lint;
mod plan;
mod serve;

pub(crate) use bench::BenchArgs;
pub(crate) use connect::ConnectArgs;
pub(crate) use drain::{
    CordonArgs, DrainArgs, DryRun, EvictArgs, EvictionArgs, OnDeadline, ProgressFormat,
    SelectionArgs,
};
pub(crate) use explain::ExplainArgs;
pub(crate) use lint::{FailOn, FindingsFormat, LintArgs};
pub(crate) use plan::PlanArgs;
pub(crate) use serve::{DemoArgs, ServeArgs, StoreKind};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run a Kubernetes API server with budgets, controllers and simulated nodes in one process, drain
/// the nodes of any cluster, and find out why a drain is stuck.
#[derive(Debug, Parser)]
#[command(
    name = "exeunt",
    version,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What to log to standard error: a level or TARGET=LEVEL, separated by commas, for example
    /// `info,registry=debug`. `eviction=info` logs a line for each eviction.
    #[arg(
        long,
        global = true,
        env = "EXEUNT_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    pub(crate) log: String,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands. The first line of each is its entry in `exeunt --help`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a control plane: API server, controllers, scheduler and simulated nodes.
    ///
    /// Writes a kubeconfig into the data directory, prints its path when the API server is ready,
    /// and runs until Ctrl-C or SIGTERM.
    Serve(ServeArgs),
    /// Start a cluster, drain one of its nodes under a budget, and print the steps of each
    /// eviction.
    ///
    /// Everything runs in this process and in memory; nothing else is changed.
    Demo(DemoArgs),
    /// Drain nodes in preparation for maintenance.
    ///
    /// Marks the nodes as unschedulable and evicts their pods, as fast as PodDisruptionBudgets
    /// allow. Refused evictions are repeated as soon as the budget allows another disruption.
    Drain(Box<DrainArgs>),
    /// Mark nodes as unschedulable.
    Cordon(CordonArgs),
    /// Mark nodes as schedulable.
    Uncordon(CordonArgs),
    /// Evict pods and wait until they are deleted.
    Evict(Box<EvictArgs>),
    /// Explain why evictions are refused, or would be, and what to do about it.
    ///
    /// Reads pods, budgets, controllers, webhooks and volumes, and changes nothing.
    Explain(ExplainArgs),
    /// Simulate draining nodes and report what would block it; changes nothing.
    Plan(PlanArgs),
    /// Check budgets and workloads for what blocks a drain or makes it cause an outage.
    Lint(LintArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Measure the delay of budget status updates and the rate of evictions, in this process.
    #[command(hide = true)]
    Bench(BenchArgs),
    /// Write manual pages, one for each command.
    #[command(hide = true)]
    Man(ManArgs),
}

/// How `explain` and `plan` print their results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// Sentences and tables.
    Text,
    /// One JSON document.
    Json,
}

/// Arguments of `exeunt completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to print the script for.
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `exeunt man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory to write the pages to; created if it does not exist.
    pub(crate) dir: std::path::PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_feature_gates_as_the_api_server_does() {
        let cli = Cli::parse_from([
            "exeunt",
            "serve",
            "--feature-gates=A=true,B=false",
            "--listen",
            "127.0.0.1:0",
        ]);
        let Command::Serve(serve) = cli.command else {
            panic!("not serve")
        };
        assert_eq!(serve.feature_gates, ["A=true", "B=false"]);
        assert_eq!(serve.listen.port(), 0);
    }

    fn drain(words: &[&str]) -> DrainArgs {
        let cli = Cli::parse_from(["exeunt", "drain"].iter().chain(words));
        let Command::Drain(drain) = cli.command else {
            panic!("not drain")
        };
        *drain
    }

    #[test]
    fn drain_takes_what_scripts_give_to_kubectl() {
        let words = [
            "node/n1",
            "n2",
            "--ignore-daemonsets=true",
            "--force",
            "--delete-local-data",
            "--grace-period=-1",
            "--timeout=1m30s",
        ];
        let drain = drain(&words);
        let selection = drain.selection;
        assert_eq!(selection.nodes, ["node/n1", "n2"]);
        assert!(
            selection.ignore_daemonsets
                && selection.force
                && selection.delete_emptydir_data
                && !drain.disable_eviction
        );
        assert_eq!(
            (drain.eviction.grace_period, drain.eviction.timeout),
            (-1, std::time::Duration::from_secs(90))
        );
    }

    #[test]
    fn a_flag_without_a_value_does_not_swallow_the_node() {
        let drain = drain(&["--dry-run", "n1", "--force=false"]);
        assert_eq!(
            (
                drain.selection.nodes,
                drain.eviction.dry_run,
                drain.selection.force
            ),
            (vec!["n1".to_owned()], DryRun::Client, false)
        );
    }

    #[test]
    fn flags_that_exclude_each_other_are_refused() {
        for words in [
            vec!["n1", "-l", "a=b"],
            vec![],
            vec!["n1", "--dry-run=perhaps"],
            vec!["n1", "--timeout=5"],
        ] {
            let words = ["exeunt", "drain"].into_iter().chain(words);
            assert!(
                Cli::try_parse_from(words.clone()).is_err(),
                "{:?}",
                words.collect::<Vec<_>>()
            );
        }
    }
}
