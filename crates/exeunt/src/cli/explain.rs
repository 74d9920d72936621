//! Arguments of `exeunt explain`.

use clap::{Args, ValueEnum};

use super::ConnectArgs;

/// Arguments of `exeunt explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A pod, a node or a budget: NAME, pod/NAME, node/NAME or pdb/NAME; may be repeated.
    #[arg(value_name = "POD | NODE | PDB", required = true)]
    pub(crate) targets: Vec<String>,

    /// Look in all namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// How to print an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}
