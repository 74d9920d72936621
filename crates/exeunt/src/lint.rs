//! `exeunt lint`.

use crate::cli::Lint;
use crate::failure::Failure;

/// Runs the command.
pub(crate) async fn run(_arguments: &Lint) -> Result<(), Failure> {
    Err(Failure::new("exeunt lint is not built yet").hint("exeunt --help shows what there is"))
}
