//! Arguments of `exeunt drain`, `cordon`, `uncordon` and `evict`: kubectl's flags with kubectl's
//! meaning, and our own.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::{ConnectArgs, duration};

/// Arguments of `exeunt drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,

    /// Delete pods instead of evicting them, which bypasses all PodDisruptionBudgets.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, hide_default_value = true,
        action = ArgAction::Set)]
    pub(crate) disable_eviction: bool,

    /// Skip waiting for pods that were deleted more than this many seconds ago; 0 skips none.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) skip_wait_for_delete_timeout: u32,

    /// Number of pods to list in one request; 0 lists all at once.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) chunk_size: u32,

    /// Time that one node may take before --on-deadline applies [default: no limit].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) node_deadline: Option<Duration>,

    /// Start a second replica of single-replica workloads before evicting the first, so that they
    /// stay available. A StatefulSet gets another member for that time, unless its members have
    /// volumes of their own.
    #[arg(long)]
    pub(crate) surge: bool,

    #[command(flatten)]
    pub(crate) eviction: EvictionArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// The nodes, and which of their pods leave in which order: shared by drain and plan.
#[derive(Debug, Args)]
pub(crate) struct SelectionArgs {
    /// Names of nodes.
    #[arg(
        value_name = "NODE",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub(crate) nodes: Vec<String>,

    /// Label selector of nodes, instead of names.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,

    /// Continue even if there are pods without a controller, or whose DaemonSet no longer exists.
    /// They are evicted, and nothing creates them again.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, hide_default_value = true,
        action = ArgAction::Set)]
    pub(crate) force: bool,

    /// Leave DaemonSet-managed pods on the node; without it, they prevent the drain.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, hide_default_value = true,
        action = ArgAction::Set)]
    pub(crate) ignore_daemonsets: bool,

    /// Continue even if there are pods with emptyDir volumes, whose contents are deleted.
    #[arg(long, visible_alias = "delete-local-data", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true", default_value_t = false,
        hide_default_value = true, action = ArgAction::Set)]
    pub(crate) delete_emptydir_data: bool,

    /// Label selector of pods to evict [default: all pods of the node].
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) pod_selector: String,

    /// Number of nodes to drain at the same time; they take turns at budgets that they share.
    #[arg(long, value_name = "N", default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) parallel: u32,

    /// Evict the pods of this label selector before all others; may be repeated, in order.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) first: Vec<String>,

    /// Evict the pods of this label selector after all others; may be repeated, in order.
    /// Pods with a system-critical priority are evicted after these.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) last: Vec<String>,
}

/// How pods are evicted and how progress is printed: shared by drain and evict.
#[derive(Debug, Args)]
pub(crate) struct EvictionArgs {
    /// Grace period in seconds; negative uses each pod's own value.
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) grace_period: i64,

    /// Time to wait before giving up (drain: for each node); 0 waits without limit.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,

    /// Time that one pod may take before --on-deadline applies [default: no limit].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) pod_deadline: Option<Duration>,

    /// Time without an answer from the API server before giving up; 0 waits without limit.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub(crate) server_gone_after: Duration,

    /// What to do with a pod whose deadline has passed.
    #[arg(long, value_enum, default_value_t = OnDeadline::Report)]
    pub(crate) on_deadline: OnDeadline,

    /// Print what would be done without doing it.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value_t = DryRun::None,
        default_missing_value = "client")]
    pub(crate) dry_run: DryRun,

    /// Skip the confirmation before something that cannot be undone.
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = ProgressFormat::Auto)]
    pub(crate) output: ProgressFormat,
}

/// Arguments of `exeunt cordon` and `exeunt uncordon`.
#[derive(Debug, Args)]
pub(crate) struct CordonArgs {
    /// Names of nodes.
    #[arg(
        value_name = "NODE",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub(crate) nodes: Vec<String>,

    /// Label selector of nodes, instead of names.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,

    /// Print what would be done without doing it.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value_t = DryRun::None,
        default_missing_value = "client")]
    pub(crate) dry_run: DryRun,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Arguments of `exeunt evict`.
#[derive(Debug, Args)]
pub(crate) struct EvictArgs {
    /// Names of pods, as NAME, pod/NAME or NAMESPACE/NAME.
    #[arg(
        value_name = "POD",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub(crate) pods: Vec<String>,

    /// Label selector of pods in the namespace, instead of names.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,

    #[command(flatten)]
    pub(crate) eviction: EvictionArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Whether changes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Make the changes.
    None,
    /// Only read; send no request that changes something.
    Client,
    /// Send the requests; the server answers them without storing anything.
    Server,
}

/// What to do with a pod whose deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnDeadline {
    /// Print a warning and keep trying.
    Wait,
    /// Leave the pod, evict the others, and fail at the end.
    Report,
    /// Delete a refused pod with its ordinary grace period, which bypasses its budget.
    Delete,
}

/// How progress is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressFormat {
    /// A live table on a terminal, plain lines otherwise.
    Auto,
    /// The lines that kubectl prints.
    Plain,
    /// One JSON object per line for each event, and a summary.
    Json,
}
