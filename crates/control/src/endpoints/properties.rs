//! Endpoints of random pods: each ready pod is an address, and nothing else is.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{service, web};
use super::*;

/// (ready, terminating, has an address, its node is known)
type EndpointBackend = (bool, bool, bool, bool);

fn addresses(list: Option<&Vec<EndpointAddress>>) -> Vec<String> {
    list.into_iter()
        .flatten()
        .map(|address| address.ip.clone())
        .collect()
}

fn check_endpoints(backends: &[EndpointBackend], publishes: bool) {
    let mut service = service();
    if let Some(spec) = &mut service.spec {
        spec.publish_not_ready_addresses = Some(publishes);
    }
    let ip = |number: usize| format!("10.0.0.{number}");
    let pods: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(number, (ready, terminating, has_address, _))| {
            let ip = if *has_address {
                ip(number)
            } else {
                String::new()
            };
            web(&format!("p{number}"), &ip, *ready, *terminating)
        })
        .collect();
    let members: Vec<_> = pods
        .iter()
        .zip(backends)
        .map(|(pod, (.., known))| EndpointPod {
            pod: Arc::clone(pod),
            zone: known.then_some(None),
        })
        .collect();
    let object = plan(&service, &members, None).expect("a new object");
    let (mut ready, mut unready) = (BTreeSet::new(), BTreeSet::new());
    for (number, (is_ready, terminating, has_address, known)) in backends.iter().enumerate() {
        if !has_address || (!publishes && (*terminating || !known)) {
            continue;
        }
        if publishes || *is_ready {
            ready.insert(ip(number))
        } else {
            unready.insert(ip(number))
        };
    }
    let subsets = object.subsets.clone().unwrap_or_default();
    assert_eq!(
        subsets.len(),
        usize::from(!ready.is_empty() || !unready.is_empty())
    );
    let found = subsets.first().map(|subset| {
        (
            addresses(subset.addresses.as_ref()),
            addresses(subset.not_ready_addresses.as_ref()),
        )
    });
    let (found_ready, found_unready) = found.unwrap_or_default();
    assert_eq!(
        found_ready.len() + found_unready.len(),
        ready.len() + unready.len(),
        "an address twice"
    );
    assert_eq!(found_ready.into_iter().collect::<BTreeSet<_>>(), ready);
    assert_eq!(found_unready.into_iter().collect::<BTreeSet<_>>(), unready);
    assert_eq!(plan(&service, &members, Some(&object)), None, "not at rest");
}

proptest! {
    #[test]
    fn each_ready_pod_is_an_address_and_no_terminating_one_is(
        backends in proptest::collection::vec(any::<EndpointBackend>(), 0..20),
        publishes in any::<bool>(),
    ) {
        check_endpoints(&backends, publishes);
    }
}
