//! The addresses of services: ServiceCIDR objects say which there are, and an IPAddress object
//! stands for each that is taken.
//!
//! The object of an address is written in the commit that stores its service, and removed in the
//! commit that removes the service or takes the address from it. So the name of the object, which
//! is the address, keeps two services apart.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use kinds::Tree;
use kinds::tree::json;
use store::{Record, Txn};

use crate::facts::ServiceFacts;
use crate::request::WriteOptions;
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::StoreView;
use crate::{Registry, key, managers, object, record, tree};

const GROUP: &str = "networking.k8s.io";
const ADDRESSES: &str = "ipaddresses";
const RANGES: &str = "servicecidrs";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// How many random numbers are tried before the ranges are searched in order.
const RANDOM_ATTEMPTS: usize = 16;

/// Returns the resource of this plural in the group of addresses and ranges.
fn resource(plural: &str) -> Option<ResourceRef> {
    ResourceRef::built_in(GROUP, "v1", plural)
}

/// A range of IPv4 addresses for services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressRange {
    first: u32,
    bits: u32,
}

impl AddressRange {
    /// Parses `10.96.0.0/16`; `None` for other families and for what validation refuses.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (address.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
        Some(Self {
            first: u32::from(address) & mask,
            bits,
        })
    }

    fn size(self) -> u64 {
        1 << (32 - self.bits)
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        let distance = u64::from(u32::from(address)).checked_sub(u64::from(self.first));
        distance.is_some_and(|distance| distance < self.size())
    }

    /// Returns the place of the last address that a service may get. The first one names the
    /// network, the last one is its broadcast address.
    fn last(self) -> u64 {
        self.size().saturating_sub(2)
    }

    /// Returns the place from which addresses are drawn. Those below are left, as long as there are
    /// others, to services that ask for one (KEP-3070).
    fn drawn_from(self) -> u64 {
        const LEAST: u64 = 16;
        const MOST: u64 = 256;
        const STEP: u64 = 16;
        if self.size() <= LEAST {
            1
        } else {
            (self.size() / STEP).clamp(LEAST, MOST)
        }
    }

    fn at(self, place: u64) -> Option<Ipv4Addr> {
        let place = u32::try_from(place).ok()?;
        self.first.checked_add(place).map(Ipv4Addr::from)
    }

    fn usable(self, address: Ipv4Addr) -> bool {
        let place = u64::from(u32::from(address)).wrapping_sub(u64::from(self.first));
        (1..=self.last()).contains(&place)
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", Ipv4Addr::from(self.first), self.bits)
    }
}

/// Returns the ranges from which services get addresses: those of all ServiceCIDRs that are ready
/// and not being deleted. Without any ServiceCIDR, that of the options.
fn ranges(registry: &Registry, view: &impl StoreView) -> Vec<AddressRange> {
    let [one, two] = registry.options().service_network;
    let default = AddressRange::parse(&format!("{one}.{two}.0.0/16"));
    let Some(resource) = resource(RANGES) else {
        return default.into_iter().collect();
    };
    let mut found = Vec::new();
    let mut is_any = false;
    for record in view.records(&key::prefix(&resource, "")) {
        is_any = true;
        let range = record::parse(&record.value);
        let ready = object::condition(&range, "Ready");
        // Without a condition, as upstream, so that services need no controller.
        let is_ready = ready.is_none_or(|ready| tree::text(ready, &["status"]) == "True");
        if is_ready && !object::terminating(&range) {
            let texts = tree::list(&range, &["spec", "cidrs"]).iter();
            found.extend(
                texts
                    .filter_map(Tree::as_str)
                    .filter_map(AddressRange::parse),
            );
        }
    }
    if is_any {
        found
    } else {
        default.into_iter().collect()
    }
}

fn is_taken(view: &impl StoreView, address: &str) -> bool {
    resource(ADDRESSES)
        .is_some_and(|resource| view.record(&key::of(&resource, "", address)).is_some())
}

