//! The command line: one definition from which parser, help, completions and manual pages are made.
//!
//! A file for each family of commands. What all commands that talk to a cluster share is in
//! [`connect`]; its flags are kubectl's.

mod bench;
mod connect;
mod drain;
mod duration;
mod explain;
mod lint;
mod plan;
mod serve;

pub(crate) use bench::Bench;
pub(crate) use connect::ConnectArgs;
pub(crate) use drain::{Cordon, Drain, DryRun, Evict, OnDeadline, Output, Pace};
pub(crate) use explain::Explain;
pub(crate) use lint::{Form as LintForm, Lint, Severity as LintSeverity};
pub(crate) use plan::Plan;
pub(crate) use serve::{Demo, Serve, StoreKind};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Kubernetes eviction, whole: API server, budgets, controllers and simulated nodes in one process,
/// and the tools that drain nodes of any cluster and tell why a drain is stuck.
#[derive(Debug, Parser)]
#[command(
    name = "exeunt",
    version,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What to log, for example `info`, `registry=debug` or `eviction=info` (a line per eviction);
    /// to standard error.
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

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the control plane: API server, controllers, scheduler and simulated nodes.
    Serve(Serve),
    /// Show the main job: boot a cluster, drain a node under a budget, watch the six steps.
    Demo(Demo),
    /// Empty nodes of any cluster: cordon them and evict their pods, as fast as the budgets allow.
    Drain(Box<Drain>),
    /// Let no new pods onto nodes.
    Cordon(Cordon),
    /// Let pods onto nodes again.
    Uncordon(Cordon),
    /// Evict pods by name or by label, and wait until they are gone.
    Evict(Box<Evict>),
    /// Tell why an eviction is refused, or would be, and what to do about it.
    Explain(Explain),
    /// Tell what draining these nodes would meet, before anything is touched.
    Plan(Plan),
    /// Find budgets and workloads that will block a drain or be hurt by one.
    Lint(Lint),
    /// Print a completion script for a shell.
    Completions(Completions),
    /// Measure how far budgets are behind their pods, and how fast evictions are granted, in this
    /// process.
    #[command(hide = true)]
    Bench(Bench),
    /// Write manual pages, one for each command.
    #[command(hide = true)]
    Man(Man),
}

/// How to print what was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Arguments of `exeunt completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `exeunt man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Folder to write them to.
    pub(crate) folder: std::path::PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
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

    fn drain(words: &[&str]) -> Drain {
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
        assert_eq!(drain.nodes, ["node/n1", "n2"]);
        assert!(
            drain.ignore_daemonsets
                && drain.force
                && drain.delete_emptydir_data
                && !drain.disable_eviction
        );
        assert_eq!(
            (drain.pace.grace_period, drain.pace.timeout),
            (-1, std::time::Duration::from_secs(90))
        );
    }

    #[test]
    fn a_flag_without_a_value_does_not_swallow_the_node() {
        let drain = drain(&["--dry-run", "n1", "--force=false"]);
        assert_eq!(
            (drain.nodes, drain.pace.dry_run, drain.force),
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
