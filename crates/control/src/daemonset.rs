//! DaemonSets: one pod on every matching node.
//!
//! A pod is pinned to its node by name and tolerates the taints of cordoned and unhealthy nodes, so
//! that such nodes have their pods too. A terminating pod still occupies its node; its successor is
//! created when it is gone, unless an update surges. `plan.rs` decides, `rollout.rs` about updates.

mod failures;
mod plan;
mod pod;
mod rollout;

use std::sync::Arc;
use std::time::Duration;

use events::EventType;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::claim::claim;
use crate::context::{ControllerContext, Reconciler};
use crate::error::ReconcileError;
use crate::expectations::Expectations;
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, uid};
use crate::podcontrol::{PodControl, wake_by_pods};
use crate::queue::{Requeue, WorkQueue};
use crate::revisions;
use crate::selector::Selector;
use failures::Failures;

const WORKERS: usize = 8;
const COMPONENT: &str = "daemonset-controller";
/// The label of pods and revisions that holds the hash of their template.
const HASH: &str = "controller-revision-hash";

struct Controller {
    context: ControllerContext,
    sets: Arc<Cache<DaemonSet>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
    revisions: Arc<Cache<ControllerRevision>>,
    control: PodControl,
    failures: Failures,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    informers.daemon_sets.enqueue_changes(&queue);
    let (wake, sets) = (queue.clone(), Arc::clone(&informers.daemon_sets.cache));
    informers.nodes.subscribe(move |change| {
        if change.new.is_none()
            || crate::scheduler::may_fit_more(change.old.as_ref(), change.new.as_ref())
        {
            sets.all()
                .iter()
                .for_each(|set| wake.add(ObjectKey::of(&**set)));
        }
    });
    let selectors = informers.daemon_sets.index_selectors(|set| {
        Selector::compile(set.spec.as_ref().map(|spec| &spec.selector)).ok()
    });
    wake_by_pods::<DaemonSet>(informers, &queue, &expectations, move |pod| {
        selectors.selecting(pod)
    });
    let control = PodControl {
        context: context.clone(),
        expectations,
        recorder: context.recorder(COMPONENT),
    };
    let controller = Arc::new(Controller {
        context: context.clone(),
        sets: Arc::clone(&informers.daemon_sets.cache),
        pods: Arc::clone(&informers.pods.cache),
        nodes: Arc::clone(&informers.nodes.cache),
        revisions: Arc::clone(&informers.controller_revisions.cache),
        control,
        failures: Failures::default(),
    });
    let synced = vec![
        informers.daemon_sets.cache.synced(),
        informers.pods.cache.synced(),
        informers.nodes.cache.synced(),
        informers.controller_revisions.cache.synced(),
    ];
    context.run("daemonset", queue, WORKERS, synced, controller);
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(set) = self.sets.get(key) else {
            self.control.expectations.forget(key);
            self.failures.forget(key);
            return Ok(Requeue::OnChange);
        };
        let Some(spec) = &set.spec else {
            return Ok(Requeue::OnChange);
        };
        let selector = Selector::compile(Some(&spec.selector)).map_err(ReconcileError::Plan)?;
        if selector.is_empty() {
            self.control.recorder.event(
                &*set,
                EventType::Warning,
                "SelectingAll",
                "This daemon set is selecting all pods. A non-empty selector is required.",
            );
            return Ok(Requeue::OnChange);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::OnChange);
        }
        let seen = self.control.expectations.met(key);
        let mut candidates = self.pods.controlled_by(uid(&set.metadata));
        candidates.extend(self.pods.adoptable(&key.namespace, &selector));
        let pods = claim(&self.context, &*set, &selector, candidates, |_| true).await?;
        let known = self.revisions.controlled_by(uid(&set.metadata));
        let revision = revisions::sync(&self.context, &*set, &known, &spec.template, HASH).await?;
        let hash = revision
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(HASH).cloned())
            .unwrap_or_default();
        let now = self.context.now();
        let held_until = |node: &str| self.failures.held_until(&set, node, now);
        let state = plan::DaemonSetState {
            set: &set,
            hash: &hash,
            held_until: &held_until,
            now,
        };
        let plan = plan::plan(&state, &pods, &self.nodes.all());
        let acted = if seen {
            self.act(&set, &plan, &hash).await
        } else {
            Ok(None)
        };
        if let Some(status) = plan.status {
            let updated = DaemonSet {
                status: Some(status),
                ..(*set).clone()
            };
            self.context.replace_status(&updated, &self.sets).await?;
        }
        let again = acted?;
        let in_use = |known: &ControllerRevision| {
            known.metadata.name == revision.metadata.name
                || pods.iter().any(|pod| {
                    pod::hash_of(pod)
                        == known
                            .metadata
                            .labels
                            .as_ref()
                            .and_then(|labels| labels.get(HASH))
                })
        };
        revisions::trim(
            &self.context,
            &key.namespace,
            &known,
            in_use,
            spec.revision_history_limit,
        )
        .await?;
        Ok(Requeue::at(now, plan.recheck).or_after(again))
    }
}

impl Controller {
    /// Carries out the plan. Returns when to look again if not all pods could be created yet.
    async fn act(
        &self,
        set: &DaemonSet,
        plan: &plan::DaemonSetPlan,
        hash: &str,
    ) -> Result<Option<Duration>, ReconcileError> {
        for (event_type, reason, message) in &plan.events {
            self.control
                .recorder
                .event(set, *event_type, reason, message.clone());
        }
        for node in &plan.failed_on {
            self.failures.failed(set, node, self.context.now());
        }
        self.control.delete(set, &plan.delete).await?;
        let pods = plan
            .create
            .iter()
            .map(|node| pod::make(set, node, hash))
            .collect();
        Ok(self.control.create(set, pods).await?)
    }
}
