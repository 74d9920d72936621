//! How the API server publishes itself: a lease for each server, and the `Endpoints` and the
//! EndpointSlice of the service `kubernetes` with the addresses of all servers whose lease runs.
//!
//! Every server renews its own lease, named after its identity, and then writes the addresses of
//! all. So several servers on one store agree without talking to each other, and the address of one
//! that has ended is dropped when its lease has run out. As upstream, the last address stays.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use kinds::Tree;
use kinds::tree::json;
use store::{Revision, Txn};

use crate::request::{Refusal, WriteOptions};
use crate::target::Target;
use crate::{Registry, managers, object, record, service, tree};

/// How often a server renews its lease and looks at those of the others.
const PAUSE: Duration = Duration::from_secs(10);
/// The number of pauses after which the addresses of services are compared with their objects.
/// Upstream: every three minutes.
const REPAIR_ROUNDS: u32 = 18;
/// How long a server counts after it has renewed its lease. Upstream:
/// `DefaultEndpointReconcilerTTL`.
const LIFETIME: SignedDuration = SignedDuration::from_secs(15);
/// When a lease may be removed. Upstream: `IdentityLeaseDurationSeconds`.
const LEASE_SECONDS: i64 = 3600;
const LEASE_NAMESPACE: &str = "kube-system";
const IDENTITY_LABEL: &str = "apiserver.kubernetes.io/identity";
const IDENTITY: &str = "kube-apiserver";
const ADDRESS: &str = "exeunt.dev/address";
const SERVICE: &str = "kubernetes";
const SERVICE_NAMESPACE: &str = "default";
const PORT_NAME: &str = "https";

/// Under which name and address an API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedServer {
    /// The name of the server's lease, unique among the servers of a store.
    pub identity: String,
    /// The address that other machines and pods use.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

impl Registry {
    /// Publishes this server at once and every ten seconds, until the store is closed.
    pub fn publish<'a>(&'a self, server: &'a PublishedServer) -> BoxFuture<'a, ()> {
        // Boxed for the reason given in `Registry::call`.
        Box::pin(async {
            // This revision is never reached, so that the wait ends when the store is closed.
            let closed = self.store().reached(Revision(u64::MAX));
            tokio::select! {
                _ = closed => {}
                () = self.publish_steadily(server) => {}
            }
        })
    }

    async fn publish_steadily(&self, server: &PublishedServer) {
        let mut rounds = 0_u32;
        loop {
            if let Err(refusal) = self.publish_once(server).await {
                tracing::warn!(%refusal, "the API server was not published; trying again later");
            }
            tokio::time::sleep(PAUSE).await;
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(REPAIR_ROUNDS)
                && let Err(refusal) = self.repair_addresses().await
            {
                tracing::warn!(%refusal, "service addresses were not repaired");
            }
        }
    }

    async fn repair_addresses(&self) -> Result<(), Refusal> {
        let services = self.system_target("", "services")?;
        if service::is_sound(&self.store().snapshot(), &services) {
            return Ok(());
        }
        self.commit(|txn| {
            service::repair(self, txn, &services);
            Ok(())
        })
        .await
    }

    async fn publish_once(&self, server: &PublishedServer) -> Result<(), Refusal> {
        self.commit(|txn| {
            self.ensure_all(txn)?;
            self.write_service_port(txn, server.port)?;
            self.renew_lease(txn, server)?;
            let live = self.live_servers(txn)?;
            self.write_endpoints(txn, &live, server.port)?;
            self.write_slice(txn, &live, server.port)
        })
        .await
    }

