//! Endpoint slices: which pods stand behind a service, and how far each of them may be used.
//!
//! A terminating pod stays listed, `terminating` and as far `serving` as it says, until it ends; it
//! is no longer `ready`. `plan.rs` fills slices of at most a hundred endpoints and changes as few
//! of them as it can.

pub(crate) mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};

use crate::caches::{Cache, Caches, Change};
use crate::context::Context;
use crate::error::{Error, code, namespace_terminates, unless_gone};
use crate::meta::Key;
use crate::pods::{is_ready, is_terminating};
use crate::queue::{Outcome, Queue};
use crate::selector::Selector;

const WORKERS: usize = 8;

struct Controller {
    context: Context,
    services: Arc<Cache<Service>>,
    slices: Arc<Cache<EndpointSlice>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
}

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    caches
        .services
        .subscribe(move |change| wake.add(Key::of(change.latest())));
    wake_by_pods(caches, &queue);
    let wake = queue.clone();
    caches.slices.subscribe(move |change| {
        for slice in change.states().filter(|slice| plan::is_ours(slice)) {
            if let Some(service) = plan::service_of(slice) {
                wake.add(Key::new(
                    slice.metadata.namespace.as_deref().unwrap_or_default(),
                    service,
                ));
            }
        }
    });
    let (wake, services) = (queue.clone(), Arc::clone(&caches.services.cache));
    caches.nodes.subscribe(move |change| {
        // A node that comes or goes makes its pods known or unknown.
        if change.old.is_none() || change.new.is_none() {
            services
                .all()
                .iter()
                .for_each(|service| wake.add(Key::of(&**service)));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        services: Arc::clone(&caches.services.cache),
        slices: Arc::clone(&caches.slices.cache),
        pods: Arc::clone(&caches.pods.cache),
        nodes: Arc::clone(&caches.nodes.cache),
    });
    let synced = vec![
        caches.services.cache.synced(),
        caches.slices.cache.synced(),
        caches.pods.cache.synced(),
        caches.nodes.cache.synced(),
    ];
    context.work("endpointslice", queue, WORKERS, synced, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

/// Wakes the services whose endpoints a pod's change can change.
pub(crate) fn wake_by_pods(caches: &mut Caches, queue: &Queue<Key>) {
    let (queue, services) = (queue.clone(), caches.services.index_selectors(selector_of));
    caches.pods.subscribe(move |change| {
        if !matters(change) {
            return;
        }
        let moved = matches!((&change.old, &change.new), (Some(old), Some(new)) if old.metadata.labels != new.metadata.labels);
        for pod in change.states().skip(usize::from(change.old.is_some() && change.new.is_some() && !moved)) {
            for service in services.selecting(&**pod) {
                queue.add(service);
            }
        }
    });
}

/// The selector of a service whose endpoints are kept; none for the others.
pub(crate) fn selector_of(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    (spec.type_.as_deref() != Some("ExternalName")).then(|| Selector::exactly(Some(labels)))
}

/// Phase alone is no reason, as upstream has it.
fn matters(change: &Change<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return true;
    };
    is_terminating(new)
        || is_terminating(old)
        || is_ready(old) != is_ready(new)
        || old.metadata.labels != new.metadata.labels
        || place_of(old) != place_of(new)
}

/// What the address and the name of an endpoint follow from.
fn place_of(pod: &Pod) -> impl PartialEq + '_ {
    let spec = pod
        .spec
        .as_ref()
        .map(|spec| (&spec.hostname, &spec.subdomain, &spec.node_name));
    (
        spec,
        pod.status
            .as_ref()
            .and_then(|status| status.pod_ips.as_ref()),
    )
}

/// A pod and the zone of its node; none when the node is not known.
pub(crate) fn zone_of(nodes: &Cache<Node>, pod: &Pod) -> Option<Option<String>> {
    let node = nodes.find("", crate::pods::node_name(pod))?;
    Some(
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get("topology.kubernetes.io/zone").cloned()),
    )
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, Error> {
        let Some(service) = self
            .services
            .get(key)
            .filter(|service| service.metadata.deletion_timestamp.is_none())
        else {
            // The garbage collector removes the slices of a service that is gone.
            return Ok(Outcome::Done);
        };
        let Some(selector) = selector_of(&service) else {
            return Ok(Outcome::Done);
        };
        let pods = self.pods.selected(&key.namespace, &selector);
        let members: Vec<_> = pods
            .iter()
            .map(|pod| plan::Member {
                pod,
                zone: zone_of(&self.nodes, pod),
            })
            .collect();
        let present = self.slices.at(&key.to_string());
        let plan = plan::plan(&service, &members, &present);
        let api = self.context.namespaced::<EndpointSlice>(&key.namespace);
        for slice in plan.create {
            match api.create(&PostParams::default(), &slice).await {
                Err(error) if !namespace_terminates(&error) => return Err(error.into()),
                _ => {}
            }
        }
        for slice in plan.update {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            unless_gone(api.replace(name, &PostParams::default(), &slice).await)?;
        }
        for slice in plan.delete {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            match api.delete(name, &DeleteParams::default()).await {
                Err(error) if code(&error) != 404 => return Err(error.into()),
                _ => {}
            }
        }
        Ok(Outcome::Done)
    }
}
