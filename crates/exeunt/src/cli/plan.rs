//! Arguments of `exeunt plan`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{ConnectArgs, Form, duration};

/// Arguments of `exeunt plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Names of nodes.
    #[arg(
        value_name = "NODE",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub(crate) nodes: Vec<String>,

    /// Plan for the nodes with these labels.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,

    /// Read the cluster from a file that `kubectl get … -o yaml` wrote; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// As for drain: also pods that no controller will make again.
    #[arg(long)]
    pub(crate) force: bool,

    /// As for drain: leave pods of DaemonSets where they are.
    #[arg(long)]
    pub(crate) ignore_daemonsets: bool,

    /// As for drain: also pods with emptyDir volumes.
    #[arg(long, visible_alias = "delete-local-data")]
    pub(crate) delete_emptydir_data: bool,

    /// As for drain: seconds that pods get to end; negative is what each pod asks for.
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) grace_period: i64,

    /// As for drain: only pods with these labels.
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) pod_selector: String,

    /// As for drain: this many nodes at the same time.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) parallel: u32,

    /// As for drain: pods with these labels before all others; may be repeated, in order.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) first: Vec<String>,

    /// As for drain: pods with these labels after all others; may be repeated, in order.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) last: Vec<String>,

    /// What pods need from their node to ready, where none of the same controller has shown it.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub(crate) start_time: Duration,

    /// What containers need to end after their stop signal, at most their grace period.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub(crate) stop_time: Duration,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
