//! Asks before something is lost, when there is somebody to ask.

use std::io::{IsTerminal as _, Write as _};

use crate::cli::{Drain, DryRun, OnDeadline};
use crate::failure::Failure;
use crate::terminal::remark;

/// Whether something may be lost, and somebody sits there who has not said yes.
pub(super) fn is_needed(arguments: &Drain) -> bool {
    let risky = arguments.force
        || arguments.delete_emptydir_data
        || arguments.disable_eviction
        || arguments.pace.on_deadline == OnDeadline::Delete;
    let somebody = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    risky && somebody && !arguments.pace.yes && arguments.pace.dry_run == DryRun::None
}

/// Asks about these losses; no question when there are none.
pub(super) async fn ask(losses: &[String]) -> Result<(), Failure> {
    if losses.is_empty() {
        return Ok(());
    }
    remark("This cannot be undone:");
    losses.iter().for_each(|loss| remark(&format!("  {loss}")));
    let answer = tokio::task::spawn_blocking(|| {
        drop(write!(std::io::stderr(), "Go on? [y/N] ").and_then(|()| std::io::stderr().flush()));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    match answer.await {
        Ok(Ok(line)) if matches!(line.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::new("nothing was done").hint("--yes asks no questions")),
    }
}
