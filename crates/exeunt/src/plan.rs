//! `exeunt plan`.

use crate::cli::Plan;
use crate::failure::Failure;

/// Runs the command.
pub(crate) async fn run(_arguments: &Plan) -> Result<(), Failure> {
    Err(Failure::new("exeunt plan is not built yet").hint("exeunt --help shows what there is"))
}
