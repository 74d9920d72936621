//! Owners of the claims of a set's pods by `persistentVolumeClaimRetentionPolicy` (KEP-1847). Pure.
//!
//! The garbage collector deletes a claim with its owner. So the set owns the claims that go with it
//! (`whenDeleted`), and a pod beyond the set's size owns the claims that go with it (`whenScaled`).

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use crate::meta::{controlled_by, uid};

/// The pod whose claims are looked at. Its uid is empty before it is created.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClaimingPod<'a> {
    pub(super) pod: &'a Pod,
    /// True when the ordinal of the pod belongs to the set's present size.
    pub(super) in_range: bool,
}

/// True for [`whenDeleted`, `whenScaled`] when claims are deleted.
fn deletes(set: &StatefulSet) -> [bool; 2] {
    let policy = set
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let is_delete = |text: Option<&String>| text.is_some_and(|text| text == "Delete");
    [
        is_delete(policy.and_then(|policy| policy.when_deleted.as_ref())),
        is_delete(policy.and_then(|policy| policy.when_scaled.as_ref())),
    ]
}

/// True when the reference names this object by kind and name. The uid may be that of a
/// predecessor.
fn names<K: Resource<DynamicType = ()>>(reference: &OwnerReference, owner: &K) -> bool {
    reference.api_version == K::api_version(&())
        && reference.kind == K::kind(&())
        && Some(&reference.name) == owner.meta().name.as_ref()
}

