//! What can happen during the demo's drain, and how it reads: a pure rendering.

use crate::terminal::{Terminal, Tone};

/// One thing that was seen, with the pod that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Step 1: an eviction was asked for.
    Asked,
    /// Step 2: it was granted.
    Granted {
        /// What the budget still allows.
        allowed: Option<i32>,
    },
    /// Step 2: it was refused.
    Refused {
        /// The headline of the 429.
        message: String,
        /// Which budget, and why.
        causes: Vec<String>,
    },
    /// Step 3: the node agent has begun to stop the containers.
    Stopping,
    /// Step 3: a container has stopped.
    Stopped {
        /// Its exit code.
        exit_code: i32,
    },
    /// Step 4: the pod's endpoint takes no new connections.
    Unready,
    /// Step 4: another pod was made in its place.
    Replaced {
        /// Name of the new pod.
        by: String,
    },
    /// Step 5: the object is gone.
    Removed,
    /// Step 6: the budget counts enough pods again.
    Recovered {
        /// Healthy pods.
        healthy: i32,
        /// What it allows now.
        allowed: i32,
    },
}

impl Happening {
    fn step(&self) -> u8 {
        match self {
            Self::Asked => 1,
            Self::Granted { .. } | Self::Refused { .. } => 2,
            Self::Stopping | Self::Stopped { .. } => 3,
            Self::Unready | Self::Replaced { .. } => 4,
            Self::Removed => 5,
            Self::Recovered { .. } => 6,
        }
    }

    fn text(&self, terminal: Terminal) -> String {
        match self {
            Self::Asked => "asked      POST …/eviction".to_owned(),
            Self::Granted { allowed } => {
                let rest = allowed.map_or(String::new(), |allowed| {
                    format!("; the budget now allows {allowed}")
                });
                format!(
                    "{}    201 Created{rest}",
                    terminal.paint(Tone::Good, "granted")
                )
            }
            Self::Refused { message, causes } => {
                let mut text = format!("{}    429 {message}", terminal.paint(Tone::Bad, "refused"));
                for cause in causes {
                    text.push_str(&format!("\n{:40}because: {cause}", ""));
                }
                text
            }
            Self::Stopping => {
                "stopping   the node agent runs preStop, then sends SIGTERM".to_owned()
            }
            Self::Stopped { exit_code } => {
                format!("stopped    the container ended with exit code {exit_code}")
            }
            Self::Unready => {
                "unready    its endpoint is terminating and takes no new connections".to_owned()
            }
            Self::Replaced { by } => format!("replaced   its ReplicaSet made {by}"),
            Self::Removed => "removed    the agent deleted the object with grace 0".to_owned(),
            Self::Recovered { healthy, allowed } => {
                format!("recovered  the budget counts {healthy} healthy pods and allows {allowed}")
            }
        }
    }

    /// The line to print: time since the drain began, pod, step, text.
    pub(crate) fn render(
        &self,
        terminal: Terminal,
        seconds: f64,
        pod: &str,
        number: usize,
    ) -> String {
        let time = terminal.paint(Tone::Faint, &format!("{seconds:7.3}s"));
        let pod = terminal.paint(Tone::Thing(number), &format!("{pod:<12}"));
        format!("  {time}  {pod}  {}  {}", self.step(), self.text(terminal))
    }
}
