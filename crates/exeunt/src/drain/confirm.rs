//! Asks for confirmation before something that cannot be undone, if a person is at the terminal.

use tokio::sync::oneshot;

use crate::cli::{DrainArgs, DryRun, OnDeadline};
use crate::error::CliError;
use crate::signals::Signals;
use crate::terminal::{is_interactive, print_message, print_prompt};

/// Returns whether the arguments may cost data or availability and somebody can be asked about it.
pub(super) fn is_needed(arguments: &DrainArgs) -> bool {
    let (selection, eviction) = (&arguments.selection, &arguments.eviction);
    let risky = selection.force
        || selection.delete_emptydir_data
        || arguments.disable_eviction
        || eviction.on_deadline == OnDeadline::Delete;
    risky && is_interactive() && !eviction.yes && eviction.dry_run == DryRun::None
}

/// Prints the losses and asks whether to continue. Does nothing without losses.
///
/// # Errors
/// The answer was not yes, or a signal came first.
pub(super) async fn ask(losses: &[String], signals: &mut Signals) -> Result<(), CliError> {
    if losses.is_empty() {
        return Ok(());
    }
    print_message("This cannot be undone:");
    losses
        .iter()
        .for_each(|loss| print_message(&format!("  {loss}")));
    print_prompt("Continue? [y/N] ");
    tokio::select! {
        () = signals.next() => {
            // The terminal has echoed ^C behind the question.
            print_message("");
            Err(CliError::new("interrupted: nothing was changed"))
        }
        line = read_line() => match line.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(CliError::new("not confirmed: nothing was changed")
                .hint("use --yes to skip this question")),
        }
    }
}

/// Reads a line from standard input; empty at its end.
///
/// It reads on a thread of its own. The runtime waits for its blocking tasks when it shuts down,
/// and after a signal the read never ends.
async fn read_line() -> String {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // An input that cannot be read gives no confirmation.
        drop(std::io::stdin().read_line(&mut line));
        drop(sender.send(line));
    });
    receiver.await.unwrap_or_default()
}
