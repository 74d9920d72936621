//! Everything that can happen during a drain, as values: for lines, tables and programs alike.

use serde::Serialize;

use crate::cordon::Change;
use crate::evict::{Class, Refused, Target};
use crate::leaving::Cause;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The node takes no new pods.
    Cordoned {
        /// Its name.
        node: String,
        /// Whether that was news.
        change: Change,
    },
    /// The node's pods are known, and begin to go.
    Started {
        /// Its name.
        node: String,
        /// How many go.
        pods: usize,
    },
    /// Something that may surprise.
    Warning {
        /// In kubectl's words, where kubectl says it too.
        message: String,
    },
    /// A pod is told to go, for the n-th time.
    Asked {
        /// The pod.
        pod: Target,
        /// 1 for the first.
        attempt: u32,
    },
    /// The server refused, for the n-th time in a row.
    Refused {
        /// The pod.
        pod: Target,
        /// In the server's words.
        #[serde(flatten)]
        why: Refused,
        /// The budgets that refuse.
        budgets: Vec<String>,
        /// 1 for the first.
        times: u32,
    },
    /// Something went wrong and is tried again.
    Faulty {
        /// The pod.
        pod: Target,
        /// Of what class.
        class: Class,
        /// In the server's words.
        message: String,
        /// When it is tried again.
        retry_seconds: i64,
    },
    /// The pod's deadline has passed, and it is waited for still.
    Overdue {
        /// The pod.
        pod: Target,
    },
    /// The pod is deleted past its budget, since its deadline has passed.
    Deleted {
        /// The pod.
        pod: Target,
    },
    /// The pod is leaving.
    Accepted {
        /// The pod.
        pod: Target,
    },
    /// The pod should be gone and is not.
    Held {
        /// The pod.
        pod: Target,
        /// By what.
        cause: Cause,
    },
    /// The pod is gone.
    Gone {
        /// The pod.
        pod: Target,
        /// Whether it was deleted and not evicted.
        deleted: bool,
        /// Since the node's drain began.
        seconds: f64,
    },
    /// A dry run: the server would accept.
    Would {
        /// The pod.
        pod: Target,
    },
    /// The pod was not waited for, since it should have been gone for long.
    Skipped {
        /// The pod.
        pod: Target,
    },
    /// A deadline passed and the pod stays.
    Left {
        /// The pod.
        pod: Target,
        /// Why.
        why: String,
    },
    /// The pod could not be evicted.
    Failed {
        /// The pod.
        pod: Target,
        /// Why.
        why: String,
    },
    /// Another replica is started before the pod goes.
    Surging {
        /// The pod.
        pod: Target,
    },
    /// The other replica is ready.
    Surged {
        /// The pod.
        pod: Target,
        /// What was scaled up.
        workload: String,
    },
    /// The workload is back at its size.
    Restored {
        /// What was scaled up.
        workload: String,
    },
    /// The node object was deleted under the drain.
    NodeVanished {
        /// Its name.
        node: String,
    },
    /// The node is drained.
    Drained {
        /// Its name.
        node: String,
        /// Since its drain began.
        seconds: f64,
    },
    /// The node could not be drained.
    NodeFailed {
        /// Its name.
        node: String,
        /// What keeps it, in kubectl's words.
        errors: Vec<String>,
        /// The pods that are still there (`namespace/name`), when some were told to go.
        pending: Vec<String>,
    },
}
