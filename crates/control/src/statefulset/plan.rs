//! Decides what may happen to the pods of a set now. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::meta::controlled_by;
use crate::podcontrol::BURST;
use crate::pods::{Availability, availability, is_finished, is_ready, is_terminating, phase};
use crate::revisions::template_of;

const REVISION: &str = "controller-revision-hash";

/// A request to make.
#[derive(Debug)]
pub(super) enum StatefulSetAction {
    Create {
        pod: Box<Pod>,
        claims: Vec<PersistentVolumeClaim>,
    },
    Delete {
        pod: Arc<Pod>,
        failed: bool,
    },
}

/// What to do now.
#[derive(Debug)]
pub(super) struct StatefulSetPlan {
    pub(super) actions: Vec<StatefulSetAction>,
    /// None when the present status is right.
    pub(super) status: Option<StatefulSetStatus>,
    /// When the next pod becomes available by time alone.
    pub(super) available_at: Option<Timestamp>,
}

/// The revisions of a rolling update.
pub(super) struct Revisions {
    pub(super) current: Arc<ControllerRevision>,
    pub(super) update: Arc<ControllerRevision>,
}

/// The revision that a pod was created from.
pub(super) fn revision_of(pod: &Pod) -> Option<&str> {
    pod.metadata
        .labels
        .as_ref()?
        .get(REVISION)
        .map(String::as_str)
}

/// The ordinal in the name of a pod of this set.
pub(super) fn ordinal(set: &StatefulSet, pod: &str) -> Option<i32> {
    let number = pod
        .strip_prefix(set.metadata.name.as_deref()?)?
        .strip_prefix('-')?;
    let ordinal: i32 = number.parse().ok()?;
    (ordinal >= 0 && ordinal.to_string() == number).then_some(ordinal)
}

struct StatefulSetState<'a> {
    set: &'a StatefulSet,
    revisions: &'a Revisions,
    first: i32,
    replicas: i32,
    in_order: bool,
    min_ready_seconds: i32,
    now: Timestamp,
}

impl StatefulSetState<'_> {
    fn last(&self) -> i32 {
        self.first.saturating_add(self.replicas)
    }

    /// Pods from this ordinal on are updated.
    fn partition(&self) -> i32 {
        let strategy = self
            .set
            .spec
            .as_ref()
            .and_then(|spec| spec.update_strategy.as_ref());
        strategy
            .and_then(|strategy| strategy.rolling_update.as_ref()?.partition)
            .unwrap_or_default()
    }

    fn rolls(&self) -> bool {
        let strategy = self
            .set
            .spec
            .as_ref()
            .and_then(|spec| spec.update_strategy.as_ref());
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        phase(pod) == "Running" && is_ready(pod) && !is_terminating(pod)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        phase(pod) == "Running"
            && availability(pod, self.min_ready_seconds, self.now) == Availability::Now
    }

    /// The revision for a new pod. During a rolling update, a pod that the update has not reached
    /// is created from the current revision again.
    fn revision_for(&self, ordinal: i32) -> &ControllerRevision {
        let reached = match self
            .set
            .status
            .as_ref()
            .and_then(|status| status.current_replicas)
        {
            _ if !self.rolls() => true,
            current if self.partition() == 0 => {
                ordinal >= self.first.saturating_add(current.unwrap_or_default())
            }
            _ => ordinal >= self.first.saturating_add(self.partition()),
        };
        if reached {
            &self.revisions.update
        } else {
            &self.revisions.current
        }
    }
}

/// Makes the plan.
pub(super) fn plan(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    revisions: &Revisions,
    now: Timestamp,
) -> StatefulSetPlan {
    let spec = set.spec.as_ref();
    let view = StatefulSetState {
        set,
        revisions,
        first: spec
            .and_then(|spec| spec.ordinals.as_ref()?.start)
            .unwrap_or_default(),
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0),
        in_order: spec.and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel"),
        min_ready_seconds: spec
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default(),
        now,
    };
    let by_ordinal: BTreeMap<i32, &Arc<Pod>> = pods
        .iter()
        .filter_map(|pod| Some((ordinal(set, pod.metadata.name.as_deref()?)?, pod)))
        .collect();
    let actions = if set.metadata.deletion_timestamp.is_some() {
        Vec::new()
    } else {
        act(&view, &by_ordinal)
    };
    let waits = by_ordinal.values().filter_map(|pod| {
        match availability(pod, view.min_ready_seconds, now) {
            Availability::At(at) => Some(at),
            _ => None,
        }
    });
    StatefulSetPlan {
        status: status(&view, &by_ordinal, replaced(&view, &actions)),
        actions,
        available_at: waits.min(),
    }
}

