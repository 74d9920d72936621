//! The number of files that this process may open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one. Many systems start processes with a soft
/// limit of 1,024, for programs that use `select`, which this one does not.
///
/// A system that refuses leaves the limit as it is, and a line in the log.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current == raised.current {
        return;
    }
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::debug!(from = ?limit.current, to = ?raised.current, "open files limit raised");
        }
        Err(error) => {
            tracing::warn!(%error, limit = ?limit.current, "cannot raise open files limit")
        }
    }
}
