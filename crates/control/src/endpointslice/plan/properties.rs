//! Services whose pods come, go and change, planned over the slices that earlier plans have left.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::pods::tests::pod;

/// A pod of the service, as far as its endpoint depends on it.
#[derive(Clone, Debug)]
struct SliceBackend {
    has_address: bool,
    finished: bool,
    ready: bool,
    terminating: bool,
    node_is_known: bool,
    port: i32,
}

impl SliceBackend {
    fn is_endpoint(&self) -> bool {
        self.has_address && !self.finished && self.node_is_known
    }
}

fn service() -> Service {
    serde_json::from_value(
        json!({"metadata": {"name": "svc", "namespace": "n", "uid": "s"},
        "spec": {"selector": {"app": "web"},
            "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}}),
    )
    .expect("a service")
}

fn to_pod(number: usize, backend: &SliceBackend) -> Arc<Pod> {
    let ip = if backend.has_address {
        format!("10.0.{}.{}", number / 200, number % 200 + 1)
    } else {
        String::new()
    };
    Arc::new(pod(json!({
        "metadata": {"name": format!("p{number}"), "namespace": "n", "uid": format!("u{number}"),
            "deletionTimestamp": backend.terminating.then_some("2026-01-01T00:00:00Z")},
        "spec": {"nodeName": "a", "containers": [{"name": "c",
            "ports": [{"name": "http", "containerPort": backend.port}]}]},
        "status": {"phase": if backend.finished { "Succeeded" } else { "Running" }, "podIP": ip,
            "conditions": [{"type": "Ready",
                "status": if backend.ready { "True" } else { "False" }}]},
    })))
}

fn uids(slice: &EndpointSlice) -> Vec<String> {
    let endpoints = slice.endpoints.iter().flatten();
    endpoints
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.clone())
        .collect()
}

/// Applies a plan as the API server does. New slices get names.
fn apply(
    slices: &mut BTreeMap<String, Arc<EndpointSlice>>,
    plan: EndpointSlicePlan,
    next: &mut usize,
) {
    for slice in plan.delete {
        slices.remove(slice.metadata.name.as_deref().expect("a name"));
    }
    for slice in plan.update {
        let name = slice.metadata.name.clone().expect("a name");
        assert!(
            slices.insert(name, Arc::new(slice)).is_some(),
            "an update of nothing"
        );
    }
    for mut slice in plan.create {
        *next += 1;
        let name = format!("svc-{next}");
        slice.metadata.name = Some(name.clone());
        slices.insert(name, Arc::new(slice));
    }
}

/// Up to 250 pods, of which more than a full slice often have the same port.
fn backends() -> impl Strategy<Value = BTreeMap<usize, SliceBackend>> {
    let exists = proptest::option::weighted(0.9, backend());
    proptest::collection::vec(exists, 0..250).prop_map(|pods| {
        let numbered = pods.into_iter().enumerate();
        numbered
            .filter_map(|(number, pod)| Some((number, pod?)))
            .collect()
    })
}

fn backend() -> impl Strategy<Value = SliceBackend> {
    let mostly = || prop_oneof![9 => Just(true), 1 => Just(false)];
    (
        mostly(),
        mostly(),
        any::<bool>(),
        mostly(),
        mostly(),
        prop_oneof![5 => Just(8080), 1 => Just(9090)],
    )
        .prop_map(
            |(has_address, runs, ready, stays, node_is_known, port)| SliceBackend {
                has_address,
                finished: !runs,
                ready,
                terminating: !stays,
                node_is_known,
                port,
            },
        )
}

fn check_rounds(rounds: Vec<BTreeMap<usize, SliceBackend>>) {
    let service = service();
    let mut slices: BTreeMap<String, Arc<EndpointSlice>> = BTreeMap::new();
    let mut next = 0;
    for backends in rounds {
        let pods: Vec<_> = backends
            .iter()
            .map(|(number, backend)| (to_pod(*number, backend), backend.node_is_known))
            .collect();
        let members: Vec<_> = pods
            .iter()
            .map(|(pod, known)| EndpointPod {
                pod: Arc::clone(pod),
                zone: known.then_some(None),
            })
            .collect();
        let before = slices.clone();
        let present: Vec<_> = slices.values().cloned().collect();
        apply(&mut slices, plan(&service, &members, &present), &mut next);

        let mut seen: BTreeMap<String, (String, i32)> = BTreeMap::new();
        for (name, slice) in &slices {
            assert!(uids(slice).len() <= FULL, "a slice over its limit");
            let port = slice
                .ports
                .as_ref()
                .and_then(|ports| ports.first()?.port)
                .unwrap_or_default();
            for uid in uids(slice) {
                assert!(
                    seen.insert(uid, (name.clone(), port)).is_none(),
                    "an endpoint in two slices"
                );
            }
        }
        let expected: BTreeMap<String, i32> = backends
            .iter()
            .filter(|(_, backend)| backend.is_endpoint())
            .map(|(number, backend)| (format!("u{number}"), backend.port))
            .collect();
        let found: BTreeMap<String, i32> = seen
            .iter()
            .map(|(uid, (_, port))| (uid.clone(), *port))
            .collect();
        assert_eq!(found, expected);
        for endpoint in slices
            .values()
            .flat_map(|slice| slice.endpoints.iter().flatten())
        {
            let uid = endpoint
                .target_ref
                .as_ref()
                .and_then(|pod| pod.uid.clone())
                .expect("a uid");
            let backend = &backends[&uid[1..].parse::<usize>().expect("a number")];
            let conditions = endpoint.conditions.as_ref().expect("conditions");
            assert_eq!(
                conditions.ready,
                Some(backend.ready && !backend.terminating)
            );
            assert_eq!(conditions.serving, Some(backend.ready));
            assert_eq!(conditions.terminating, Some(backend.terminating));
        }
        // An endpoint whose ports stay the same does not move.
        for (name, slice) in &before {
            let port = slice
                .ports
                .as_ref()
                .and_then(|ports| ports.first()?.port)
                .unwrap_or_default();
            for uid in uids(slice) {
                if let Some((now, now_port)) = seen.get(&uid)
                    && *now_port == port
                {
                    assert_eq!(now, name, "an endpoint has moved");
                }
            }
        }
        let present: Vec<_> = slices.values().cloned().collect();
        let again = plan(&service, &members, &present);
        assert!(
            again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(),
            "not at rest: {again:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn each_endpoint_is_in_one_slice_and_no_slice_is_over_its_limit(
        rounds in proptest::collection::vec(backends(), 1..4),
    ) {
        check_rounds(rounds);
    }
}
