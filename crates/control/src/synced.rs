//! A signal that the first list of a kind is in its cache.

use tokio::sync::watch;

/// Waits for the first list of one informer. Controllers wait for those of all the caches that they
/// read, because a cache that is half filled looks like a cluster in which objects are missing.
pub(crate) struct Synced(watch::Receiver<bool>);

impl Synced {
    pub(crate) fn new(receiver: watch::Receiver<bool>) -> Self {
        Self(receiver)
    }

    /// Returns when the first list is in the cache, or when the informer has been dropped.
    pub(crate) async fn wait(mut self) {
        // The sender lives as long as the task of the informer. When that is gone, the process
        // shuts down, and so does the controller that waits.
        let _ = self.0.wait_for(|synced| *synced).await;
    }
}
