//! The registration of nodes, their leases and their status.
//!
//! A node is registered once, at the start of the agent. A node that is deleted later stays
//! deleted, as with a kubelet. One loop renews all leases, spread over the interval.

mod render;

use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, Entropy};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kinds::path::segment;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::addresses::NodeSubnet;
use crate::backoff::RequestBackoff;
use crate::options::NodeOptions;

/// The maximum number of requests for nodes and leases that are in flight at the same time.
const MAX_IN_FLIGHT: usize = 32;
/// The duration of a lease, as a multiple of the interval between two renewals.
const LEASE_INTERVALS: u32 = 4;

/// Registers the nodes of an agent and keeps them alive.
#[derive(Clone)]
pub(crate) struct NodeRegistration {
    client: Client,
    clock: Clock,
    entropy: Entropy,
    options: Arc<NodeOptions>,
}

impl NodeRegistration {
    pub(crate) fn new(
        client: Client,
        clock: Clock,
        entropy: Entropy,
        options: Arc<NodeOptions>,
    ) -> Self {
        Self {
            client,
            clock,
            entropy,
            options,
        }
    }

    /// Registers all nodes, reports it on `registered`, and keeps the nodes alive until shutdown.
    pub(crate) async fn run(self, registered: watch::Sender<bool>, shutdown: CancellationToken) {
        let all = async {
            self.register_all().await;
            registered.send_replace(true);
            self.keep_alive().await;
        };
        let _ = shutdown.run_until_cancelled(all).await;
    }

    async fn register_all(&self) {
        let mut calls = JoinSet::new();
        for index in 0..self.options.names.len() {
            if calls.len() >= MAX_IN_FLIGHT {
                calls.join_next().await;
            }
            let registration = self.clone();
            calls.spawn(async move { registration.register_until_done(index).await });
        }
        while calls.join_next().await.is_some() {}
    }

