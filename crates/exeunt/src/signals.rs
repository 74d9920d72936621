//! Ctrl-C and SIGTERM.

use anyhow::Context as _;
use cluster::Cluster;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Receives Ctrl-C and SIGTERM. From its creation on, neither ends the process by itself.
pub(crate) struct Signals {
    interrupted: Signal,
    terminated: Signal,
}

impl Signals {
    /// Starts to receive. Call this before anything announces that the process is ready: whoever
    /// reads that may send a signal at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
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

/// Waits for Ctrl-C or SIGTERM. Signals that arrive before the first poll end the process.
pub(crate) async fn signalled() {
    match Signals::listen() {
        Ok(mut signals) => signals.next().await,
        // A signal then ends the process, as it does by default.
        Err(_) => std::future::pending().await,
    }
}
