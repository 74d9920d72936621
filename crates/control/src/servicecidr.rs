//! Ranges of service addresses: announces that a range is ready, and keeps a deleted one as long as
//! an address depends on it.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, has_finalizer, without_finalizer};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 1;
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";
const IN_USE: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them \
    or create a new ServiceCIDR";

struct Controller {
    context: ControllerContext,
    ranges: Arc<Cache<ServiceCIDR>>,
    addresses: Arc<Cache<IPAddress>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let (wake, ranges) = (queue.clone(), Arc::clone(&informers.service_cidrs.cache));
    // Another range may cover what a deleted one is kept for.
    let wake_all = move || {
        let ranges = ranges.all().into_iter();
        ranges.for_each(|range| wake.add(ObjectKey::of(&*range)));
    };
    let wake = wake_all.clone();
    informers.service_cidrs.subscribe(move |_| wake());
    informers.ip_addresses.subscribe(move |change| {
        if change.new.is_none() {
            wake_all();
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        ranges: Arc::clone(&informers.service_cidrs.cache),
        addresses: Arc::clone(&informers.ip_addresses.cache),
    });
    let synced = vec![
        informers.service_cidrs.cache.synced(),
        informers.ip_addresses.cache.synced(),
    ];
    context.run("service address ranges", queue, WORKERS, synced, controller);
}

/// What to write of a range.
#[derive(Debug, PartialEq, Eq)]
enum RangeStep {
    Nothing,
    AddFinalizer,
    /// Report the range as ready.
    SetReady,
    /// Report that addresses keep the deleted range.
    SetInUse,
    DropFinalizer,
}

fn plan(range: &ServiceCIDR, others: &[Arc<ServiceCIDR>], addresses: &[IpAddr]) -> RangeStep {
    let status = range.status.as_ref();
    let mut conditions = status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == READY);
    let is = |wanted: &str| ready.is_some_and(|ready| ready.status == wanted);
    let is_held = has_finalizer(&range.metadata, FINALIZER);
    if range.metadata.deletion_timestamp.is_none() {
        return match (is_held, ready.is_some()) {
            (false, _) => RangeStep::AddFinalizer,
            (true, false) => RangeStep::SetReady,
            (true, true) => RangeStep::Nothing,
        };
    }
    if !is_held {
        return RangeStep::Nothing;
    }
    let name = &range.metadata.name;
    let others: Vec<Network> = others
        .iter()
        .filter(|other| other.metadata.name != *name && other.metadata.deletion_timestamp.is_none())
        .flat_map(|other| networks(other))
        .collect();
    let depends = |network: Network| {
        addresses.iter().any(|address| {
            network.contains(*address) && !others.iter().any(|other| other.contains(*address))
        })
    };
    match (networks(range).any(depends), is("False")) {
        (true, true) => RangeStep::Nothing,
        (true, false) => RangeStep::SetInUse,
        (false, _) => RangeStep::DropFinalizer,
    }
}

/// A range of addresses of one family.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        Some(Self {
            address: address.parse().ok()?,
            bits: bits.parse().ok()?,
        })
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = u32::from(own) ^ u32::from(other);
                differs
                    .checked_shr(32_u32.saturating_sub(self.bits))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = u128::from(own) ^ u128::from(other);
                differs
                    .checked_shr(128_u32.saturating_sub(self.bits))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

fn networks(range: &ServiceCIDR) -> impl Iterator<Item = Network> {
    let spec = range.spec.iter();
    let texts = spec.flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| Network::parse(text))
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(range) = self.ranges.get(key) else {
            return Ok(Requeue::OnChange);
        };
        let addresses: Vec<IpAddr> = self
            .addresses
            .all()
            .iter()
            .filter_map(|address| address.metadata.name.as_deref()?.parse().ok())
            .collect();
        match plan(&range, &self.ranges.all(), &addresses) {
            RangeStep::Nothing => {}
            RangeStep::AddFinalizer => {
                let mut finalizers = range.metadata.finalizers.clone().unwrap_or_default();
                finalizers.push(FINALIZER.to_owned());
                self.patch(&range, json!(finalizers)).await?;
            }
            RangeStep::SetReady => {
                let message = "Kubernetes Service CIDR is ready";
                self.set_ready(&range, "True", "", message).await?;
            }
            RangeStep::SetInUse => {
                self.set_ready(&range, "False", "Terminating", IN_USE)
                    .await?;
            }
            RangeStep::DropFinalizer => {
                let left = without_finalizer(&range.metadata, FINALIZER);
                self.patch(&range, left).await?;
            }
        }
        Ok(Requeue::OnChange)
    }
}

impl Controller {
    async fn patch(&self, range: &ServiceCIDR, finalizers: Value) -> Result<(), ReconcileError> {
        let patch = json!({"metadata": {"uid": range.metadata.uid,
            "resourceVersion": range.metadata.resource_version, "finalizers": finalizers}});
        let name = range.metadata.name.as_deref().unwrap_or_default();
        let api = self.context.cluster::<ServiceCIDR>();
        ignore_not_found(
            api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )?;
        Ok(())
    }

    async fn set_ready(
        &self,
        range: &ServiceCIDR,
        status: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), ReconcileError> {
        let condition = json!({"type": READY, "status": status, "reason": reason,
            "message": message, "lastTransitionTime": self.context.now_on_wire()});
        let patch = json!({"metadata": {"uid": range.metadata.uid,
            "resourceVersion": range.metadata.resource_version},
            "status": {"conditions": [condition]}});
        let name = range.metadata.name.as_deref().unwrap_or_default();
        let api = self.context.cluster::<ServiceCIDR>();
        ignore_not_found(
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidr: &str, more: Value) -> Arc<ServiceCIDR> {
        let mut range = json!({"metadata": {"name": name, "finalizers": [FINALIZER]},
            "spec": {"cidrs": [cidr]}});
        for (member, value) in more.as_object().expect("an object") {
            range["metadata"][member] = value.clone();
        }
        Arc::new(serde_json::from_value(range).expect("a range"))
    }

    #[test]
    fn a_deleted_range_is_kept_for_addresses_that_no_other_range_has() {
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let own = range("one", "10.0.0.0/24", deleted.clone());
        let wider = range("two", "10.0.0.0/16", json!({}));
        let leaving = range("three", "10.0.0.0/16", deleted);
        let address = |text: &str| vec![text.parse::<IpAddr>().expect("an address")];
        let cases = [
            (vec![], address("10.0.0.7"), RangeStep::SetInUse),
            (vec![], address("10.0.1.7"), RangeStep::DropFinalizer),
            (vec![wider], address("10.0.0.7"), RangeStep::DropFinalizer),
            (vec![leaving], address("10.0.0.7"), RangeStep::SetInUse),
            (vec![], vec![], RangeStep::DropFinalizer),
        ];
        for (others, addresses, expected) in cases {
            assert_eq!(plan(&own, &others, &addresses), expected, "{addresses:?}");
        }
        let fresh = range("one", "10.0.0.0/24", json!({"finalizers": null}));
        assert_eq!(plan(&fresh, &[], &[]), RangeStep::AddFinalizer);
        assert_eq!(
            plan(&range("one", "10.0.0.0/24", json!({})), &[], &[]),
            RangeStep::SetReady
        );
    }
}