/// Checks that a service may have the address that it asks for.
///
/// # Errors
/// The reason, in upstream's words.
pub(super) fn check(registry: &Registry, txn: &Txn, address: &str) -> Result<(), String> {
    let Ok(wanted) = address.parse::<Ipv4Addr>() else {
        return Ok(());
    };
    let ranges = ranges(registry, txn);
    let mut containing = ranges.iter().filter(|range| range.contains(wanted));
    let Some(range) = containing.next() else {
        return Err("the provided network does not match the current range".to_owned());
    };
    if !range.usable(wanted) {
        return Err(format!(
            "the provided IP ({address}) is not in the valid range. The range of valid IPs is \
             {range}"
        ));
    }
    if is_taken(txn, address) {
        return Err("provided IP is already allocated".to_owned());
    }
    Ok(())
}

/// Draws a free address; `None` when all are taken. `held` are addresses without an object.
pub(super) fn draw(registry: &Registry, txn: &Txn, held: impl Fn(&str) -> bool) -> Option<String> {
    let is_free = |address: &String| !held(address) && !is_taken(txn, address);
    for range in ranges(registry, txn) {
        let (from, last) = (range.drawn_from(), range.last());
        let random = (0..RANDOM_ATTEMPTS)
            .filter(|_| from <= last)
            .map(|_| from + registry.entropy().below(last - from + 1));
        let places = random.chain(from..=last).chain(1..from.min(last + 1));
        let addresses = places.filter_map(|place| range.at(place));
        let found = addresses.map(|address| address.to_string()).find(is_free);
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Writes and removes the objects of addresses, so that they are those of the service. `before` is
/// the service as it was, if it was.
pub(super) fn settle(
    registry: &Registry,
    txn: &mut Txn,
    target: &Target,
    before: Option<&Tree>,
    now: &Tree,
) {
    let addresses = |service: Option<&Tree>| -> BTreeSet<String> {
        let held = service.map(|service| ServiceFacts::of(service).addresses);
        held.into_iter().flatten().collect()
    };
    let (had, has) = (addresses(before), addresses(Some(now)));
    for address in had.difference(&has) {
        release(txn, &target.namespace, &target.name, address);
    }
    let name = object::meta_text(now, "name");
    for address in &has {
        take(registry, txn, target, address, name);
    }
}

/// Returns true when the object of an address stands for this service.
fn is_of(address: &Tree, namespace: &str, service: &str) -> bool {
    let parent = tree::at(address, &["spec", "parentRef"]);
    tree::text(parent, &["resource"]) == "services"
        && tree::text(parent, &["group"]).is_empty()
        && tree::text(parent, &["namespace"]) == namespace
        && tree::text(parent, &["name"]) == service
}

/// Removes the object of an address if it stands for this service.
pub(super) fn release(txn: &mut Txn, namespace: &str, service: &str, address: &str) {
    let Some(resource) = resource(ADDRESSES) else {
        return;
    };
    let Some(found) = txn.get(&key::of(&resource, "", address)) else {
        return;
    };
    if is_of(&record::parse(&found.value), namespace, service) {
        record::remove(txn, &found.key, &found.value);
    }
}

/// Writes the object of an address unless it exists.
fn take(registry: &Registry, txn: &mut Txn, target: &Target, address: &str, service: &str) {
    let Some(resource) = resource(ADDRESSES) else {
        return;
    };
    let place = target.for_resource(resource).at("", address);
    if txn.get(&place.key()).is_some() {
        return;
    }
    let family = if address.contains(':') {
        "IPv6"
    } else {
        "IPv4"
    };
    let mut object = json!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": address, "labels": {FAMILY: family, MANAGED_BY: MANAGER}},
        "spec": {"parentRef": {"resource": "services", "namespace": target.namespace.clone(),
            "name": service}},
    });
    let write = WriteOptions {
        field_manager: managers::SERVER.to_owned(),
        ..WriteOptions::default()
    };
    managers::created(&mut object, &place, &write);
    let meta = object::meta(&mut object);
    meta.insert("uid", registry.entropy().uid().into());
    meta.insert("creationTimestamp", object::wire_time(target.now).into());
    record::put(txn, &place.trees, &place.stored, &place.key(), object);
}

