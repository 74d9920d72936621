//! Creates and deletes pods for controllers, and wakes controllers when their pods change.

use std::sync::Arc;
use std::time::Duration;

use events::{EventRecorder, EventType};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use crate::context::ControllerContext;
use crate::error::{code, namespace_terminates, server_message};
use crate::expectations::Expectations;
use crate::informer::ObjectChange;
use crate::informers::Informers;
use crate::meta::{ObjectKey, controller_of, delete_params, group_of, uid};
use crate::pacing::ASK_AGAIN;
use crate::pods::{is_terminating, name, namespace};
use crate::queue::WorkQueue;

/// The largest number of pods that one reconciliation creates or deletes.
pub(crate) const BURST: usize = 500;

/// Makes a pod from a template.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    owner_name: &str,
    owner: OwnerReference,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{owner_name}-")),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Creates and deletes pods in the name of one kind of controller.
#[derive(Clone)]
pub(crate) struct PodControl {
    pub(crate) context: ControllerContext,
    pub(crate) expectations: Arc<Expectations>,
    pub(crate) recorder: EventRecorder,
}

impl PodControl {
    /// Creates pods in growing batches, so that a server that refuses them is asked once and not
    /// five hundred times. Creates no more than the pace of all controllers allows, and returns
    /// when to ask again if these are not all.
    ///
    /// # Errors
    /// The first refusal. Pods that were refused or not tried are no longer expected.
    pub(crate) async fn create<O>(
        &self,
        owner: &O,
        mut pods: Vec<Pod>,
    ) -> Result<Option<Duration>, kube::Error>
    where
        O: Resource,
        O::DynamicType: Default,
    {
        let key = ObjectKey::of(owner);
        let granted = self.context.pod_pace.grant(pods.len());
        let again = (granted < pods.len()).then_some(ASK_AGAIN);
        pods.truncate(granted);
        self.expectations.expect_creations(&key, pods.len());
        let mut left = pods.as_slice();
        let mut batch = 1;
        while !left.is_empty() {
            let (now, later) = left.split_at(batch.min(left.len()));
            let results = join_all(now.iter().map(|pod| self.create_one(owner, pod))).await;
            let failures: Vec<kube::Error> = results.into_iter().filter_map(Result::err).collect();
            if let Some(first) = failures.into_iter().next() {
                self.expectations.creations_seen(&key, later.len());
                return if namespace_terminates(&first) {
                    Ok(None)
                } else {
                    Err(first)
                };
            }
            left = later;
            batch *= 2;
        }
        Ok(again)
    }

    async fn create_one<O>(&self, owner: &O, pod: &Pod) -> Result<(), kube::Error>
    where
        O: Resource,
        O::DynamicType: Default,
    {
        match self.context.create_pod(pod).await {
            Ok(created) => {
                self.recorder.event(
                    owner,
                    EventType::Normal,
                    "SuccessfulCreate",
                    format!("Created pod: {}", name(&created)),
                );
                Ok(())
            }
            Err(error) => {
                self.expectations.creations_seen(&ObjectKey::of(owner), 1);
                if !namespace_terminates(&error) {
                    self.recorder.event(
                        owner,
                        EventType::Warning,
                        "FailedCreate",
                        format!("Error creating: {}", server_message(&error)),
                    );
                }
                Err(error)
            }
        }
    }

    /// Deletes pods, all at once.
    ///
    /// # Errors
    /// The first refusal. A pod that does not exist is no error.
    pub(crate) async fn delete<O>(&self, owner: &O, pods: &[Arc<Pod>]) -> Result<(), kube::Error>
    where
        O: Resource,
        O::DynamicType: Default,
    {
        let key = ObjectKey::of(owner);
        for pod in pods {
            self.expectations.expect_deletion(&key, uid(&pod.metadata));
        }
        let results = join_all(pods.iter().map(|pod| self.delete_one(owner, pod))).await;
        results.into_iter().collect()
    }

    async fn delete_one<O>(&self, owner: &O, pod: &Pod) -> Result<(), kube::Error>
    where
        O: Resource,
        O::DynamicType: Default,
    {
        let how = delete_params(&pod.metadata);
        let result = self
            .context
            .namespaced::<Pod>(namespace(pod))
            .delete(name(pod), &how)
            .await;
        match result {
            Ok(_) => {
                self.recorder.event(
                    owner,
                    EventType::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {}", name(pod)),
                );
                Ok(())
            }
            Err(error) => {
                self.expectations
                    .deletion_seen(&ObjectKey::of(owner), uid(&pod.metadata));
                if matches!(code(&error), 404 | 409) {
                    return Ok(());
                }
                self.recorder.event(
                    owner,
                    EventType::Warning,
                    "FailedDelete",
                    format!("Error deleting: {}", server_message(&error)),
                );
                Err(error)
            }
        }
    }
}

/// Wakes the controllers of kind `O` when their pods change, and updates their expectations.
/// `takers` returns the controllers that may adopt a pod without a controlling owner.
pub(crate) fn wake_by_pods<O>(
    informers: &mut Informers,
    queue: &WorkQueue<ObjectKey>,
    expectations: &Arc<Expectations>,
    takers: impl Fn(&Pod) -> Vec<ObjectKey> + Send + Sync + 'static,
) where
    O: Resource,
    O::DynamicType: Default,
{
    let ty = O::DynamicType::default();
    let (kind, group) = (O::kind(&ty).into_owned(), O::group(&ty).into_owned());
    let (queue, expectations) = (queue.clone(), Arc::clone(expectations));
    informers.pods.subscribe(move |change| {
        let owner_of = |pod: &Pod| {
            let owner = controller_of(&pod.metadata)?;
            (owner.kind == kind && group_of(&owner.api_version) == group)
                .then(|| ObjectKey::new(namespace(pod), &owner.name))
        };
        let old = change.old.as_deref().and_then(owner_of);
        let new = change.new.as_deref().and_then(owner_of);
        observe(&expectations, change, old.as_ref(), new.as_ref());
        if let Some(pod) = change.new.as_deref()
            && controller_of(&pod.metadata).is_none()
            && !is_terminating(pod)
            && change.old.as_ref().is_none_or(|old| {
                old.metadata.labels != pod.metadata.labels || controller_of(&old.metadata).is_some()
            })
        {
            for taker in takers(pod) {
                queue.add(taker);
            }
        }
        if old != new
            && let Some(old) = old
        {
            queue.add(old);
        }
        if let Some(new) = new {
            queue.add(new);
        }
    });
}

fn observe(
    expectations: &Expectations,
    change: &ObjectChange<Pod>,
    old: Option<&ObjectKey>,
    new: Option<&ObjectKey>,
) {
    match (&change.old, &change.new) {
        (None, Some(pod)) => {
            if let Some(owner) = new {
                expectations.creations_seen(owner, 1);
                if is_terminating(pod) {
                    expectations.deletion_seen(owner, uid(&pod.metadata));
                }
            }
        }
        (Some(before), after) => {
            let left = after.as_ref().is_none_or(|after| {
                is_terminating(after) || uid(&after.metadata) != uid(&before.metadata)
            });
            if let Some(owner) = old.or(new)
                && left
            {
                expectations.deletion_seen(owner, uid(&before.metadata));
            }
        }
        (None, None) => {}
    }
}
