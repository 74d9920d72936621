//! `kubectl logs` for pods on simulated nodes.

use k8s_openapi::api::core::v1::Pod;
use kinds::Tree;
use node::LogOptions;
use server::{PodLogOptions, PodLogs};

/// Derives the log of a container from the pod's status; simulated containers write nothing.
pub(crate) struct SimulatedLogs;

impl PodLogs for SimulatedLogs {
    fn read(&self, pod: &Tree, query: &PodLogOptions) -> Result<String, String> {
        let pod: Pod = serde_json::from_value(pod.clone().into())
            .map_err(|error| format!("cannot decode the pod: {error}"))?;
        let options = LogOptions {
            container: Some(query.container.clone()),
            previous: query.previous,
            timestamps: query.timestamps,
            since: query.since,
            tail_lines: query.tail_lines,
        };
        node::logs(&pod, &options).map_err(|error| error.to_string())
    }
}
