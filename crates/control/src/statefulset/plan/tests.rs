//! Sets in the states that they pass through.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::super::pod::REVISION;
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

pub(super) const NO_CLAIMS: FindClaim<'static> = &|_| None;

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
    let plan = plan(set, pods, NO_CLAIMS, &revisions, Timestamp::UNIX_EPOCH);
    plan.actions
        .iter()
        .map(|action| match action {
            StatefulSetAction::Create { pod, .. } => {
                format!("create {}", crate::pods::name(pod))
            }
            StatefulSetAction::Delete(pod) => format!("delete {}", crate::pods::name(pod)),
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
    let plan = plan(&set, &[], NO_CLAIMS, &revisions, Timestamp::UNIX_EPOCH);
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
    let set = set(2, json!({}));
    let status = plan(&set, &pods, NO_CLAIMS, &revisions, Timestamp::UNIX_EPOCH)
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

/// The revision of the pod that is made for an ordinal.
fn made(strategy: &Value, current_replicas: i32, ordinal: i32) -> String {
    let mut set = set(
        1,
        json!({"podManagementPolicy": "Parallel", "ordinals": {"start": ordinal},
            "updateStrategy": strategy}),
    );
    set.spec.as_mut().expect("a spec").replicas = Some(3);
    set.status = Some(StatefulSetStatus {
        current_replicas: Some(current_replicas),
        ..StatefulSetStatus::default()
    });
    let revisions = Revisions {
        current: revision("r1"),
        update: revision("r2"),
    };
    let plan = plan(&set, &[], NO_CLAIMS, &revisions, Timestamp::UNIX_EPOCH);
    let made: Vec<&str> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            StatefulSetAction::Create { pod, .. } => revision_of(pod),
            StatefulSetAction::Delete(_) => None,
        })
        .collect();
    made.join(" ")
}

#[test]
fn a_new_pod_is_of_the_old_revision_only_before_the_partition() {
    let rolling = |partition: Value| json!({"type": "RollingUpdate", "rollingUpdate": partition});
    let cases = [
        (rolling(json!({"partition": 0})), 3, "r2 r2 r2"),
        (rolling(json!({"partition": 0})), 0, "r2 r2 r2"),
        (rolling(json!({"partition": 2})), 0, "r1 r1 r2"),
        (rolling(json!({"partition": 9})), 0, "r1 r1 r1"),
        (rolling(json!({})), 3, "r2 r2 r2"),
        // Without `rollingUpdate` the number of current replicas decides.
        (json!({"type": "RollingUpdate"}), 0, "r2 r2 r2"),
        (json!({"type": "RollingUpdate"}), 2, "r1 r1 r2"),
        (json!({"type": "OnDelete"}), 3, "r2 r2 r2"),
    ];
    for (strategy, current, expected) in cases {
        for first in [0, 5] {
            let found = made(&strategy, current, first);
            assert_eq!(
                found, expected,
                "{strategy}, {current} current, from {first}"
            );
        }
    }
}

#[test]
fn an_update_that_changes_its_mind_goes_on_from_the_end() {
    let at = |index: usize, revision: &str| {
        member(&format!("sts-{index}"), revision, "Running", true, false)
    };
    // The revisions of the pods, and the pod that is deleted on the way to each revision.
    let cases = [
        (["r1", "r1", "r2"], "r2", "delete sts-1"),
        (["r1", "r1", "r2"], "r1", "delete sts-2"),
        (["r1", "r1", "r2"], "r3", "delete sts-2"),
        (["r1", "r2", "r2"], "r1", "delete sts-2"),
        (["r1", "r2", "r1"], "r1", "delete sts-1"),
        (["r1", "r2", "r1"], "r2", "delete sts-2"),
    ];
    for (pods, update, expected) in cases {
        let pods: Vec<_> = (0..3).map(|index| at(index, pods[index])).collect();
        let set = set(
            3,
            json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}),
        );
        assert_eq!(acts(&set, &pods, "r1", update), [expected], "to {update}");
    }
}

#[test]
fn an_ordered_set_does_not_shrink_while_pods_before_the_last_are_unready() {
    let unready = |name: &str| member(name, "r1", "Running", false, false);
    let failed = |name: &str| member(name, "r1", "Failed", false, false);
    let cases: [(Vec<Arc<Pod>>, &[&str]); 5] = [
        (vec![well("sts-0"), well("sts-1")], &["delete sts-1"]),
        (vec![well("sts-0"), unready("sts-1")], &["delete sts-1"]),
        (vec![unready("sts-0"), well("sts-1")], &["delete sts-1"]),
        (vec![unready("sts-0"), unready("sts-1")], &[]),
        // This one will never be ready.
        (vec![unready("sts-0"), failed("sts-1")], &["delete sts-1"]),
    ];
    for (pods, expected) in cases {
        assert_eq!(acts(&set(0, json!({})), &pods, "r1", "r1"), expected);
    }
}

#[test]
fn claims_get_their_owners_before_their_pods_go() {
    let set = set(
        1,
        json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
            "persistentVolumeClaimRetentionPolicy":
                {"whenDeleted": "Delete", "whenScaled": "Delete"}}),
    );
    let claim = |name: &str| {
        Some(Arc::new(PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..PersistentVolumeClaim::default()
        }))
    };
    let with_uid = |pod: Arc<Pod>| {
        let mut pod = (*pod).clone();
        pod.metadata.uid.clone_from(&pod.metadata.name);
        Arc::new(pod)
    };
    let revisions = Revisions {
        current: revision("r1"),
        update: revision("r1"),
    };
    let pods = [with_uid(well("sts-0")), with_uid(well("sts-1"))];
    let found = plan(&set, &pods, &claim, &revisions, Timestamp::UNIX_EPOCH);
    let owned: Vec<(String, String)> = found
        .claims
        .iter()
        .map(|action| match action {
            ClaimAction::Own { claim, owners, .. } => (
                claim.metadata.name.clone().unwrap_or_default(),
                owners.iter().map(|owner| owner.name.clone()).collect(),
            ),
            ClaimAction::Create { .. } => panic!("all claims are there"),
        })
        .collect();
    let pair = |claim: &str, owner: &str| (claim.to_owned(), owner.to_owned());
    assert_eq!(
        owned,
        [pair("data-sts-0", "sts"), pair("data-sts-1", "sts-1")]
    );
    assert_eq!(found.actions.len(), 1);
    // A claim of the pod that went with the smaller size is not used again.
    let stale = |name: &str| {
        let mut claim = (*claim(name)?).clone();
        claim.metadata.owner_references = Some(vec![crate::meta::controlled_by(&*pods[0])]);
        Some(Arc::new(claim))
    };
    let found = plan(&set, &[], &stale, &revisions, Timestamp::UNIX_EPOCH);
    assert!(found.actions.is_empty(), "{:?}", found.actions);
    let pending = [with_uid(member("sts-0", "r1", "Pending", false, false))];
    let found = plan(&set, &pending, NO_CLAIMS, &revisions, Timestamp::UNIX_EPOCH);
    assert!(matches!(found.claims[..], [ClaimAction::Create { .. }]));
}
