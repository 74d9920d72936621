//! The events of the demo's drain and their lines of output. Pure.

use ::drain::format::{plural, verb_for};

use crate::terminal::{StyledText, Terminal, TextStyle};

/// One of the six steps of an eviction, as a client observes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DemoEvent {
    /// Step 1: an eviction was requested.
    Requested,
    /// Step 2: the API server granted it.
    Granted {
        /// Disruptions that the budget still allows.
        allowed: Option<i32>,
    },
    /// Step 2: the API server refused it.
    Refused {
        /// The message of the 429.
        message: String,
        /// The budget and its numbers.
        causes: Vec<String>,
    },
    /// Step 3: the node agent began to stop the containers.
    Stopping,
    /// Step 3: a container stopped.
    Stopped {
        /// Its exit code.
        exit_code: i32,
    },
    /// Step 4: the pod's endpoint is terminating.
    Unready,
    /// Step 4: the ReplicaSet created another pod.
    Replaced {
        /// Name of the new pod.
        by: String,
    },
    /// Step 5: the object was deleted.
    Deleted,
    /// Step 6: the budget allows a disruption again.
    Recovered {
        /// Healthy pods.
        healthy: i32,
        /// Disruptions that it allows.
        allowed: i32,
    },
}

impl DemoEvent {
    fn step(&self) -> u8 {
        match self {
            Self::Requested => 1,
            Self::Granted { .. } | Self::Refused { .. } => 2,
            Self::Stopping | Self::Stopped { .. } => 3,
            Self::Unready | Self::Replaced { .. } => 4,
            Self::Deleted => 5,
            Self::Recovered { .. } => 6,
        }
    }

    /// The description, and the lines below it.
    fn text(&self, terminal: Terminal) -> StyledText {
        let styled = |style, word| terminal.paint(style, word);
        match self {
            Self::Granted { allowed } => {
                let rest = allowed.map_or(String::new(), |allowed| {
                    format!("; the budget now allows {allowed}")
                });
                let granted = styled(TextStyle::Success, "granted");
                granted.plain(&format!("    201 Created{rest}"))
            }
            Self::Refused { message, causes } => {
                let refused = styled(TextStyle::Failure, "refused");
                let first = refused.plain(&format!("    429 {message}"));
                causes.iter().fold(first, |text, cause| {
                    text.new_line().plain(&format!("{:40}because: {cause}", ""))
                })
            }
            _ => StyledText::default().plain(&self.plain_text()),
        }
    }

    fn plain_text(&self) -> String {
        match self {
            Self::Requested => "requested  POST …/eviction".to_owned(),
            Self::Granted { .. } => "granted".to_owned(),
            Self::Refused { message, .. } => format!("refused    429 {message}"),
            Self::Stopping => {
                "stopping   the node agent runs preStop, then sends SIGTERM".to_owned()
            }
            Self::Stopped { exit_code } => {
                format!("stopped    the container exited with code {exit_code}")
            }
            Self::Unready => {
                "unready    its endpoint is terminating: no new connections".to_owned()
            }
            Self::Replaced { by } => format!("replaced   its ReplicaSet created {by}"),
            Self::Deleted => {
                "deleted    the node agent deleted the object with grace period 0".to_owned()
            }
            Self::Recovered { healthy, allowed } => {
                format!(
                    "recovered  {} {} healthy; the budget allows {}",
                    plural(*healthy, "pod"),
                    verb_for(*healthy, "is", "are"),
                    plural(*allowed, "disruption")
                )
            }
        }
    }

    /// Returns the line to print: seconds since the start of the drain, pod, step, description.
    /// `number` selects the colour of the pod.
    pub(crate) fn render(
        &self,
        terminal: Terminal,
        seconds: f64,
        pod: &str,
        number: usize,
    ) -> StyledText {
        let time = terminal.paint(TextStyle::Faint, &format!("{seconds:7.3}s"));
        let pod = terminal.paint(TextStyle::Series(number), &format!("{pod:<12}"));
        StyledText::default()
            .plain("  ")
            .then(&time)
            .plain("  ")
            .then(&pod)
            .plain(&format!("  {}  ", self.step()))
            .then(&self.text(terminal))
    }
}
