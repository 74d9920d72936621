//! Arguments of `exeunt drain`, `cordon`, `uncordon` and `evict`: kubectl's, with kubectl's
//! meaning, and our own.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::{ConnectArgs, duration};

/// Arguments of `exeunt drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Names of nodes.
    #[arg(
        value_name = "NODE",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub(crate) nodes: Vec<String>,

    /// Drain the nodes with these labels.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,

    /// Also evict pods that no controller will make again, and pods of a DaemonSet that is gone.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = false, hide_default_value = true, action = ArgAction::Set)]
    pub(crate) force: bool,

    /// Leave pods of DaemonSets where they are.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = false, hide_default_value = true, action = ArgAction::Set)]
    pub(crate) ignore_daemonsets: bool,

    /// Also evict pods with emptyDir volumes, whose contents are lost.
    #[arg(long, visible_alias = "delete-local-data", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, hide_default_value = true, action = ArgAction::Set)]
    pub(crate) delete_emptydir_data: bool,

    /// Delete pods instead of evicting them: no budget is asked.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = false, hide_default_value = true, action = ArgAction::Set)]
    pub(crate) disable_eviction: bool,

    /// Only pods with these labels.
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) pod_selector: String,

    /// Do not wait for pods that should have been gone for more than this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) skip_wait_for_delete_timeout: u32,

    /// Pods to list in one request; 0 is all.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) chunk_size: u32,

    /// Drain this many nodes at the same time; they take turns at budgets that they share.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) parallel: u32,

    /// Evict pods with these labels before all others; may be repeated, in order.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) first: Vec<String>,

    /// Evict pods with these labels after all others; may be repeated, in order.
    /// Pods with a system-critical priority always come after them.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) last: Vec<String>,

    /// How long one node may take before --on-deadline applies.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) node_deadline: Option<Duration>,

    /// Start a second replica of single-replica workloads first, so that they stay reachable.
    /// StatefulSets get another member for a while, unless members have volumes of their own.
    #[arg(long)]
    pub(crate) surge: bool,

    #[command(flatten)]
    pub(crate) pace: Pace,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// How pods are made to leave and how that is shown: what drain and evict share.
#[derive(Debug, Args)]
pub(crate) struct Pace {
    /// Seconds that pods get to end; negative is what each pod asks for.
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) grace_period: i64,

    /// Fail when it takes longer (drain: for each node); 0 is never.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,

    /// How long one pod may take before --on-deadline applies.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) pod_deadline: Option<Duration>,

    /// What to do when a deadline has passed.
    #[arg(long, value_enum, default_value_t = OnDeadline::Report)]
    pub(crate) on_deadline: OnDeadline,

    /// Only say what would be done; `server` also asks the server.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value_t = DryRun::None, default_missing_value = "client")]
    pub(crate) dry_run: DryRun,

    /// Ask no questions before something that cannot be undone.
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// How to show what happens.
    #[arg(short, long, value_enum, default_value_t = Output::Auto)]
    pub(crate) output: Output,
}

/// Arguments of `exeunt cordon` and `exeunt uncordon`.
#[derive(Debug, Args)]
pub(crate) struct Cordon {
    /// Names of nodes.
    #[arg(
        value_name = "NODE",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub(crate) nodes: Vec<String>,

    /// The nodes with these labels.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,

    /// Only say what would be done; `server` also asks the server.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value_t = DryRun::None, default_missing_value = "client")]
    pub(crate) dry_run: DryRun,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Arguments of `exeunt evict`.
#[derive(Debug, Args)]
pub(crate) struct Evict {
    /// Names of pods, as NAME, pod/NAME or NAMESPACE/NAME.
    #[arg(
        value_name = "POD",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub(crate) pods: Vec<String>,

    /// Evict the namespace's pods with these labels.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,

    #[command(flatten)]
    pub(crate) pace: Pace,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Whether anything is done at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// It is done.
    None,
    /// Nothing is sent but reads.
    Client,
    /// The server is asked what it would answer, and keeps nothing.
    Server,
}

/// What to do when a deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnDeadline {
    /// Say so, and go on waiting.
    Wait,
    /// Leave the pod, go on with the others, and fail at the end.
    Report,
    /// Delete a refused pod past its budget, with its ordinary grace period; never its objects by
    /// force.
    Delete,
}

/// How to show what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A live table on a terminal, otherwise plain lines.
    Auto,
    /// kubectl's lines.
    Plain,
    /// One JSON object on each line for everything that happens.
    Json,
}