/// Where the objects of addresses and the services disagree.
#[derive(Default)]
struct Disagreement {
    /// The records of objects whose service does not have the address.
    wrong: Vec<Arc<Record>>,
    /// The addresses without an object, with the namespace and name of their service.
    missing: Vec<(String, String, String)>,
}

fn disagreement(view: &impl StoreView, services: &Target) -> Disagreement {
    let mut out = Disagreement::default();
    let Some(resource) = resource(ADDRESSES) else {
        return out;
    };
    let mut held: HashMap<String, (String, String)> = HashMap::new();
    for found in view.records(&services.prefix()) {
        let (namespace, name) = key::namespace_and_name(&found.key);
        let facts: Option<&ServiceFacts> = record::facts(&services.stored, &found).of_kind();
        for address in facts.into_iter().flat_map(|facts| &facts.addresses) {
            held.insert(address.clone(), (namespace.to_owned(), name.to_owned()));
        }
    }
    for found in view.records(&key::prefix(&resource, "")) {
        let address = record::parse(&found.value);
        let name = object::meta_text(&address, "name");
        let is_right = held
            .get(name)
            .is_some_and(|(namespace, service)| is_of(&address, namespace, service));
        let labels = tree::at(&address, &["metadata", "labels"]);
        let is_managed = labels.get(MANAGED_BY).and_then(Tree::as_str) == Some(MANAGER);
        if is_right {
            held.remove(name);
        } else if is_managed || held.contains_key(name) {
            out.wrong.push(found);
        }
    }
    let missing = held.into_iter();
    out.missing = missing
        .map(|(address, (namespace, name))| (address, namespace, name))
        .collect();
    out.missing.sort_unstable();
    out
}

/// Returns true when every address of a service has its object, and no object of the allocator is
/// left over.
pub(crate) fn is_sound(view: &impl StoreView, services: &Target) -> bool {
    let found = disagreement(view, services);
    found.wrong.is_empty() && found.missing.is_empty()
}

/// Makes the objects of addresses agree with the services. Users can remove and write these
/// objects, and stores of earlier versions have none.
pub(crate) fn repair(registry: &Registry, txn: &mut Txn, services: &Target) {
    let Disagreement { wrong, missing } = disagreement(txn, services);
    for found in wrong {
        record::remove(txn, &found.key, &found.value);
    }
    for (address, namespace, name) in missing {
        let target = services.clone().at(namespace, name.clone());
        take(registry, txn, &target, &address, &name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_addresses() {
        let range = AddressRange::parse("10.96.0.0/16").expect("a range");
        assert_eq!((range.drawn_from(), range.last()), (256, 65534));
        assert_eq!(range.to_string(), "10.96.0.0/16");
        // (range, address, contained, usable)
        let cases = [
            ("10.96.0.0/16", "10.96.0.1", true, true),
            ("10.96.0.0/16", "10.96.0.0", true, false),
            ("10.96.0.0/16", "10.96.255.255", true, false),
            ("10.96.0.0/16", "10.97.0.1", false, false),
            ("10.96.0.0/16", "10.95.255.255", false, false),
            ("192.168.7.16/28", "192.168.7.30", true, true),
            ("192.168.7.16/28", "192.168.7.31", true, false),
        ];
        for (range, address, contained, usable) in cases {
            let range = AddressRange::parse(range).expect("a range");
            let address = address.parse().expect("an address");
            assert_eq!(range.contains(address), contained, "{range} {address}");
            assert_eq!(range.usable(address), usable, "{range} {address}");
        }
        let small = AddressRange::parse("192.168.7.16/28").expect("a range");
        assert_eq!((small.drawn_from(), small.last()), (1, 14));
        assert_eq!(AddressRange::parse("2001:db8::/64"), None);
        assert_eq!(AddressRange::parse("10.0.0.0/33"), None);
    }
}