    /// Removes this server's lease, and its address where there are others.
    ///
    /// # Errors
    /// The store has failed.
    pub fn withdraw<'a>(
        &'a self,
        server: &'a PublishedServer,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(self.commit(|txn| {
            let place = self.lease_place(&server.identity)?;
            if let Some(found) = txn.get(&place.key()) {
                record::remove(txn, &found.key, &found.value);
            }
            let live = self.live_servers(txn)?;
            if live.is_empty() {
                return Ok(());
            }
            self.write_endpoints(txn, &live, server.port)?;
            self.write_slice(txn, &live, server.port)
        }))
    }

    fn lease_place(&self, identity: &str) -> Result<Target, Refusal> {
        let leases = self.system_target("coordination.k8s.io", "leases")?;
        Ok(leases.at(LEASE_NAMESPACE, identity))
    }

    fn renew_lease(&self, txn: &mut Txn, server: &PublishedServer) -> Result<(), Refusal> {
        let place = self.lease_place(&server.identity)?;
        let now = micro_time(place.now);
        let address = server.address.to_string();
        self.write(txn, &place, |lease| {
            tree::put(lease, &["metadata", "labels", IDENTITY_LABEL], IDENTITY);
            tree::put(
                lease,
                &["metadata", "annotations", ADDRESS],
                address.clone(),
            );
            tree::put(lease, &["spec", "holderIdentity"], server.identity.clone());
            tree::put(lease, &["spec", "leaseDurationSeconds"], LEASE_SECONDS);
            tree::fill(lease, &["spec", "acquireTime"], now.clone());
            tree::put(lease, &["spec", "renewTime"], now.clone());
        });
        Ok(())
    }

    /// Returns the addresses of the servers whose lease runs, and removes the leases of servers
    /// that ended long ago.
    fn live_servers(&self, txn: &mut Txn) -> Result<BTreeSet<IpAddr>, Refusal> {
        let place = self.lease_place("")?;
        let leases: Vec<_> = txn.range(&place.prefix()).collect();
        let mut live = BTreeSet::new();
        for found in leases {
            let lease = record::parse(&found.value);
            let labels = tree::at(&lease, &["metadata", "labels"]);
            if labels.get(IDENTITY_LABEL).is_none() {
                continue;
            }
            let renewed = object::parse_time(tree::text(&lease, &["spec", "renewTime"]));
            let age = renewed.map(|renewed| place.now.duration_since(renewed));
            if age.is_some_and(|age| age <= LIFETIME) {
                let annotations = tree::at(&lease, &["metadata", "annotations"]);
                let address = annotations.get(ADDRESS).and_then(Tree::as_str);
                live.extend(address.and_then(|address| address.parse::<IpAddr>().ok()));
            } else if age.is_none_or(|age| age.as_secs() > LEASE_SECONDS) {
                record::remove(txn, &found.key, &found.value);
            }
        }
        Ok(live)
    }

    fn write_service_port(&self, txn: &mut Txn, port: u16) -> Result<(), Refusal> {
        let place = self
            .system_target("", "services")?
            .at(SERVICE_NAMESPACE, SERVICE);
        self.write(txn, &place, |service| {
            if let Some(first) = tree::list_mut(service, &["spec", "ports"]).first_mut() {
                tree::put(first, &["targetPort"], port);
            }
        });
        Ok(())
    }

    fn write_endpoints(
        &self,
        txn: &mut Txn,
        live: &BTreeSet<IpAddr>,
        port: u16,
    ) -> Result<(), Refusal> {
        let place = self
            .system_target("", "endpoints")?
            .at(SERVICE_NAMESPACE, SERVICE);
        let addresses: Vec<Tree> = live
            .iter()
            .map(|address| json!({"ip": address.to_string()}))
            .collect();
        let ports = json!([{"name": PORT_NAME, "port": port, "protocol": "TCP"}]);
        let subsets = json!([{"addresses": Tree::from(addresses), "ports": ports}]);
        self.write(txn, &place, |endpoints| {
            let skip = "endpointslice.kubernetes.io/skip-mirror";
            tree::put(endpoints, &["metadata", "labels", skip], "true");
            tree::put(endpoints, &["subsets"], subsets.clone());
        });
        Ok(())
    }

    fn write_slice(
        &self,
        txn: &mut Txn,
        live: &BTreeSet<IpAddr>,
        port: u16,
    ) -> Result<(), Refusal> {
        let place = self
            .system_target("discovery.k8s.io", "endpointslices")?
            .at(SERVICE_NAMESPACE, SERVICE);
        let is_v6 = live.iter().next().is_some_and(IpAddr::is_ipv6);
        let of_family = live.iter().filter(|address| address.is_ipv6() == is_v6);
        let endpoints: Vec<Tree> = of_family
            .map(|address| {
                json!({"addresses": [address.to_string()], "conditions": {"ready": true}})
            })
            .collect();
        let endpoints = Tree::from(endpoints);
        let ports = json!([{"name": PORT_NAME, "port": port, "protocol": "TCP"}]);
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        self.write(txn, &place, |slice| {
            let service = "kubernetes.io/service-name";
            tree::put(slice, &["metadata", "labels", service], SERVICE);
            tree::fill(slice, &["metadata", "generation"], 1);
            tree::put(slice, &["addressType"], family);
            tree::put(slice, &["endpoints"], endpoints.clone());
            tree::put(slice, &["ports"], ports.clone());
        });
        Ok(())
    }

    /// Writes what `fill` makes of an object, or of a new one, unless that changes nothing.
    fn write(&self, txn: &mut Txn, place: &Target, fill: impl Fn(&mut Tree)) {
        let found = txn.get(&place.key());
        let before = found.as_ref().map(|found| record::parse(&found.value));
        let mut object = before.clone().unwrap_or_else(|| {
            json!({"kind": place.resource.kind.as_str(),
                "apiVersion": place.resource.api_version(),
                "metadata": {"name": place.name.clone(), "namespace": place.namespace.clone()}})
        });
        fill(&mut object);
        if before.as_ref() == Some(&object) {
            return;
        }
        let author = WriteOptions {
            field_manager: managers::SERVER.to_owned(),
            ..WriteOptions::default()
        };
        if let Some(before) = &before {
            let author = managers::Author::new(place, "", &author);
            managers::updated(&mut object, before, place, &author);
        } else {
            managers::created(&mut object, place, &author);
            let meta = object::meta(&mut object);
            meta.insert("uid", self.entropy().uid().into());
            meta.insert("creationTimestamp", object::wire_time(place.now).into());
        }
        record::put(txn, &place.trees, &place.stored, &place.key(), object);
    }
}

/// Formats a time as leases have it: with microseconds.
fn micro_time(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
