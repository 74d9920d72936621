//! How a command fails: a message, a hint that says what to do, and an exit code.

mod cluster;

use std::process::ExitCode;

use crate::terminal::print_message;

/// Why a command failed.
///
/// The message says what was attempted, on what, and why it failed. The hint says what the user can
/// do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl CliError {
    /// An operation was refused or failed: exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: 1,
        }
    }

    /// The arguments are invalid: exit code 2.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            code: 2,
        }
    }

    /// Sets the hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the message and the hint on standard error, each on one line.
    pub(crate) fn print(&self) {
        print_message(&format!("error: {}", self.message));
        if let Some(hint) = &self.hint {
            print_message(&format!("hint: {hint}"));
        }
    }

    /// Returns the lines for standard error, for tests of messages.
    #[cfg(test)]
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        text
    }

    /// Returns the exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}
