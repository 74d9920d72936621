//! `exeunt explain`.

use crate::cli::Explain;
use crate::failure::Failure;

/// Runs the command.
pub(crate) async fn run(_arguments: &Explain) -> Result<(), Failure> {
    Err(Failure::new("exeunt explain is not built yet").hint("exeunt --help shows what there is"))
}
