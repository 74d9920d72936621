//! The limits that a store is opened with.

/// Default of [`StoreOptions::history_events`]. At a thousand writes a second this is three
/// minutes: enough to fetch a list page by page, or to reconnect after a broken connection.
const HISTORY_EVENTS: usize = 200_000;

/// Default of [`StoreOptions::history_bytes`]. This limit applies first when objects are large, so
/// that a server that is idle again does not keep hundreds of MiB.
const HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// Limits of what a store keeps beside its newest keyspace.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// The maximum number of events in the history, over all collections.
    pub history_events: usize,
    /// The maximum size of the history in bytes, as the store estimates it.
    pub history_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            history_events: HISTORY_EVENTS,
            history_bytes: HISTORY_BYTES,
        }
    }
}
