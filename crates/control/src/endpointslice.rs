//! EndpointSlices: the pods behind a service and their state.
//!
//! A terminating pod stays listed until it ends: `terminating`, no longer `ready`, and `serving`
//! for as long as it is ready. `plan.rs` fills slices of at most a hundred endpoints and changes as
//! few slices as possible.

mod plan;

use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found, namespace_terminates};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::ObjectKey;
use crate::queue::{Requeue, WorkQueue};
use crate::servicepods::ServicePods;
pub(crate) use plan::EndpointSlicePlan;

const WORKERS: usize = 8;

struct Controller {
    context: ControllerContext,
    backends: ServicePods,
    slices: Arc<Cache<EndpointSlice>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let backends = ServicePods::subscribe(informers, &queue);
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
    let (wake, services) = (queue.clone(), Arc::clone(&backends.services));
    informers.nodes.subscribe(move |change| {
        // Pods count only if their node exists.
        if change.old.is_none() || change.new.is_none() {
            services
                .all()
                .iter()
                .for_each(|service| wake.add(ObjectKey::of(&**service)));
        }
    });
    let mut synced = backends.synced();
    synced.push(informers.slices.cache.synced());
    let controller = Arc::new(Controller {
        context: context.clone(),
        backends,
        slices: Arc::clone(&informers.slices.cache),
    });
    context.run("endpointslice", queue, WORKERS, synced, controller);
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(service) = self
            .backends
            .services
            .get(key)
            .filter(|service| service.metadata.deletion_timestamp.is_none())
        else {
            // The garbage collector deletes the slices of a service that does not exist.
            return Ok(Requeue::OnChange);
        };
        let Some(members) = self.backends.endpoint_pods(&service) else {
            return Ok(Requeue::OnChange);
        };
        let present = self.slices.at(&key.to_string());
        let plan = plan::plan(&service, &members, &present);
        plan.carry_out(&self.context, &key.namespace, |_| DeleteParams::default())
            .await?;
        Ok(Requeue::OnChange)
    }
}

impl EndpointSlicePlan {
    /// Writes the slices. One that is gone, or whose namespace terminates, is left out.
    pub(crate) async fn carry_out(
        self,
        context: &ControllerContext,
        namespace: &str,
        delete_params: fn(&ObjectMeta) -> DeleteParams,
    ) -> Result<(), ReconcileError> {
        let api = context.namespaced::<EndpointSlice>(namespace);
        for slice in self.create {
            match api.create(&PostParams::default(), &slice).await {
                Err(error) if !namespace_terminates(&error) => return Err(error.into()),
                _ => {}
            }
        }
        for slice in self.update {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            ignore_not_found(api.replace(name, &PostParams::default(), &slice).await)?;
        }
        for slice in self.delete {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            ignore_not_found(api.delete(name, &delete_params(&slice.metadata)).await)?;
        }
        Ok(())
    }
}