fn act(view: &StatefulSetState<'_>, pods: &BTreeMap<i32, &Arc<Pod>>) -> Vec<StatefulSetAction> {
    let mut actions = Vec::new();
    for ordinal in view.first..view.last() {
        let action = match pods.get(&ordinal) {
            None => Some(create(view, ordinal)),
            Some(pod) if is_finished(pod) && !is_terminating(pod) => {
                Some(StatefulSetAction::Delete {
                    pod: Arc::clone(pod),
                    failed: phase(pod) == "Failed",
                })
            }
            Some(_) => None,
        };
        let busy = action.is_some();
        actions.extend(action);
        // Creations wake the next reconciliation, which goes on.
        if actions.len() >= BURST {
            return actions;
        }
        let settled = pods
            .get(&ordinal)
            .is_some_and(|pod| view.is_healthy(pod) && view.is_available(pod));
        if view.in_order && (busy || !settled) {
            return actions;
        }
    }
    let surplus: Vec<_> = pods
        .iter()
        .filter(|(ordinal, _)| **ordinal < view.first || **ordinal >= view.last())
        .collect();
    for (_, pod) in surplus.into_iter().rev() {
        if is_terminating(pod) {
            if view.in_order {
                return actions;
            }
            continue;
        }
        // Also an unhealthy one: it may never become healthy, and nothing behind it is left.
        actions.push(StatefulSetAction::Delete {
            pod: Arc::clone(pod),
            failed: false,
        });
        if view.in_order {
            return actions;
        }
    }
    if actions.is_empty() {
        roll(view, pods)
    } else {
        actions
    }
}

/// Updates pods from the last ordinal down to the partition, one at a time. Each has to be
/// available before the next is deleted.
fn roll(view: &StatefulSetState<'_>, pods: &BTreeMap<i32, &Arc<Pod>>) -> Vec<StatefulSetAction> {
    if !view.rolls() {
        return Vec::new();
    }
    for ordinal in (view.first.saturating_add(view.partition())..view.last()).rev() {
        let Some(pod) = pods.get(&ordinal) else {
            return Vec::new();
        };
        if is_terminating(pod) {
            return Vec::new();
        }
        if revision_of(pod) != view.revisions.update.metadata.name.as_deref() {
            return vec![StatefulSetAction::Delete {
                pod: Arc::clone(pod),
                failed: false,
            }];
        }
        if !view.is_healthy(pod) || !view.is_available(pod) {
            return Vec::new();
        }
    }
    Vec::new()
}

