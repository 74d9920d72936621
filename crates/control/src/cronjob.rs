//! CronJobs: one job for each time of a schedule.
//!
//! The name of a job is derived from its scheduled time, so that a time that is processed twice
//! creates one job. `plan.rs` decides which jobs are created and deleted. A delayed key wakes the
//! controller at the next time.

mod plan;

use std::sync::Arc;

use events::{EventRecorder, EventType};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::api::{DeleteParams, PostParams, PropagationPolicy};

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, controller_of, delete_params, uid};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 4;
const COMPONENT: &str = "cronjob-controller";

struct Controller {
    context: ControllerContext,
    cron_jobs: Arc<Cache<CronJob>>,
    jobs: Arc<Cache<Job>>,
    recorder: EventRecorder,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    informers.cron_jobs.enqueue_changes(&queue);
    let wake = queue.clone();
    informers.jobs.subscribe(move |change| {
        for job in change.states() {
            if let Some(owner) =
                controller_of(&job.metadata).filter(|owner| owner.kind == "CronJob")
            {
                wake.add(ObjectKey::new(
                    job.metadata.namespace.clone().unwrap_or_default(),
                    owner.name.clone(),
                ));
            }
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        cron_jobs: Arc::clone(&informers.cron_jobs.cache),
        jobs: Arc::clone(&informers.jobs.cache),
        recorder: context.recorder(COMPONENT),
    });
    let synced = vec![
        informers.cron_jobs.cache.synced(),
        informers.jobs.cache.synced(),
    ];
    context.run("cronjob", queue, WORKERS, synced, controller);
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(cron_job) = self.cron_jobs.get(key) else {
            return Ok(Requeue::OnChange);
        };
        let mine = |job: &Job| {
            controller_of(&job.metadata).is_some_and(|owner| owner.uid == uid(&cron_job.metadata))
        };
        let jobs = self.jobs.select(&key.namespace, mine);
        let now = self.context.now();
        let plan = plan::plan(&cron_job, &jobs, now);
        for (event_type, reason, message) in plan.events {
            self.recorder.event(&*cron_job, event_type, reason, message);
        }
        for job in &plan.delete {
            self.delete(&cron_job, job).await?;
        }
        let mut status = plan.status;
        if let Some((job, time)) = plan.create {
            let made = self.create(&cron_job, *job).await?;
            let next = status.get_or_insert_with(|| cron_job.status.clone().unwrap_or_default());
            plan::note_start(next, &made, time);
        }
        if let Some(status) = status {
            self.write(&cron_job, status).await?;
        }
        Ok(Requeue::at(now, plan.recheck))
    }
}

impl Controller {
    /// Creates the job of a scheduled time. A job that exists was created by an earlier
    /// reconciliation that did not write the status.
    async fn create(&self, cron_job: &CronJob, job: Job) -> Result<Job, ReconcileError> {
        let api = self
            .context
            .namespaced::<Job>(cron_job.metadata.namespace.as_deref().unwrap_or_default());
        match api.create(&PostParams::default(), &job).await {
            Ok(made) => {
                let name = made.metadata.name.clone().unwrap_or_default();
                self.recorder.event(
                    cron_job,
                    EventType::Normal,
                    "SuccessfulCreate",
                    format!("Created job {name}"),
                );
                Ok(made)
            }
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let found = api
                    .get(job.metadata.name.as_deref().unwrap_or_default())
                    .await?;
                let is_mine = controller_of(&found.metadata)
                    .is_some_and(|owner| owner.uid == uid(&cron_job.metadata));
                if is_mine {
                    Ok(found)
                } else {
                    Err(kube::Error::Api(status).into())
                }
            }
            Err(error) => {
                self.recorder.event(
                    cron_job,
                    EventType::Warning,
                    "FailedCreate",
                    format!("Error creating job: {error}"),
                );
                Err(error.into())
            }
        }
    }

    async fn delete(&self, cron_job: &CronJob, job: &Job) -> Result<(), ReconcileError> {
        let api = self
            .context
            .namespaced::<Job>(cron_job.metadata.namespace.as_deref().unwrap_or_default());
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let how = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..delete_params(&job.metadata)
        };
        if ignore_not_found(api.delete(name, &how).await.map(drop))?.is_some() {
            self.recorder.event(
                cron_job,
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted job {name}"),
            );
        }
        Ok(())
    }

    async fn write(&self, cron_job: &CronJob, status: CronJobStatus) -> Result<(), ReconcileError> {
        let updated = CronJob {
            status: Some(status),
            ..cron_job.clone()
        };
        self.context
            .replace_status(&updated, &self.cron_jobs)
            .await?;
        Ok(())
    }
}
