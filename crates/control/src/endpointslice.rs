//! EndpointSlices: the pods behind a service and their state.
//!
//! A terminating pod stays listed until it ends: `terminating`, no longer `ready`, and `serving`
//! for as long as it is ready. `plan.rs` fills slices of at most a hundred endpoints and changes as
//! few slices as possible.

pub(crate) mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};

use crate::context::ControllerContext;
use crate::error::{ReconcileError, code, ignore_not_found, namespace_terminates};
use crate::informer::{Cache, ObjectChange};
use crate::informers::Informers;
use crate::meta::ObjectKey;
use crate::pods::{is_ready, is_terminating};
use crate::queue::{Requeue, WorkQueue};
use crate::selector::Selector;

const WORKERS: usize = 8;

struct Controller {
    context: ControllerContext,
    services: Arc<Cache<Service>>,
    slices: Arc<Cache<EndpointSlice>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let wake = queue.clone();
    informers
        .services
        .subscribe(move |change| wake.add(ObjectKey::of(change.latest())));
    wake_by_pods(informers, &queue);
    let wake = queue.clone();
    informers.slices.subscribe(move |change| {
        for slice in change.states().filter(|slice| plan::is_managed_here(slice)) {
            if let Some(service) = plan::service_of(slice) {
                wake.add(ObjectKey::new(
                    slice.metadata.namespace.as_deref().unwrap_or_default(),
                    service,
                ));
            }
        }
    });
    let (wake, services) = (queue.clone(), Arc::clone(&informers.services.cache));
    informers.nodes.subscribe(move |change| {
        // Pods count only if their node exists.
        if change.old.is_none() || change.new.is_none() {
            services
                .all()
                .iter()
                .for_each(|service| wake.add(ObjectKey::of(&**service)));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        services: Arc::clone(&informers.services.cache),
        slices: Arc::clone(&informers.slices.cache),
        pods: Arc::clone(&informers.pods.cache),
        nodes: Arc::clone(&informers.nodes.cache),
    });
    let synced = vec![
        informers.services.cache.synced(),
        informers.slices.cache.synced(),
        informers.pods.cache.synced(),
        informers.nodes.cache.synced(),
    ];
    context.work("endpointslice", queue, WORKERS, synced, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

/// Wakes the services whose endpoints a change of a pod can affect.
pub(crate) fn wake_by_pods(informers: &mut Informers, queue: &WorkQueue<ObjectKey>) {
    let (queue, services) = (
        queue.clone(),
        informers.services.index_selectors(selector_of),
    );
    informers.pods.subscribe(move |change| {
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

/// The selector of a service; none for services whose endpoints are not managed here.
pub(crate) fn selector_of(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    (spec.type_.as_deref() != Some("ExternalName")).then(|| Selector::exactly(Some(labels)))
}

/// A change of the phase alone is ignored, as upstream does.
fn matters(change: &ObjectChange<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return true;
    };
    is_terminating(new)
        || is_terminating(old)
        || is_ready(old) != is_ready(new)
        || old.metadata.labels != new.metadata.labels
        || place_of(old) != place_of(new)
}

/// The fields that determine the address and the host name of an endpoint.
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

/// The zone of a pod's node; `None` when the node is unknown.
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
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(service) = self
            .services
            .get(key)
            .filter(|service| service.metadata.deletion_timestamp.is_none())
        else {
            // The garbage collector deletes the slices of a service that does not exist.
            return Ok(Requeue::OnChange);
        };
        let Some(selector) = selector_of(&service) else {
            return Ok(Requeue::OnChange);
        };
        let pods = self.pods.selected(&key.namespace, &selector);
        let members: Vec<_> = pods
            .iter()
            .map(|pod| plan::EndpointPod {
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
            ignore_not_found(api.replace(name, &PostParams::default(), &slice).await)?;
        }
        for slice in plan.delete {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            match api.delete(name, &DeleteParams::default()).await {
                Err(error) if code(&error) != 404 => return Err(error.into()),
                _ => {}
            }
        }
        Ok(Requeue::OnChange)
    }
}
