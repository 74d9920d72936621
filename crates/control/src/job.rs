//! Jobs: pods that run to completion.
//!
//! Every pod of a job has a finalizer until it has been counted, so that no result is lost.
//! Counting takes three writes, and a crash may happen after each of them: the uids go into the
//! status as uncounted, the finalizers are removed, the uids become numbers.
//!
//! `plan.rs` decides all of it from a [`state::JobState`]; `failure.rs`, `success.rs` and
//! `backoff.rs` hold the policies, `index.rs` the indexes of indexed jobs, `count.rs` the counting.

mod backoff;
mod condition;
mod count;
mod failure;
mod index;
mod plan;
mod pod;
mod state;
mod success;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::EventType;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};

use crate::claim::claim_with_finalizer;
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
use backoff::PodBackoff;
use pod::{TRACKING, is_tracked};
use state::Memory;

const WORKERS: usize = 8;
const COMPONENT: &str = "job-controller";

/// The type, reason and message of an event.
type JobEvent = (EventType, &'static str, String);

struct Controller {
    context: ControllerContext,
    jobs: Arc<Cache<Job>>,
    pods: Arc<Cache<Pod>>,
    control: PodControl,
    /// What is known of unfinished jobs.
    notes: Mutex<HashMap<ObjectKey, JobNotes>>,
}

/// What the controller remembers of a job. It is lost with the process, as upstream.
#[derive(Default)]
struct JobNotes {
    /// The uid of the job.
    uid: String,
    backoff: PodBackoff,
    /// The uids of pods whose finalizer was removed and that the cache still shows with it.
    released: BTreeSet<String>,
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
        notes: Mutex::default(),
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
        if is_managed_elsewhere(&job) {
            let now = self.context.now();
            return self.delete_expired(&job, now).await;
        }
        // Before the pods are read: a pod that is seen after it would be missing among them.
        let is_current = self.control.expectations.met(key);
        let selector = selector_of(&job).map_err(ReconcileError::Plan)?;
        let mut candidates = self.pods.controlled_by(uid(&job.metadata));
        candidates.extend(self.pods.adoptable(&key.namespace, &selector));
        let pods = claim_with_finalizer(
            &self.context,
            &*job,
            &selector,
            candidates,
            |_| true,
            Some(TRACKING),
        )
        .await?;
        let now = self.context.now();
        if condition::is_over(&job) {
            return self.finish(&job, &pods, now).await;
        }
        let (backoff, released) = self.recall(&job, &pods);
        let memory = Memory {
            backoff,
            released: &released,
            is_current,
        };
        let plan = plan::plan(&job, &pods, &memory, now);
        // What is created and deleted is independent of what is counted.
        let acted = self.act(&job, &plan).await;
        self.count(&job, &plan, acted.is_ok(), now).await?;
        Ok(Requeue::at(now, plan.recheck).or_after(acted?))
    }
}

fn is_managed_elsewhere(job: &Job) -> bool {
    let manager = job
        .spec
        .as_ref()
        .and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|manager| manager != "kubernetes.io/job-controller")
}

impl Controller {
    fn lock_notes(&self) -> MutexGuard<'_, HashMap<ObjectKey, JobNotes>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered of this job. What is known of a predecessor is forgotten.
    fn note<T>(&self, job: &Job, change: impl FnOnce(&mut JobNotes) -> T) -> T {
        let mut all = self.lock_notes();
        let notes = all.entry(ObjectKey::of(job)).or_default();
        if notes.uid != uid(&job.metadata) {
            *notes = JobNotes {
                uid: uid(&job.metadata).to_owned(),
                ..JobNotes::default()
            };
        }
        change(notes)
    }

    /// Returns what is remembered of a job, without pods that the cache shows as released.
    fn recall(&self, job: &Job, pods: &[Arc<Pod>]) -> (PodBackoff, BTreeSet<String>) {
        self.note(job, |notes| {
            notes.released.retain(|id| {
                pods.iter()
                    .any(|pod| uid(&pod.metadata) == id && is_tracked(pod))
            });
            (notes.backoff, notes.released.clone())
        })
    }

    /// Stops, discards and creates pods. Returns when to look again if not all pods could be
    /// created yet.
    async fn act(
        &self,
        job: &Job,
        plan: &plan::JobPlan,
    ) -> Result<Option<Duration>, ReconcileError> {
        self.control.delete(job, &plan.stop).await?;
        if !plan.may_act {
            return Ok(None);
        }
        self.release(job, plan.discard.iter().filter(|pod| is_tracked(pod)))
            .await?;
        self.control.delete(job, &plan.discard).await?;
        Ok(self.control.create(job, plan.create.clone()).await?)
    }

    async fn write(&self, job: &Job, status: JobStatus) -> Result<Option<Job>, ReconcileError> {
        let updated = Job {
            status: Some(status),
            ..job.clone()
        };
        self.context.replace_status(&updated, &self.jobs).await
    }

    /// Makes the three writes of counting. What fails in between is continued by the next
    /// reconciliation. `acted` is false when pods could not be created or deleted: then the job
    /// does not end yet.
    async fn count(
        &self,
        job: &Job,
        plan: &plan::JobPlan,
        acted: bool,
        now: Timestamp,
    ) -> Result<(), ReconcileError> {
        let mut newest = None;
        if let Some(status) = plan.recorded(acted) {
            match self.write(job, status).await? {
                Some(written) => newest = Some(written),
                None => return Ok(()),
            }
        }
        for (event_type, reason, message) in &plan.events {
            self.control
                .recorder
                .event(job, *event_type, reason, message.clone());
        }
        self.note(job, |notes| notes.backoff = plan.backoff);
        self.release(job, plan.release.iter()).await?;
        let newest = newest.as_ref().unwrap_or(job);
        let status = newest.status.clone().unwrap_or_default();
        let (concluded, events) = plan::conclude(newest, plan, &status, now);
        if let Some(status) = concluded.filter(|_| acted) {
            self.write(newest, status).await?;
            for (event_type, reason, message) in events {
                self.control
                    .recorder
                    .event(job, event_type, reason, message);
            }
        }
        Ok(())
    }

    /// Removes the finalizer from pods of this job.
    async fn release(
        &self,
        job: &Job,
        pods: impl Iterator<Item = &Arc<Pod>>,
    ) -> Result<(), ReconcileError> {
        let results = join_all(pods.map(|pod| async move {
            self.release_one(pod).await?;
            self.note(job, |notes| {
                notes.released.insert(uid(&pod.metadata).to_owned())
            });
            Ok(())
        }));
        results.await.into_iter().collect()
    }

    async fn release_one(&self, pod: &Pod) -> Result<(), ReconcileError> {
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
        self.lock_notes().remove(&ObjectKey::of(job));
        for pod in pods.iter().filter(|pod| is_tracked(pod)) {
            self.release_one(pod).await?;
        }
        self.delete_expired(job, now).await
    }

    /// Deletes a finished job when its time to live is over, whoever manages it.
    async fn delete_expired(&self, job: &Job, now: Timestamp) -> Result<Requeue, ReconcileError> {
        match condition::expires(job) {
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
        self.lock_notes().remove(key);
        let is_orphan = |pod: &Pod| {
            is_tracked(pod)
                && controller_of(&pod.metadata)
                    .is_some_and(|owner| owner.kind == "Job" && owner.name == key.name)
        };
        for pod in self.pods.select(&key.namespace, is_orphan) {
            self.release_one(&pod).await?;
        }
        Ok(Requeue::OnChange)
    }
}