    async fn register_until_done(&self, index: usize) {
        for pause in RequestBackoff::new(self.entropy.clone()) {
            match self.register(index).await {
                Ok(()) => {
                    self.renew(index).await;
                    return;
                }
                Err(error) => {
                    tracing::warn!(node = self.options.names[index], %error, "cannot register node")
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn register(&self, index: usize) -> Result<(), kube::Error> {
        let (name, now) = (&self.options.names[index], self.clock.now());
        let subnet = NodeSubnet::of(self.options.first_index + index);
        let boot_id = self.entropy.uid();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let wanted = render::node(&self.options, name, subnet, &boot_id, now);
        let created = serde_json::from_value(wanted.clone()).map_err(kube::Error::SerdeError)?;
        match nodes.create(&PostParams::default(), &created).await {
            // Some servers ignore the status in a creation. Then it is written separately.
            Ok(node)
                if node
                    .status
                    .as_ref()
                    .is_some_and(|status| status.conditions.is_some()) =>
            {
                return Ok(());
            }
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let labels = json!({"metadata": {"labels": wanted["metadata"]["labels"]}});
                nodes
                    .patch(
                        &segment(name),
                        &PatchParams::default(),
                        &Patch::Strategic(labels),
                    )
                    .await?;
            }
            Err(error) => return Err(error),
        }
        let status = json!({"status": wanted["status"]});
        nodes
            .patch_status(
                &segment(name),
                &PatchParams::default(),
                &Patch::Strategic(status),
            )
            .await?;
        Ok(())
    }

    async fn keep_alive(&self) {
        let count = self.options.names.len();
        // A clock that is set back must not delay renewals, or the node would count as dead.
        let steady = self.clock.steady();
        let begin = steady.now();
        let rounds_per_status = self
            .options
            .status_interval
            .as_nanos()
            .div_ceil(self.options.lease_interval.as_nanos())
            .max(1);
        let lease_duration =
            SignedDuration::try_from(self.options.lease_interval * LEASE_INTERVALS)
                .unwrap_or(SignedDuration::MAX);
        let mut renewed_at = vec![begin; count];
        let mut calls: JoinSet<(usize, bool)> = JoinSet::new();
        for round in 1_u32.. {
            for index in 0..count {
                steady
                    .sleep_until(renewal_time(
                        begin,
                        self.options.lease_interval,
                        round,
                        index,
                        count,
                    ))
                    .await;
                let mut finished = calls.try_join_next();
                if finished.is_none() && calls.len() >= MAX_IN_FLIGHT {
                    finished = calls.join_next().await;
                }
                while let Some(call) = finished {
                    if let Ok((index, true)) = call {
                        renewed_at[index] = steady.now();
                    }
                    finished = calls.try_join_next();
                }
                // Each node reports in a round of its own, so that not all of them report at
                // once. A node that could not renew its lease for long reports immediately,
                // because the node lifecycle controller may have marked it as unknown.
                let reports = (u128::from(round) + index as u128).is_multiple_of(rounds_per_status)
                    || steady.now().duration_since(renewed_at[index]) > lease_duration;
                let registration = self.clone();
                calls.spawn(async move {
                    let renewed = registration.renew(index).await;
                    if reports {
                        registration.report_status(index).await;
                    }
                    (index, renewed)
                });
            }
        }
    }

    /// Renews the lease of a node, or creates it. Returns true on success.
    async fn renew(&self, index: usize) -> bool {
        let name = &self.options.names[index];
        let renewed = self.try_renew(name).await;
        if let Err(error) = &renewed {
            tracing::warn!(node = name, %error, "cannot renew lease");
        }
        renewed.is_ok()
    }

    async fn try_renew(&self, name: &str) -> Result<(), kube::Error> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let seconds = self.options.lease_interval.as_secs().max(1) * u64::from(LEASE_INTERVALS);
        let spec = render::lease_spec(name, seconds, self.clock.now());
        let renewal = Patch::Merge(json!({ "spec": spec }));
        match leases
            .patch(&segment(name), &PatchParams::default(), &renewal)
            .await
        {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        // The node owns its lease. A deleted node gets none.
        let nodes: Api<Node> = Api::all(self.client.clone());
        let Some(uid) = nodes
            .get_opt(&segment(name))
            .await?
            .and_then(|node| node.metadata.uid)
        else {
            return Ok(());
        };
        let lease = serde_json::from_value(render::lease(name, &uid, &spec))
            .map_err(kube::Error::SerdeError)?;
        leases
            .create(&PostParams::default(), &lease)
            .await
            .map(drop)
    }

    /// Publishes the status of the node.
    async fn report_status(&self, index: usize) {
        let name = &self.options.names[index];
        let nodes: Api<Node> = Api::all(self.client.clone());
        let reported = async {
            let Some(node) = nodes.get_opt(&segment(name)).await? else {
                return Ok(());
            };
            let conditions = render::current_conditions(&node, self.clock.now());
            let status = json!({"status": {"conditions": conditions}});
            nodes
                .patch_status(
                    &segment(name),
                    &PatchParams::default(),
                    &Patch::Strategic(status),
                )
                .await
                .map(drop)
        };
        let reported: Result<(), kube::Error> = reported.await;
        if let Err(error) = reported {
            tracing::warn!(node = name, %error, "cannot report node status");
        }
    }
}

/// Returns the time at which the lease of the node with this index is renewed in a round.
fn renewal_time(
    begin: Timestamp,
    interval: Duration,
    round: u32,
    index: usize,
    count: usize,
) -> Timestamp {
    let to_u32 = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let offset = interval.saturating_mul(to_u32(index)) / to_u32(count).max(1);
    let passed = SignedDuration::try_from(interval.saturating_mul(round) + offset)
        .unwrap_or(SignedDuration::MAX);
    begin.saturating_add(passed).unwrap_or(Timestamp::MAX)
}
