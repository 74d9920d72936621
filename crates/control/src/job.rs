//! Jobs: pods that run until their work is done.
//!
//! A job pod carries a finalizer until it has been counted, so that none is lost. Counting takes
//! three writes, each of which can be the last before a crash: the uids go into the status as not
//! yet counted, the finalizers go, the uids become numbers. `plan.rs` decides what counts and what
//! comes next; `index.rs` knows about indexes.

mod index;
mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};

use crate::caches::{Cache, Caches};
use crate::claim::claim;
use crate::context::Context;
use crate::error::{Error, unless_gone};
use crate::expectations::Expectations;
use crate::meta::{Key, controller_of, uid, until};
use crate::podcontrol::{PodControl, wake_by_pods};
use crate::pods::{name, namespace};
use crate::queue::{Outcome, Queue};
use crate::selector::Selector;
use plan::{Failures, TRACKING};

const WORKERS: usize = 8;
const COMPONENT: &str = "job-controller";

struct Controller {
    context: Context,
    jobs: Arc<Cache<Job>>,
    pods: Arc<Cache<Pod>>,
    control: PodControl,
    /// Failures in a row, by uid of the job.
    failures: Mutex<HashMap<String, Failures>>,
}

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let expectations = Arc::new(Expectations::default());
    let wake = queue.clone();
    caches
        .jobs
        .subscribe(move |change| wake.add(Key::of(change.latest())));
    let selectors = caches.jobs.index_selectors(|job| selector_of(job).ok());
    wake_by_pods::<Job>(caches, &queue, &expectations, move |pod| {
        selectors.selecting(pod)
    });
    let control = PodControl {
        context: context.clone(),
        expectations,
        recorder: context.recorder(COMPONENT),
    };
    let controller = Arc::new(Controller {
        context: context.clone(),
        jobs: Arc::clone(&caches.jobs.cache),
        pods: Arc::clone(&caches.pods.cache),
        control,
        failures: Mutex::default(),
    });
    let synced = vec![caches.jobs.cache.synced(), caches.pods.cache.synced()];
    context.work("job", queue, WORKERS, synced, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

fn selector_of(job: &Job) -> Result<Selector, String> {
    Selector::compile(job.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, Error> {
        let Some(job) = self.jobs.get(key) else {
            return self.release_orphans(key).await;
        };
        if job
            .spec
            .as_ref()
            .and_then(|spec| spec.managed_by.as_deref())
            .is_some_and(|by| by != "kubernetes.io/job-controller")
        {
            return Ok(Outcome::Done);
        }
        let selector = selector_of(&job).map_err(Error::Plan)?;
        let mut candidates = self.pods.controlled_by(uid(&job.metadata));
        candidates.extend(self.pods.loose_selected(&key.namespace, &selector));
        let pods = claim(&self.context, &*job, &selector, candidates, |_| true).await?;
        let now = self.context.now();
        if plan::is_over(&job) {
            return self.finish(&job, &pods, now).await;
        }
        if let Some(counted) = plan::count(&job, &pods) {
            self.note_failures(&job, &counted, now);
            return self.count(&job, &pods, counted).await;
        }
        let failures = self.failures_of(&job);
        let plan = plan::plan(&job, &pods, &failures, now);
        for (severity, reason, message) in &plan.events {
            self.control
                .recorder
                .event(&*job, *severity, reason, message.clone());
        }
        let acted =
            if self.control.expectations.met(key) && job.metadata.deletion_timestamp.is_none() {
                self.act(&job, &plan).await
            } else {
                Ok(())
            };
        if let Some(status) = plan.status {
            self.write(&job, status).await?;
        }
        acted?;
        Ok(plan
            .recheck
            .map_or(Outcome::Done, |at| Outcome::After(until(now, at))))
    }

    async fn act(&self, job: &Job, plan: &plan::Plan) -> Result<(), Error> {
        // Those that the job itself stops are let go first, so that they are not counted as failed.
        for pod in plan.delete.iter().filter(|pod| plan::is_tracked(pod)) {
            self.release(pod).await?;
        }
        self.control.delete(job, &plan.delete).await?;
        self.control.create(job, plan.create.clone()).await?;
        Ok(())
    }

    async fn write(&self, job: &Job, status: JobStatus) -> Result<Option<Job>, Error> {
        let updated = Job {
            status: Some(status),
            ..job.clone()
        };
        let api = self
            .context
            .namespaced::<Job>(job.metadata.namespace.as_deref().unwrap_or_default());
        let name = job.metadata.name.as_deref().unwrap_or_default();
        Ok(unless_gone(
            api.replace_status(name, &PostParams::default(), &updated)
                .await,
        )?)
    }

    /// The three writes of counting. What fails in between is taken up by the next pass.
    async fn count(
        &self,
        job: &Job,
        pods: &[Arc<Pod>],
        counted: plan::Counted,
    ) -> Result<Outcome, Error> {
        let mut newest = job.clone();
        if let Some(status) = counted.noted {
            match self.write(job, status).await? {
                Some(job) => newest = job,
                None => return Ok(Outcome::Done),
            }
        }
        for pod in pods
            .iter()
            .filter(|pod| counted.release.contains(uid(&pod.metadata)))
        {
            self.release(pod).await?;
        }
        let status = plan::settle(newest.status.as_ref(), pods);
        self.write(&newest, status).await?;
        // The new status comes back and wakes the next pass.
        Ok(Outcome::Done)
    }

    async fn release(&self, pod: &Pod) -> Result<(), Error> {
        let held = pod.metadata.finalizers.iter().flatten();
        let left: Vec<_> = held.filter(|finalizer| *finalizer != TRACKING).collect();
        let value = if left.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::json!(left)
        };
        let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid, "finalizers": value}});
        let api = self.context.namespaced::<Pod>(namespace(pod));
        unless_gone(
            api.patch(name(pod), &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )?;
        Ok(())
    }

    /// The job has ended: no pod is held any more, and the job itself goes when its time is over.
    async fn finish(&self, job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Result<Outcome, Error> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid(&job.metadata));
        for pod in pods.iter().filter(|pod| plan::is_tracked(pod)) {
            self.release(pod).await?;
        }
        match plan::expires(job) {
            None => Ok(Outcome::Done),
            Some(at) if at > now => Ok(Outcome::After(until(now, at))),
            Some(_) => {
                let precondition = Preconditions {
                    uid: job.metadata.uid.clone(),
                    resource_version: None,
                };
                let how = DeleteParams {
                    preconditions: Some(precondition),
                    propagation_policy: Some(PropagationPolicy::Foreground),
                    ..DeleteParams::default()
                };
                let api = self
                    .context
                    .namespaced::<Job>(job.metadata.namespace.as_deref().unwrap_or_default());
                unless_gone(
                    api.delete(job.metadata.name.as_deref().unwrap_or_default(), &how)
                        .await
                        .map(drop),
                )?;
                Ok(Outcome::Done)
            }
        }
    }

    /// Pods of a job that is gone are not held for a count that nobody makes.
    async fn release_orphans(&self, key: &Key) -> Result<Outcome, Error> {
        self.control.expectations.forget(key);
        let is_orphan = |pod: &Pod| {
            plan::is_tracked(pod)
                && controller_of(&pod.metadata)
                    .is_some_and(|owner| owner.kind == "Job" && owner.name == key.name)
        };
        for pod in self.pods.select(&key.namespace, is_orphan) {
            self.release(&pod).await?;
        }
        Ok(Outcome::Done)
    }

    fn note_failures(&self, job: &Job, counted: &plan::Counted, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = failures.entry(uid(&job.metadata).to_owned()).or_default();
        entry.note(counted.succeeded, counted.failed, now);
    }

    fn failures_of(&self, job: &Job) -> Failures {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .get(uid(&job.metadata))
            .copied()
            .unwrap_or_default()
    }
}

/// How serious an event is, its reason and its words.
type Event = (EventType, &'static str, String);
