//! kubectl's global flags: the cluster, the identity, the request timeout.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::duration;

/// How to reach a cluster, and with which identity.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ConnectArgs {
    /// Path of the kubeconfig file [default: $KUBECONFIG, then ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Name of the kubeconfig context to use [default: the current context].
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Name of the kubeconfig cluster to use [default: the context's].
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    /// Name of the kubeconfig user to use [default: the context's].
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// Namespace of objects that are given without one [default: the context's].
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Address and port of the API server [default: the cluster's].
    #[arg(short, long, value_name = "URL")]
    pub(crate) server: Option<String>,

    /// Bearer token for authentication [default: the user's credentials].
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,

    /// Username to impersonate.
    #[arg(long = "as", value_name = "USER")]
    pub(crate) impersonate: Option<String>,

    /// Group to impersonate, together with --as; may be repeated.
    #[arg(long = "as-group", value_name = "GROUP")]
    pub(crate) impersonate_groups: Vec<String>,

    /// Time to wait for the response to one request; 0 waits without limit.
    // A little more than the minute after which API servers give up themselves.
    #[arg(long, value_name = "DURATION", default_value = "70s",
        value_parser = duration::parse_or_seconds)]
    pub(crate) request_timeout: Duration,

    /// Do not verify the server's certificate. This makes HTTPS connections insecure.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false, hide_default_value = true,
        action = ArgAction::Set)]
    pub(crate) insecure_skip_tls_verify: bool,
}
