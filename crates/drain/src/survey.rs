//! Reads the pods of a node and sorts them into those that go, stay and block.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, Error};

use crate::filter::{Allowed, Daemon, Sorted, daemon_set, judge};
use crate::{evict, health};

/// DaemonSets that are read at the same time.
const READERS: usize = 8;

/// Which pods of a node to look at, and what is allowed with them.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// What the user allows.
    pub allowed: Allowed,
    /// Only pods with these labels; empty is all.
    pub pod_selector: String,
    /// Pods in one answer; 0 is all.
    pub chunk_size: u32,
}

impl Survey {
    /// Reads and sorts the pods of a node.
    ///
    /// # Errors
    /// The pods cannot be listed.
    pub async fn of_node(
        &self,
        client: &Client,
        node: &str,
        now: Timestamp,
    ) -> Result<Sorted, Error> {
        let mut pods = self.list(client, node).await?;
        pods.sort_by(|one, other| {
            (&one.metadata.namespace, &one.metadata.name)
                .cmp(&(&other.metadata.namespace, &other.metadata.name))
        });
        let daemons = daemons_of(client, &pods).await;
        let mut sorted = Sorted::default();
        for pod in pods {
            let daemon = daemon_set(&pod).and_then(|name| {
                daemons.get(&(health::namespace(&pod).to_owned(), name.to_owned()))
            });
            let verdict = judge(&pod, daemon.unwrap_or(&Daemon::None), self.allowed, now);
            sorted.add(pod, verdict);
        }
        Ok(sorted)
    }

    async fn list(&self, client: &Client, node: &str) -> Result<Vec<Pod>, Error> {
        let mut params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        if !self.pod_selector.is_empty() {
            params = params.labels(&self.pod_selector);
        }
        if self.chunk_size > 0 {
            params = params.limit(self.chunk_size);
        }
        let (api, mut pods) = (Api::<Pod>::all(client.clone()), Vec::new());
        loop {
            let page = api.list(&params).await?;
            pods.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(pods),
            }
        }
    }
}

type DaemonName = (String, String);

/// Whether the DaemonSets of these pods exist, each asked for once.
async fn daemons_of(client: &Client, pods: &[Pod]) -> BTreeMap<DaemonName, Daemon> {
    let running = pods.iter().filter(|pod| !health::is_finished(pod));
    let mut names: Vec<DaemonName> = running
        .filter_map(|pod| {
            Some((
                health::namespace(pod).to_owned(),
                daemon_set(pod)?.to_owned(),
            ))
        })
        .collect();
    names.sort();
    names.dedup();
    let ask = |(namespace, name): DaemonName| async move {
        let daemon = match Api::<DaemonSet>::namespaced(client.clone(), &namespace)
            .get(&name)
            .await
        {
            Ok(_) => Daemon::There,
            Err(Error::Api(status)) if status.code == 404 => Daemon::Gone(status.message.clone()),
            Err(error) => Daemon::Unknown(evict::words(&error)),
        };
        ((namespace, name), daemon)
    };
    futures::stream::iter(names)
        .map(ask)
        .buffer_unordered(READERS)
        .collect()
        .await
}
