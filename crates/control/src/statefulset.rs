//! StatefulSets: pods with stable names.
//!
//! The name is the identity, so a successor can only be created when its predecessor is gone.
//! `plan.rs` looks at the pods by ordinal and decides what may happen now: in order, one at a time,
//! unless the set allows parallel changes. Fixed names make creation idempotent, so no expectations
//! are needed. `retention.rs` decides who owns the claims of the pods.

mod departed;
mod plan;
mod pod;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use events::{EventRecorder, EventType};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams, PostParams};

use crate::claim::claim;
use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, code, ignore_not_found, namespace_terminates, server_message};
use crate::expectations::Expectations;
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, controller_of, delete_params, uid};
use crate::pacing::ASK_AGAIN;
use crate::podcontrol::wake_by_pods;
use crate::pods::{name, namespace};
use crate::queue::{Requeue, WorkQueue};
use crate::revisions;
use crate::selector::Selector;
use departed::DepartedPods;
use plan::{ClaimAction, Revisions, StatefulSetAction, StatefulSetPlan};
use retention::ClaimingPod;

const WORKERS: usize = 8;
const COMPONENT: &str = "statefulset-controller";

/// What is done to a pod, and the reasons of the events about success and failure.
type PodVerb = (&'static str, &'static str, &'static str);
const CREATE: PodVerb = ("Create", "SuccessfulCreate", "FailedCreate");
const DELETE: PodVerb = ("Delete", "SuccessfulDelete", "FailedDelete");

struct Controller {
    context: ControllerContext,
    sets: Arc<Cache<StatefulSet>>,
    pods: Arc<Cache<Pod>>,
    revisions: Arc<Cache<ControllerRevision>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
    departed: Arc<DepartedPods>,
    recorder: EventRecorder,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    informers.stateful_sets.enqueue_changes(&queue);
    // This subscription comes first: a set that the end of a pod wakes has to know of it.
    let departed = Arc::new(DepartedPods::default());
    let seen = Arc::clone(&departed);
    informers.pods.subscribe(move |change| {
        if let (Some(pod), None) = (&change.old, &change.new)
            && controller_of(&pod.metadata).is_some_and(|owner| owner.kind == "StatefulSet")
        {
            seen.removed(ObjectKey::of(&**pod));
        }
    });
    let known = Arc::clone(&informers.stateful_sets.cache);
    wake_by_pods::<StatefulSet>(
        informers,
        &queue,
        &Arc::new(Expectations::default()),
        move |pod| {
            let sets = known.in_namespace(namespace(pod));
            sets.iter()
                .filter(|set| pod::ordinal(set, name(pod)).is_some())
                .map(|set| ObjectKey::of(&**set))
                .collect()
        },
    );
    // A pod waits for the end of a claim that goes with its predecessor.
    let (wake, sets) = (queue.clone(), Arc::clone(&informers.stateful_sets.cache));
    informers.claims.subscribe(move |change| {
        if change.new.is_none() {
            let claim = ObjectKey::of(change.latest());
            sets.select(&claim.namespace, |set| may_claim(set, &claim.name))
                .iter()
                .for_each(|set| wake.add(ObjectKey::of(&**set)));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        sets: Arc::clone(&informers.stateful_sets.cache),
        pods: Arc::clone(&informers.pods.cache),
        revisions: Arc::clone(&informers.controller_revisions.cache),
        claims: Arc::clone(&informers.claims.cache),
        departed,
        recorder: context.recorder(COMPONENT),
    });
    let synced = vec![
        informers.stateful_sets.cache.synced(),
        informers.pods.cache.synced(),
        informers.controller_revisions.cache.synced(),
        informers.claims.cache.synced(),
    ];
    context.run("statefulset", queue, WORKERS, synced, controller);
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(set) = self.sets.get(key) else {
            return Ok(Requeue::OnChange);
        };
        let Some(spec) = &set.spec else {
            return Ok(Requeue::OnChange);
        };
        let selector = Selector::compile(Some(&spec.selector)).map_err(ReconcileError::Plan)?;
        let mut candidates = self.pods.controlled_by(uid(&set.metadata));
        candidates.extend(
            self.pods
                .adoptable(&key.namespace, &selector)
                .into_iter()
                .filter(|pod| pod::ordinal(&set, name(pod)).is_some()),
        );
        let pods = claim(&self.context, &*set, &selector, candidates, |_| true).await?;
        let known = self.revisions.controlled_by(uid(&set.metadata));
        let update = revisions::sync(
            &self.context,
            &*set,
            &known,
            &spec.template,
            "controller.kubernetes.io/hash",
        )
        .await?;
        let current = set
            .status
            .as_ref()
            .and_then(|status| status.current_revision.as_deref());
        let current = known
            .iter()
            .find(|revision| revision.metadata.name.as_deref() == current)
            .unwrap_or(&update);
        let revisions = Revisions {
            current: Arc::clone(current),
            update: Arc::clone(&update),
        };
        let now = self.context.now();
        let find_claim = |name: &str| self.claims.find(&key.namespace, name);
        let plan = plan::plan(&set, &pods, &find_claim, &revisions, now);
        let acted = self.act(&set, &plan).await;
        if let Some(status) = plan.status {
            let updated = StatefulSet {
                status: Some(status),
                ..(*set).clone()
            };
            self.context.replace_status(&updated, &self.sets).await?;
        }
        let again = acted?;
        let in_use = |revision: &ControllerRevision| {
            let name = revision.metadata.name.as_deref();
            name == revisions.current.metadata.name.as_deref()
                || name == revisions.update.metadata.name.as_deref()
                || pods.iter().any(|pod| pod::revision_of(pod) == name)
        };
        revisions::trim(
            &self.context,
            &key.namespace,
            &known,
            in_use,
            spec.revision_history_limit,
        )
        .await?;
        Ok(Requeue::at(now, plan.available_at).or_after(again))
    }
}

impl Controller {
    /// Requests what the plan says about claims, and then what it says about pods.
    async fn act(
        &self,
        set: &StatefulSet,
        plan: &StatefulSetPlan,
    ) -> Result<Option<Duration>, ReconcileError> {
        join_all(
            plan.claims
                .iter()
                .map(|action| self.apply_claim(set, action)),
        )
        .await
        .into_iter()
        .collect::<Result<Vec<()>, ReconcileError>>()?;
        let wait = |action: &StatefulSetAction| match action {
            StatefulSetAction::Create { pod, .. } => self.departed.wait(&ObjectKey::of(&**pod)),
            StatefulSetAction::Delete(_) => None,
        };
        let is_create =
            |action: &&StatefulSetAction| matches!(action, StatefulSetAction::Create { .. });
        let (due, held): (Vec<_>, Vec<_>) = plan
            .actions
            .iter()
            .partition(|action| wait(action).is_none());
        let missing = due.iter().copied().filter(is_create).count();
        let mut granted = self.context.pod_pace.grant(missing);
        let again = (granted < missing).then_some(ASK_AGAIN);
        let again = held.into_iter().filter_map(wait).chain(again).min();
        let paced = due.into_iter().filter(|action| {
            if !is_create(action) {
                return true;
            }
            let is_granted = granted > 0;
            granted = granted.saturating_sub(1);
            is_granted
        });
        join_all(paced.map(|action| self.apply(set, action)))
            .await
            .into_iter()
            .collect::<Result<Vec<()>, ReconcileError>>()?;
        Ok(again)
    }

    async fn apply(
        &self,
        set: &StatefulSet,
        action: &StatefulSetAction,
    ) -> Result<(), ReconcileError> {
        match action {
            StatefulSetAction::Create { pod, claims } => {
                let created = self.create(set, pod, claims).await;
                match &created {
                    Ok(true) => self.pod_event(set, CREATE, pod, None),
                    Ok(false) => {}
                    Err(error) => self.pod_event(set, CREATE, pod, Some(error)),
                }
                created.map(drop)
            }
            StatefulSetAction::Delete(pod) => {
                let api = self.context.namespaced::<Pod>(namespace(pod));
                let how = delete_params(&pod.metadata);
                match api.delete(name(pod), &how).await {
                    Ok(_) => {
                        self.pod_event(set, DELETE, pod, None);
                        Ok(())
                    }
                    Err(error) if matches!(code(&error), 404 | 409) => Ok(()),
                    Err(error) => {
                        let error = error.into();
                        self.pod_event(set, DELETE, pod, Some(&error));
                        Err(error)
                    }
                }
            }
        }
    }

    /// Creates a pod and its missing claims. Returns false when there is nothing to report: the pod
    /// exists and is not in the cache yet, or the namespace is being deleted.
    async fn create(
        &self,
        set: &StatefulSet,
        pod: &Pod,
        claims: &[PersistentVolumeClaim],
    ) -> Result<bool, ReconcileError> {
        for claim in claims {
            self.ensure_claim(set, pod, claim).await?;
        }
        match self.context.create_pod(pod).await {
            Ok(_) => Ok(true),
            Err(error) if namespace_terminates(&error) => Ok(false),
            Err(error) if code(&error) == 409 && !server_message(&error).contains("quota") => {
                // A foreign pod may have this name. The other pods do not wait for it, and its end
                // wakes nobody, so the set asks again.
                match self.pods.find(namespace(pod), name(pod)) {
                    Some(known) if !is_controlled_by(&known, set) => {
                        Err(ReconcileError::Plan(server_message(&error)))
                    }
                    _ => Ok(false),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn apply_claim(
        &self,
        set: &StatefulSet,
        action: &ClaimAction,
    ) -> Result<(), ReconcileError> {
        match action {
            ClaimAction::Create { pod, claim } => self.ensure_claim(set, pod, claim).await,
            ClaimAction::Own {
                claim,
                owners,
                conflict,
            } => self.own(set, claim, owners, *conflict).await,
        }
    }

    /// Creates a claim of a pod unless it exists. A claim that is being deleted is an error,
    /// because a pod that used it would lose its volume.
    async fn ensure_claim(
        &self,
        set: &StatefulSet,
        pod: &Pod,
        wanted: &PersistentVolumeClaim,
    ) -> Result<(), ReconcileError> {
        let claim_name = wanted.metadata.name.as_deref().unwrap_or_default();
        let api = self
            .context
            .namespaced::<PersistentVolumeClaim>(namespace(pod));
        let claim = match api.get_opt(claim_name).await? {
            Some(known) if known.metadata.deletion_timestamp.is_some() => {
                return Err(ReconcileError::Plan(format!(
                    "pvc {claim_name} is being deleted"
                )));
            }
            Some(known) => known,
            None => match api.create(&PostParams::default(), wanted).await {
                Ok(created) => {
                    self.claim_event(set, pod, claim_name, None);
                    created
                }
                Err(error) if code(&error) == 409 || namespace_terminates(&error) => return Ok(()),
                Err(error) => {
                    self.claim_event(set, pod, claim_name, Some(&error));
                    return Err(ReconcileError::Plan(format!(
                        "failed to create PVC {claim_name}: {}",
                        server_message(&error)
                    )));
                }
            },
        };
        let of = ClaimingPod {
            pod,
            in_range: true,
        };
        match retention::owners(set, &claim, of) {
            Some(owners) => {
                let conflict = retention::conflicts(set, &claim, of);
                self.own(set, &claim, &owners, conflict).await
            }
            None => Ok(()),
        }
    }

    async fn own(
        &self,
        set: &StatefulSet,
        claim: &PersistentVolumeClaim,
        owners: &[OwnerReference],
        conflict: bool,
    ) -> Result<(), ReconcileError> {
        let meta = &claim.metadata;
        let claim_name = meta.name.as_deref().unwrap_or_default();
        if conflict {
            // The misspelling is upstream's.
            let message = format!(
                "PersistentVolumeClaim {claim_name} has a conflicting OwnerReference that acts as \
                 a manging controller, the retention policy is ignored for this claim"
            );
            self.recorder
                .event(set, EventType::Warning, "ConflictingController", message);
        }
        let owners = if owners.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::json!(owners)
        };
        let patch = serde_json::json!({"metadata": {"uid": meta.uid,
            "resourceVersion": meta.resource_version, "ownerReferences": owners}});
        let api = self
            .context
            .namespaced::<PersistentVolumeClaim>(meta.namespace.as_deref().unwrap_or_default());
        ignore_not_found(
            api.patch(claim_name, &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )?;
        Ok(())
    }

    fn pod_event(
        &self,
        set: &StatefulSet,
        (verb, done, failed): PodVerb,
        pod: &Pod,
        error: Option<&ReconcileError>,
    ) {
        let set_name = set.metadata.name.as_deref().unwrap_or_default();
        let subject = format!("{verb} Pod {} in StatefulSet {set_name}", name(pod));
        let (event_type, reason, end) = match error {
            None => (EventType::Normal, done, "successful".to_owned()),
            Some(error) => (EventType::Warning, failed, format!("failed error: {error}")),
        };
        self.recorder
            .event(set, event_type, reason, format!("{subject} {end}"));
    }

    fn claim_event(&self, set: &StatefulSet, pod: &Pod, claim: &str, error: Option<&kube::Error>) {
        let set_name = set.metadata.name.as_deref().unwrap_or_default();
        let pod = name(pod);
        match error {
            None => {
                let message =
                    format!("Create Claim {claim} Pod {pod} in StatefulSet {set_name} success");
                self.recorder
                    .event(set, EventType::Normal, "SuccessfulCreate", message);
            }
            Some(error) => {
                let message = format!(
                    "Create Claim {claim} for Pod {pod} in StatefulSet {set_name} failed error: {}",
                    server_message(error)
                );
                self.recorder
                    .event(set, EventType::Warning, "FailedCreate", message);
            }
        }
    }
}

fn is_controlled_by(pod: &Pod, set: &StatefulSet) -> bool {
    controller_of(&pod.metadata).is_some_and(|owner| owner.uid == uid(&set.metadata))
}

/// True when the claim may be that of a pod of this set.
fn may_claim(set: &StatefulSet, claim: &str) -> bool {
    let templates = set
        .spec
        .iter()
        .flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    templates
        .filter_map(|template| claim.strip_prefix(template.metadata.name.as_deref()?))
        .filter_map(|rest| rest.strip_prefix('-'))
        .any(|pod| pod::ordinal(set, pod).is_some())
}
