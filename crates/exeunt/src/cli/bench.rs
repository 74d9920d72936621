//! Arguments of `exeunt bench`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::StoreKind;

/// Arguments of `exeunt bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Number of budgets.
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    pub(crate) budgets: u32,

    /// Number of pods for each budget.
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    pub(crate) pods: u32,

    /// Readiness changes per second, over all budgets.
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=100_000))]
    pub(crate) rate: u32,

    /// Number of times that all pods become unready and ready again.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) rounds: u8,

    /// Where to store objects.
    #[arg(long, value_enum, default_value_t = StoreKind::Disk)]
    pub(crate) store: StoreKind,

    /// Empty directory for the store on disk [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}
