//! kubectl's global flags: which cluster, as whom, how patiently.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::duration;

/// Which cluster to talk to, and as whom.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ConnectArgs {
    /// The kubeconfig file [default: $KUBECONFIG, then ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Name of the kubeconfig's context.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Name of the kubeconfig's cluster.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    /// Name of the kubeconfig's user.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// The namespace of names that are given without one [default: the context's].
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Address of the API server.
    #[arg(short, long, value_name = "URL")]
    pub(crate) server: Option<String>,

    /// Bearer token.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,

    /// User to impersonate.
    #[arg(long = "as", value_name = "USER")]
    pub(crate) impersonate: Option<String>,

    /// Group to impersonate; may be repeated.
    #[arg(long = "as-group", value_name = "GROUP")]
    pub(crate) impersonate_groups: Vec<String>,

    /// How long to wait for the answer to one request; 0 is for ever.
    // A little more than the minute after which API servers give up themselves.
    #[arg(long, value_name = "DURATION", default_value = "70s", value_parser = duration::parse_or_seconds)]
    pub(crate) request_timeout: Duration,

    /// Do not check the server's certificate: anybody can pose as the server.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = false, hide_default_value = true, action = ArgAction::Set)]
    pub(crate) insecure_skip_tls_verify: bool,
}
