//! Ctrl-C and SIGTERM.

use anyhow::Context as _;
use cluster::Cluster;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;

/// Receives Ctrl-C and SIGTERM. From its creation on, neither ends the process by itself, also
/// where the parent process has them ignored (`nohup`, background jobs of scripts).
pub(crate) struct Signals {
    interrupted: Signal,
    terminated: Signal,
}

impl Signals {
    /// Starts to receive. Call this before anything announces that the process is ready: whoever
    /// reads that may send a signal at once.
    pub(crate) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupted: listen(SignalKind::interrupt())?,
            terminated: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for one of the two.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }

    /// Waits for one of the two, or until the cluster ends by itself.
    pub(crate) async fn next_or_end_of(&mut self, cluster: &Cluster) {
        tokio::select! {
            () = self.next() => {}
            () = cluster.ended() => {}
        }
    }
}
