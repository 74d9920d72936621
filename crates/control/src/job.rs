//! Jobs: pods that run to completion.
//!
//! Every pod of a job has a finalizer until it has been counted, so that no result is lost.
//! Counting takes three writes, and a crash may happen after each of them: the uids go into the
//! status as uncounted, the finalizers are removed, the uids become numbers. `count.rs` decides
//! what is counted, `plan.rs` what comes next; `index.rs` handles indexes of indexed jobs.

mod count;
mod index;
mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};

use crate::claim::claim;
use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::expectations::Expectations;
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, controller_of, delete_params, uid, until, without_finalizer};
use crate::podcontrol::{PodControl, wake_by_pods};
use crate::pods::{name, namespace};
use crate::queue::{Requeue, WorkQueue};
use crate::selector::Selector;
use plan::{PodBackoff, TRACKING};

const WORKERS: usize = 8;
const COMPONENT: &str = "job-controller";

struct Controller {
    context: ControllerContext,
    jobs: Arc<Cache<Job>>,
    pods: Arc<Cache<Pod>>,
    control: PodControl,
    /// Consecutive failures by uid of the job.
    failures: Mutex<HashMap<String, PodBackoff>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    informers.jobs.enqueue_changes(&queue);
    let selectors = informers.jobs.index_selectors(|job| selector_of(job).ok());
    wake_by_pods::<Job>(informers, &queue, &expectations, move |pod| {
        selectors.selecting(pod)
    });
    let control = PodControl {
        context: context.clone(),
        expectations,
        recorder: context.recorder(COMPONENT),
    };
    let controller = Arc::new(Controller {
        context: context.clone(),
        jobs: Arc::clone(&informers.jobs.cache),
        pods: Arc::clone(&informers.pods.cache),
        control,
        failures: Mutex::default(),
    });
    let synced = vec![informers.jobs.cache.synced(), informers.pods.cache.synced()];
    context.run("job", queue, WORKERS, synced, controller);
}

fn selector_of(job: &Job) -> Result<Selector, String> {
    Selector::compile(job.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(job) = self.jobs.get(key) else {
            return self.release_orphans(key).await;
        };
        if job
            .spec
            .as_ref()
            .and_then(|spec| spec.managed_by.as_deref())
            .is_some_and(|by| by != "kubernetes.io/job-controller")
        {
            return Ok(Requeue::OnChange);
        }
        let selector = selector_of(&job).map_err(ReconcileError::Plan)?;
        let mut candidates = self.pods.controlled_by(uid(&job.metadata));
        candidates.extend(self.pods.adoptable(&key.namespace, &selector));
        let pods = claim(&self.context, &*job, &selector, candidates, |_| true).await?;
        let now = self.context.now();
        if plan::is_over(&job) {
            return self.finish(&job, &pods, now).await;
        }
        if let Some(counted) = count::count(&job, &pods) {
            self.record_failures(&job, &counted, now);
            return self.count(&job, &pods, counted).await;
        }
        let failures = self.failures_of(&job);
        let plan = plan::plan(&job, &pods, &failures, now);
        for (event_type, reason, message) in &plan.events {
            self.control
                .recorder
                .event(&*job, *event_type, reason, message.clone());
        }
        let acted =
            if self.control.expectations.met(key) && job.metadata.deletion_timestamp.is_none() {
                self.act(&job, &plan).await
            } else {
                Ok(None)
            };
        if let Some(status) = plan.status {
            self.write(&job, status).await?;
        }
        let again = acted?;
        Ok(Requeue::at(now, plan.recheck).or_after(again))
    }
}

impl Controller {
    /// Carries out the plan. Returns when to look again if not all pods could be created yet.
    async fn act(
        &self,
        job: &Job,
        plan: &plan::JobPlan,
    ) -> Result<Option<Duration>, ReconcileError> {
        // Pods that the job deletes itself are released first, so that they do not count as failed.
        for pod in plan.delete.iter().filter(|pod| plan::is_tracked(pod)) {
            self.release(pod).await?;
        }
        self.control.delete(job, &plan.delete).await?;
        Ok(self.control.create(job, plan.create.clone()).await?)
    }

    async fn write(&self, job: &Job, status: JobStatus) -> Result<Option<Job>, ReconcileError> {
        let updated = Job {
            status: Some(status),
            ..job.clone()
        };
        self.context.replace_status(&updated).await
    }

    /// Makes the three writes of counting. What fails in between is continued by the next
    /// reconciliation.
    async fn count(
        &self,
        job: &Job,
        pods: &[Arc<Pod>],
        counted: count::TerminatedPods,
    ) -> Result<Requeue, ReconcileError> {
        let mut newest = job.clone();
        if let Some(status) = counted.recorded {
            match self.write(job, status).await? {
                Some(job) => newest = job,
                None => return Ok(Requeue::OnChange),
            }
        }
        for pod in pods
            .iter()
            .filter(|pod| counted.release.contains(uid(&pod.metadata)))
        {
            self.release(pod).await?;
        }
        let status = count::settle(newest.status.as_ref(), pods);
        self.write(&newest, status).await?;
        // The watch event of the new status wakes the next reconciliation.
        Ok(Requeue::OnChange)
    }

    async fn release(&self, pod: &Pod) -> Result<(), ReconcileError> {
        let value = without_finalizer(&pod.metadata, TRACKING);
        let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid, "finalizers": value}});
        let api = self.context.namespaced::<Pod>(namespace(pod));
        ignore_not_found(
            api.patch(name(pod), &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )?;
        Ok(())
    }

    /// Finishes a job that has completed or failed: releases its pods, and deletes it when its time
    /// to live is over.
    async fn finish(
        &self,
        job: &Job,
        pods: &[Arc<Pod>],
        now: Timestamp,
    ) -> Result<Requeue, ReconcileError> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid(&job.metadata));
        for pod in pods.iter().filter(|pod| plan::is_tracked(pod)) {
            self.release(pod).await?;
        }
        match plan::expires(job) {
            None => Ok(Requeue::OnChange),
            Some(at) if at > now => Ok(Requeue::After(until(now, at))),
            Some(_) => {
                let how = DeleteParams {
                    propagation_policy: Some(PropagationPolicy::Foreground),
                    ..delete_params(&job.metadata)
                };
                let api = self
                    .context
                    .namespaced::<Job>(job.metadata.namespace.as_deref().unwrap_or_default());
                ignore_not_found(
                    api.delete(job.metadata.name.as_deref().unwrap_or_default(), &how)
                        .await
                        .map(drop),
                )?;
                Ok(Requeue::OnChange)
            }
        }
    }

    /// Releases the pods of a job that no longer exists, because nothing counts them any more.
    async fn release_orphans(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        self.control.expectations.forget(key);
        let is_orphan = |pod: &Pod| {
            plan::is_tracked(pod)
                && controller_of(&pod.metadata)
                    .is_some_and(|owner| owner.kind == "Job" && owner.name == key.name)
        };
        for pod in self.pods.select(&key.namespace, is_orphan) {
            self.release(&pod).await?;
        }
        Ok(Requeue::OnChange)
    }

    fn record_failures(&self, job: &Job, counted: &count::TerminatedPods, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = failures.entry(uid(&job.metadata).to_owned()).or_default();
        entry.record(counted.succeeded, counted.failed, now);
    }

    fn failures_of(&self, job: &Job) -> PodBackoff {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .get(uid(&job.metadata))
            .copied()
            .unwrap_or_default()
    }
}

/// The type, reason and message of an event.
type JobEvent = (EventType, &'static str, String);