fn create(view: &StatefulSetState<'_>, ordinal: i32) -> StatefulSetAction {
    let (set, revision) = (view.set, view.revision_for(ordinal));
    let own = set
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default();
    let template: PodTemplateSpec = template_of(revision).unwrap_or(own);
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let pod_name = format!("{set_name}-{ordinal}");
    let meta = template.metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(
        "statefulset.kubernetes.io/pod-name".to_owned(),
        pod_name.clone(),
    );
    labels.insert(
        "apps.kubernetes.io/pod-index".to_owned(),
        ordinal.to_string(),
    );
    labels.insert(
        REVISION.to_owned(),
        revision.metadata.name.clone().unwrap_or_default(),
    );
    let mut spec = template.spec.unwrap_or_default();
    spec.hostname = Some(pod_name.clone());
    spec.subdomain = set
        .spec
        .as_ref()
        .and_then(|spec| spec.service_name.clone())
        .filter(|name| !name.is_empty());
    let claims = claims(set, ordinal);
    let volumes = spec.volumes.get_or_insert_default();
    for (template, claim) in &claims {
        volumes.retain(|volume| volume.name != *template);
        let source = PersistentVolumeClaimVolumeSource {
            claim_name: claim.metadata.name.clone().unwrap_or_default(),
            read_only: None,
        };
        volumes.push(Volume {
            name: template.clone(),
            persistent_volume_claim: Some(source),
            ..Volume::default()
        });
    }
    spec.volumes = spec.volumes.filter(|volumes| !volumes.is_empty());
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(pod_name),
            generate_name: Some(format!("{set_name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controlled_by(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    };
    StatefulSetAction::Create {
        pod: Box::new(pod),
        claims: claims.into_iter().map(|(_, claim)| claim).collect(),
    }
}

/// The claims of one pod, with the names of their templates.
fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let Some(spec) = &set.spec else {
        return Vec::new();
    };
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let templates = spec.volume_claim_templates.iter().flatten();
    templates
        .map(|template| {
            let mut claim = template.clone();
            let name = template.metadata.name.clone().unwrap_or_default();
            claim.metadata.name = Some(format!("{name}-{set_name}-{ordinal}"));
            claim.metadata.namespace.clone_from(&set.metadata.namespace);
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
            claim.status = None;
            (name, claim)
        })
        .collect()
}

/// The name of the pod that a rolling update deletes in this plan.
fn replaced<'a>(view: &StatefulSetState<'_>, actions: &'a [StatefulSetAction]) -> Option<&'a str> {
    actions.iter().find_map(|action| match action {
        StatefulSetAction::Delete { pod, .. } if !is_finished(pod) => {
            let name = pod.metadata.name.as_deref()?;
            let ordinal = ordinal(view.set, name)?;
            (view.first..view.last()).contains(&ordinal).then_some(name)
        }
        _ => None,
    })
}

fn status(
    view: &StatefulSetState<'_>,
    pods: &BTreeMap<i32, &Arc<Pod>>,
    replaced: Option<&str>,
) -> Option<StatefulSetStatus> {
    let old = view.set.status.clone().unwrap_or_default();
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.values().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
    };
    let created = |pod: &Pod| !phase(pod).is_empty();
    let of = |pod: &Pod, revision: &ControllerRevision| {
        created(pod)
            && !is_terminating(pod)
            && revision_of(pod) == revision.metadata.name.as_deref()
    };
    let replicas = count(&created);
    let ready = count(&|pod| phase(pod) == "Running" && is_ready(pod));
    let updated = count(&|pod| of(pod, &view.revisions.update));
    // The pod that is replaced counts as gone already. Its successor is made from the revision that
    // `currentReplicas` selects, and would otherwise be of the current revision again if the pod is
    // gone before the next plan.
    let stays = |pod: &Pod| replaced.is_none() || pod.metadata.name.as_deref() != replaced;
    let mut current = count(&|pod| stays(pod) && of(pod, &view.revisions.current));
    let mut current_revision = view.revisions.current.metadata.name.clone();
    if view.rolls() && updated == replicas && ready == replicas && updated == view.replicas {
        (current, current_revision) = (updated, view.revisions.update.metadata.name.clone());
    }
    let non_zero = |count: i32| Some(count).filter(|count| *count != 0);
    let new = StatefulSetStatus {
        available_replicas: Some(count(&|pod| view.is_available(pod))),
        collision_count: Some(old.collision_count.unwrap_or_default()),
        conditions: old.conditions.clone(),
        current_replicas: non_zero(current),
        current_revision,
        observed_generation: view.set.metadata.generation,
        ready_replicas: non_zero(ready),
        replicas,
        update_revision: view.revisions.update.metadata.name.clone(),
        updated_replicas: non_zero(updated),
    };
    (new != old).then_some(new)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::tests::pod;

    fn set(replicas: i32, extra: Value) -> StatefulSet {
        let mut tree = json!({"metadata": {"name": "sts", "namespace": "n", "uid": "s",
            "generation": 1},
            "spec": {"replicas": replicas, "serviceName": "svc",
                "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}},
                         "spec": {"containers": []}}}});
        if let (Some(spec), Some(extra)) = (tree["spec"].as_object_mut(), extra.as_object()) {
            spec.extend(extra.clone());
        }
        serde_json::from_value(tree).expect("a set")
    }

    pub(super) fn revision(name: &str) -> Arc<ControllerRevision> {
        Arc::new(ControllerRevision {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ControllerRevision::default()
        })
    }

    fn member(name: &str, revision: &str, phase: &str, ready: bool, leaving: bool) -> Arc<Pod> {
        Arc::new(pod(json!({
            "metadata": {"name": name, "labels": {REVISION: revision},
                "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z")},
            "status": {"phase": phase, "conditions": [{"type": "Ready",
                "status": if ready { "True" } else { "False" }}]},
        })))
    }

    fn well(name: &str) -> Arc<Pod> {
        member(name, "r1", "Running", true, false)
    }

    fn acts(set: &StatefulSet, pods: &[Arc<Pod>], current: &str, update: &str) -> Vec<String> {
        let revisions = Revisions {
            current: revision(current),
            update: revision(update),
        };
        let plan = plan(set, pods, &revisions, Timestamp::UNIX_EPOCH);
        plan.actions
            .iter()
            .map(|action| match action {
                StatefulSetAction::Create { pod, .. } => {
                    format!("create {}", crate::pods::name(pod))
                }
                StatefulSetAction::Delete { pod, .. } => {
                    format!("delete {}", crate::pods::name(pod))
                }
            })
            .collect()
    }

    #[test]
    fn ordered_pods_wait_for_the_pod_before() {
        let set = set(3, json!({}));
        let pending = member("sts-0", "r1", "Pending", false, false);
        assert_eq!(acts(&set, &[], "r1", "r1"), ["create sts-0"]);
        assert_eq!(acts(&set, &[pending], "r1", "r1"), Vec::<String>::new());
        assert_eq!(acts(&set, &[well("sts-0")], "r1", "r1"), ["create sts-1"]);
        assert_eq!(
            acts(
                &set,
                &[member("sts-0", "r1", "Running", true, true), well("sts-2")],
                "r1",
                "r1"
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            acts(
                &set,
                &[member("sts-0", "r1", "Failed", false, false)],
                "r1",
                "r1"
            ),
            ["delete sts-0"]
        );
    }

    #[test]
    fn parallel_pods_are_created_and_deleted_at_once() {
        let parallel = |replicas| set(replicas, json!({"podManagementPolicy": "Parallel"}));
        assert_eq!(
            acts(&parallel(2), &[], "r1", "r1"),
            ["create sts-0", "create sts-1"]
        );
        assert_eq!(
            acts(&parallel(0), &[well("sts-0"), well("sts-1")], "r1", "r1"),
            ["delete sts-1", "delete sts-0"]
        );
        assert_eq!(acts(&parallel(i32::MAX), &[], "r1", "r1").len(), BURST);
    }

    #[test]
    fn a_set_shrinks_from_the_end_one_at_a_time() {
        let set = set(0, json!({}));
        let pods = [well("sts-0"), well("sts-1"), well("sts-2")];
        assert_eq!(acts(&set, &pods, "r1", "r1"), ["delete sts-2"]);
        let going = [
            well("sts-0"),
            well("sts-1"),
            member("sts-2", "r1", "Running", true, true),
        ];
        assert_eq!(acts(&set, &going, "r1", "r1"), Vec::<String>::new());
    }

    #[test]
    fn a_rolling_update_goes_from_the_last_ordinal_down_to_the_partition() {
        let pods = [well("sts-0"), well("sts-1")];
        assert_eq!(
            acts(&set(2, json!({})), &pods, "r1", "r2"),
            ["delete sts-1"]
        );
        let half = [well("sts-0"), member("sts-1", "r2", "Running", true, false)];
        assert_eq!(
            acts(&set(2, json!({})), &half, "r1", "r2"),
            ["delete sts-0"]
        );
        let partitioned = set(
            2,
            json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
        );
        assert_eq!(acts(&partitioned, &half, "r1", "r2"), Vec::<String>::new());
        assert_eq!(
            acts(
                &set(2, json!({"updateStrategy": {"type": "OnDelete"}})),
                &pods,
                "r1",
                "r2"
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_pod_carries_its_identity_and_its_claims() {
        let set = set(
            1,
            json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}),
        );
        let revisions = Revisions {
            current: revision("r1"),
            update: revision("r1"),
        };
        let plan = plan(&set, &[], &revisions, Timestamp::UNIX_EPOCH);
        let StatefulSetAction::Create { pod, claims } = &plan.actions[0] else {
            panic!("creates")
        };
        let tree = serde_json::to_value(pod).expect("json");
        assert_eq!(
            tree["metadata"]["labels"],
            json!({"app": "web", "apps.kubernetes.io/pod-index": "0",
                "controller-revision-hash": "r1", "statefulset.kubernetes.io/pod-name": "sts-0"})
        );
        assert_eq!(
            (&tree["spec"]["hostname"], &tree["spec"]["subdomain"]),
            (&json!("sts-0"), &json!("svc"))
        );
        assert_eq!(
            tree["spec"]["volumes"],
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-sts-0"}}])
        );
        assert_eq!(
            claims[0].metadata.labels.as_ref().expect("labels")["app"],
            "web"
        );
    }

    #[test]
    fn a_terminating_pod_counts_as_a_replica_and_as_ready_but_not_as_current() {
        let pods = [well("sts-0"), member("sts-1", "r1", "Running", true, true)];
        let revisions = Revisions {
            current: revision("r1"),
            update: revision("r1"),
        };
        let status = plan(&set(2, json!({})), &pods, &revisions, Timestamp::UNIX_EPOCH)
            .status
            .expect("written");
        assert_eq!(
            (
                status.replicas,
                status.ready_replicas,
                status.current_replicas
            ),
            (2, Some(2), Some(1))
        );
    }
}
