//! The events of a drain, as values: for lines, tables and programs alike.

use serde::Serialize;

use crate::cordon::CordonChange;
use crate::evict::{EvictionRefusal, FaultClass, PodRef};
use crate::termination::WaitCause;

/// An event of a drain. Serialized with its name in the member `event`; the names are stable.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum DrainEvent {
    /// The node is marked as unschedulable.
    Cordoned {
        /// Name of the node.
        node: String,
        /// Whether the drain changed it.
        change: CordonChange,
    },
    /// The pods of the node were listed, and their evictions begin.
    Started {
        /// Name of the node.
        node: String,
        /// The number of pods to evict.
        pods: usize,
    },
    /// Something that the user should know.
    Warning {
        /// The message, in kubectl's words where kubectl prints it too.
        message: String,
    },
    /// An eviction request, or with `--disable-eviction` a delete request, is sent.
    #[serde(rename = "asked")]
    EvictionRequested {
        /// The pod.
        pod: PodRef,
        /// The number of the request for this pod, from 1.
        attempt: u32,
    },
    /// The server refused the eviction (429). It is retried.
    Refused {
        /// The pod.
        pod: PodRef,
        /// The server's answer.
        #[serde(flatten)]
        why: EvictionRefusal,
        /// The budgets that refuse (`NAMESPACE/NAME`).
        budgets: Vec<String>,
        /// The number of refusals of this pod, from 1.
        times: u32,
    },
    /// The request failed for another reason. It is retried.
    #[serde(rename = "faulty")]
    RequestFailed {
        /// The pod.
        pod: PodRef,
        /// The class of the failure.
        class: FaultClass,
        /// The server's message, or that of the transport.
        message: String,
        /// Seconds until the next request.
        retry_seconds: i64,
    },
    /// The pod's deadline has passed, and the drain keeps waiting (`--on-deadline wait`).
    #[serde(rename = "overdue")]
    DeadlinePassed {
        /// The pod.
        pod: PodRef,
    },
    /// The pod is deleted in spite of its budget, because its deadline has passed (`--on-deadline
    /// delete`).
    Deleted {
        /// The pod.
        pod: PodRef,
    },
    /// The server accepted the eviction or deletion. The pod terminates.
    Accepted {
        /// The pod.
        pod: PodRef,
    },
    /// The pod still exists although it should have terminated.
    #[serde(rename = "held")]
    TerminationDelayed {
        /// The pod.
        pod: PodRef,
        /// What it waits for.
        cause: WaitCause,
    },
    /// The pod no longer exists.
    Gone {
        /// The pod.
        pod: PodRef,
        /// True when it was deleted, false when it was evicted.
        deleted: bool,
        /// Seconds since the drain of its node began.
        seconds: f64,
    },
    /// In a dry run: the server would grant the eviction.
    #[serde(rename = "would")]
    WouldEvict {
        /// The pod.
        pod: PodRef,
    },
    /// The drain stops waiting for the pod (`--skip-wait-for-delete-timeout`).
    Skipped {
        /// The pod.
        pod: PodRef,
    },
    /// The pod stays because its deadline has passed; in a dry run, because the server would
    /// refuse.
    #[serde(rename = "left")]
    NotEvicted {
        /// The pod.
        pod: PodRef,
        /// Why.
        why: String,
    },
    /// The eviction failed, and retrying would not help.
    Failed {
        /// The pod.
        pod: PodRef,
        /// Why.
        why: String,
    },
    /// The pod's workload is being scaled up before the pod is evicted (`--surge`).
    Surging {
        /// The pod.
        pod: PodRef,
    },
    /// The additional replica is ready.
    Surged {
        /// The pod.
        pod: PodRef,
        /// The workload that was scaled up.
        workload: String,
    },
    /// The workload is scaled back.
    Restored {
        /// The workload.
        workload: String,
    },
    /// The node object was deleted during the drain.
    #[serde(rename = "node-vanished")]
    NodeDeleted {
        /// Name of the node.
        node: String,
    },
    /// The node is drained.
    Drained {
        /// Name of the node.
        node: String,
        /// Seconds since its drain began.
        seconds: f64,
    },
    /// The node could not be drained.
    NodeFailed {
        /// Name of the node.
        node: String,
        /// The errors, in kubectl's words.
        errors: Vec<String>,
        /// Keys (`NAMESPACE/NAME`) of the pods that still exist, empty when none was evicted.
        pending: Vec<String>,
    },
}