fn references(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &OwnerReference> {
    claim.metadata.owner_references.iter().flatten()
}

fn owns<K: Resource<DynamicType = ()>>(owner: &K, claim: &PersistentVolumeClaim) -> bool {
    !uid(owner.meta()).is_empty()
        && references(claim).any(|reference| reference.uid == uid(owner.meta()))
}

/// True when the claim refers to a predecessor of this name.
fn belongs_to_predecessor<K: Resource<DynamicType = ()>>(
    claim: &PersistentVolumeClaim,
    owner: &K,
) -> bool {
    references(claim)
        .find(|reference| names(reference, owner))
        .is_some_and(|reference| reference.uid != uid(owner.meta()))
}

/// True when another controller than the set or the pod manages the claim, and the set has a policy
/// that this disturbs.
pub(super) fn conflicts(
    set: &StatefulSet,
    claim: &PersistentVolumeClaim,
    pod: ClaimingPod<'_>,
) -> bool {
    if deletes(set) == [false, false] {
        return false;
    }
    references(claim).any(|reference| {
        if names(reference, set) {
            reference.uid != uid(&set.metadata)
        } else if names(reference, pod.pod) {
            reference.uid != uid(&pod.pod.metadata)
        } else {
            reference.controller == Some(true)
        }
    })
}

/// True when the claim goes with an earlier pod of this name, so that no pod may use it.
pub(super) fn is_stale(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    deletes(set)[1] && belongs_to_predecessor(claim, pod)
}

/// The owners that the claim should have; none when it has the right ones.
pub(super) fn owners(
    set: &StatefulSet,
    claim: &PersistentVolumeClaim,
    pod: ClaimingPod<'_>,
) -> Option<Vec<OwnerReference>> {
    if belongs_to_predecessor(claim, set) || belongs_to_predecessor(claim, pod.pod) {
        return None;
    }
    let [with_set, with_pod] = deletes(set);
    let foreign = conflicts(set, claim, pod);
    let by_pod = with_pod && !pod.in_range && !foreign;
    let by_set = with_set && (pod.in_range || !with_pod) && !foreign;
    let is_ours = |reference: &&OwnerReference| {
        [uid(&set.metadata), uid(&pod.pod.metadata)].contains(&reference.uid.as_str())
    };
    let all_control = references(claim)
        .filter(is_ours)
        .all(|reference| reference.controller == Some(true));
    let is_right = owns(set, claim) == by_set && owns(pod.pod, claim) == by_pod;
    if is_right && (all_control || foreign) {
        return None;
    }
    let mut owners: Vec<OwnerReference> = references(claim)
        .filter(|reference| !names(reference, set) && !names(reference, pod.pod))
        .cloned()
        .collect();
    if by_set {
        owners.push(controlled_by(set));
    }
    if by_pod {
        owners.push(controlled_by(pod.pod));
    }
    Some(owners)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(deleted: &str, scaled: &str) -> StatefulSet {
        serde_json::from_value(json!({"metadata": {"name": "sts", "uid": "s"}, "spec": {
            "serviceName": "svc", "selector": {}, "template": {},
            "persistentVolumeClaimRetentionPolicy":
                {"whenDeleted": deleted, "whenScaled": scaled}}}))
        .expect("a set")
    }

    fn pod() -> Pod {
        crate::pods::tests::pod(json!({"metadata": {"name": "sts-0", "uid": "p"}}))
    }

    fn owner(kind: &str, name: &str, uid: &str, controller: bool) -> Value {
        let version = if kind == "Pod" { "v1" } else { "apps/v1" };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid,
            "controller": controller, "blockOwnerDeletion": true})
    }

    fn claim(owners: &[Value]) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "data-sts-0",
            "ownerReferences": owners}}))
        .expect("a claim")
    }

    /// The uids of the owners that a claim should have; none when it has them.
    type Owners<'a> = Option<&'a [&'a str]>;

    fn uids(owners: Option<Vec<OwnerReference>>) -> Option<Vec<String>> {
        owners.map(|owners| owners.into_iter().map(|owner| owner.uid).collect())
    }

    #[test]
    fn the_policy_decides_whether_set_or_pod_own_a_claim() {
        let (pod, none) = (pod(), Vec::new());
        let by_set = vec![owner("StatefulSet", "sts", "s", true)];
        let by_pod = vec![owner("Pod", "sts-0", "p", true)];
        let cases: [([&str; 2], bool, &Vec<Value>, Owners<'_>); 16] = [
            (["Retain", "Retain"], true, &none, None),
            (["Retain", "Retain"], false, &none, None),
            (["Retain", "Retain"], true, &by_set, Some(&[])),
            (["Retain", "Retain"], false, &by_pod, Some(&[])),
            (["Delete", "Retain"], true, &none, Some(&["s"])),
            (["Delete", "Retain"], true, &by_set, None),
            (["Delete", "Retain"], false, &by_set, None),
            (["Delete", "Retain"], false, &by_pod, Some(&["s"])),
            (["Retain", "Delete"], true, &none, None),
            (["Retain", "Delete"], true, &by_pod, Some(&[])),
            (["Retain", "Delete"], false, &none, Some(&["p"])),
            (["Retain", "Delete"], false, &by_pod, None),
            (["Delete", "Delete"], true, &none, Some(&["s"])),
            (["Delete", "Delete"], true, &by_set, None),
            (["Delete", "Delete"], false, &by_set, Some(&["p"])),
            (["Delete", "Delete"], true, &by_pod, Some(&["s"])),
        ];
        for ([deleted, scaled], in_range, before, expected) in cases {
            let of = ClaimingPod {
                pod: &pod,
                in_range,
            };
            let found = uids(owners(&set(deleted, scaled), &claim(before), of));
            let expected = expected.map(|list| list.iter().map(ToString::to_string).collect());
            assert_eq!(
                found, expected,
                "{deleted} {scaled} in range: {in_range}, {before:?}"
            );
        }
    }

    #[test]
    fn foreign_and_former_owners_are_left_alone() {
        let (pod, set) = (pod(), set("Delete", "Delete"));
        let of = ClaimingPod {
            pod: &pod,
            in_range: true,
        };
        let foreign = owner("Backup", "b", "b", true);
        let watcher = owner("Backup", "b", "b", false);
        let ours = owner("StatefulSet", "sts", "s", true);
        let former = owner("StatefulSet", "sts", "old", true);
        let weak = owner("StatefulSet", "sts", "s", false);
        let cases: [(&[Value], bool, Owners<'_>); 5] = [
            (&[watcher], false, Some(&["b", "s"])),
            (std::slice::from_ref(&foreign), true, None),
            (&[foreign.clone(), ours], true, Some(&["b"])),
            (&[former], true, None),
            (&[weak], false, Some(&["s"])),
        ];
        for (before, conflict, expected) in cases {
            assert_eq!(conflicts(&set, &claim(before), of), conflict, "{before:?}");
            let expected = expected.map(|list| list.iter().map(ToString::to_string).collect());
            let found = uids(owners(&set, &claim(before), of));
            assert_eq!(found, expected, "{before:?}");
        }
    }

    #[test]
    fn a_claim_that_goes_with_an_earlier_pod_is_not_used_again() {
        let new = crate::pods::tests::pod(json!({"metadata": {"name": "sts-0"}}));
        let of_former = claim(&[owner("Pod", "sts-0", "p", true)]);
        assert!(is_stale(&set("Retain", "Delete"), &of_former, &new));
        assert!(!is_stale(&set("Retain", "Delete"), &of_former, &pod()));
        assert!(!is_stale(&set("Delete", "Retain"), &of_former, &new));
        assert!(!is_stale(&set("Retain", "Delete"), &claim(&[]), &new));
    }
}
