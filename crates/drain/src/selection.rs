//! Lists the pods of a node and decides which of them a drain evicts.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kinds::path::segment;
use kube::api::{Api, ListParams};
use kube::{Client, Error};

use crate::evict;
use crate::filter::{DaemonSetLookup, FilterOptions, FilteredPods, daemon_set, decide};
use crate::pods;

/// The maximum number of DaemonSet requests in flight.
const MAX_IN_FLIGHT: usize = 8;

/// Which pods of a node to list, and how to filter them.
#[derive(Clone, Debug, Default)]
pub struct PodSelection {
    /// The flags that decide about pods.
    pub filter: FilterOptions,
    /// A label selector; empty selects all pods.
    pub pod_selector: String,
    /// The number of pods in one page of the list; 0 lists all pods in one response.
    pub chunk_size: u32,
}

impl PodSelection {
    /// Lists and filters the pods of a node.
    ///
    /// # Errors
    /// The error of the list request. A failed lookup of a DaemonSet is no error: it blocks the
    /// drain through [`FilteredPods::blocking`].
    pub async fn of_node(
        &self,
        client: &Client,
        node: &str,
        now: Timestamp,
    ) -> Result<FilteredPods, Error> {
        let mut pods = self.list(client, node).await?;
        pods.sort_by(|one, other| {
            (&one.metadata.namespace, &one.metadata.name)
                .cmp(&(&other.metadata.namespace, &other.metadata.name))
        });
        let daemon_sets = daemon_sets_of(client, &pods).await;
        let mut filtered = FilteredPods::default();
        for pod in pods {
            let found = daemon_set_key(&pod).and_then(|key| daemon_sets.get(&key));
            let lookup = found.unwrap_or(&DaemonSetLookup::NotManaged);
            let decision = decide(&pod, lookup, self.filter, now);
            filtered.add(pod, decision);
        }
        Ok(filtered)
    }

    async fn list(&self, client: &Client, node: &str) -> Result<Vec<Pod>, Error> {
        let mut params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        if !self.pod_selector.is_empty() {
            params = params.labels(&self.pod_selector);
        }
        if self.chunk_size > 0 {
            params = params.limit(self.chunk_size);
        }
        crate::list::all(&Api::<Pod>::all(client.clone()), params).await
    }
}

/// Namespace and name.
type DaemonSetKey = (String, String);

fn daemon_set_key(pod: &Pod) -> Option<DaemonSetKey> {
    Some((pods::namespace(pod).to_owned(), daemon_set(pod)?.to_owned()))
}

/// Looks up the DaemonSets of the pods, each once.
async fn daemon_sets_of(client: &Client, pods: &[Pod]) -> BTreeMap<DaemonSetKey, DaemonSetLookup> {
    let running = pods.iter().filter(|pod| !pods::is_finished(pod));
    let mut keys: Vec<DaemonSetKey> = running.filter_map(daemon_set_key).collect();
    keys.sort();
    keys.dedup();
    let look_up = |(namespace, name): DaemonSetKey| async move {
        let api = Api::<DaemonSet>::namespaced(client.clone(), &segment(&namespace));
        let found = match api.get(&segment(&name)).await {
            Ok(_) => DaemonSetLookup::Found,
            Err(Error::Api(status)) if status.code == 404 => {
                DaemonSetLookup::NotFound(status.message.clone())
            }
            Err(error) => DaemonSetLookup::Failed(evict::message_of(&error)),
        };
        ((namespace, name), found)
    };
    futures::stream::iter(keys)
        .map(look_up)
        .buffer_unordered(MAX_IN_FLIGHT)
        .collect()
        .await
}
