//! Which volumes suit which claims, as tables.

use serde_json::{Value, json};

use super::*;

fn claim(changes: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"name": "data", "namespace": "n", "uid": "c1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": "5Gi"}}},
    });
    merge(&mut claim, changes);
    serde_json::from_value(claim).expect("a claim")
}

fn volume(name: &str, changes: Value) -> Arc<PersistentVolume> {
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "capacity": {"storage": "10Gi"}},
        "status": {"phase": "Available"},
    });
    merge(&mut volume, changes);
    Arc::new(serde_json::from_value(volume).expect("a volume"))
}

/// Merges as a JSON merge patch does.
fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, value) in changes {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value,
    }
}

fn found(claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>]) -> Option<String> {
    best_match(claim, volumes, VolumeCandidates::All).and_then(|found| found.metadata.name.clone())
}

#[test]
fn a_volume_suits_by_class_capacity_mode_access_labels_and_phase() {
    let other = json!({"name": "other", "namespace": "n"});
    let own = json!({"name": "data", "namespace": "n"});
    let old = json!({"name": "data", "namespace": "n", "uid": "c0"});
    let labels = json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}});
    let annotated = json!({"metadata": {"annotations": {CLASS: "fast"}},
        "spec": {"storageClassName": "slow"}});
    // (claim, volume, suits)
    let cases = [
        (json!({}), json!({}), true),
        (
            json!({}),
            json!({"spec": {"storageClassName": "slow"}}),
            false,
        ),
        (
            json!({}),
            json!({"spec": {"storageClassName": null}}),
            false,
        ),
        (json!({"spec": {"storageClassName": ""}}), json!({}), false),
        (json!({}), annotated, true),
        (
            json!({}),
            json!({"spec": {"capacity": {"storage": "5Gi"}}}),
            true,
        ),
        (
            json!({}),
            json!({"spec": {"capacity": {"storage": "5G"}}}),
            false,
        ),
        (
            json!({}),
            json!({"spec": {"volumeMode": "Filesystem"}}),
            true,
        ),
        (json!({}), json!({"spec": {"volumeMode": "Block"}}), false),
        (
            json!({}),
            json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
            false,
        ),
        (
            json!({}),
            json!({"spec": {"accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}}),
            true,
        ),
        (labels.clone(), json!({}), false),
        (
            labels,
            json!({"metadata": {"labels": {"disk": "ssd"}}}),
            true,
        ),
        (json!({}), json!({"status": {"phase": "Released"}}), false),
        (json!({}), json!({"status": {"phase": "Pending"}}), false),
        (json!({}), json!({"spec": {"claimRef": other}}), false),
        (json!({}), json!({"spec": {"claimRef": own.clone()}}), true),
        (json!({}), json!({"spec": {"claimRef": old}}), false),
        // A reservation overrides class, labels and phase, but not size.
        (
            json!({}),
            json!({"spec": {"claimRef": own.clone(), "storageClassName": "slow"},
                "status": {"phase": "Pending"}}),
            true,
        ),
        (
            json!({}),
            json!({"spec": {"claimRef": own, "capacity": {"storage": "1Gi"}}}),
            false,
        ),
        (
            json!({}),
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            false,
        ),
    ];
    for (wanted, offered, suits) in cases {
        let text = format!("{wanted} {offered}");
        let volumes = [volume("v", offered)];
        assert_eq!(found(&claim(wanted), &volumes).is_some(), suits, "{text}");
    }
}

#[test]
fn the_smallest_volume_with_the_fewest_access_modes_is_taken() {
    let size =
        |name: &str, size: &str| volume(name, json!({"spec": {"capacity": {"storage": size}}}));
    let wide = json!({"spec": {"capacity": {"storage": "5Gi"},
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}});
    let volumes = [
        size("large", "20Gi"),
        volume("wide", wide),
        size("fits", "6Gi"),
        size("small", "1Gi"),
        size("middle", "10Gi"),
    ];
    assert_eq!(found(&claim(json!({})), &volumes).as_deref(), Some("fits"));
    let reserved = json!({"spec": {"claimRef": {"name": "data", "namespace": "n"}}});
    let volumes = [size("fits", "6Gi"), volume("reserved", reserved)];
    assert_eq!(
        found(&claim(json!({})), &volumes).as_deref(),
        Some("reserved")
    );
}

#[test]
fn a_claim_that_waits_for_its_consumer_takes_what_the_node_reaches() {
    let local = |name: &str, host: &str| {
        let term = json!({"matchExpressions": [{"key": "host", "operator": "In",
            "values": [host]}]});
        let affinity = json!({"required": {"nodeSelectorTerms": [term]}});
        volume(name, json!({"spec": {"nodeAffinity": affinity}}))
    };
    let volumes = [local("on-a", "a"), local("on-b", "b")];
    let node: Node =
        serde_json::from_value(json!({"metadata": {"labels": {"host": "b"}}})).expect("a node");
    let claim = claim(json!({}));
    assert!(best_match(&claim, &volumes, VolumeCandidates::Reserved).is_none());
    let found = best_match(&claim, &volumes, VolumeCandidates::Of(&node));
    assert_eq!(
        found
            .and_then(|found| found.metadata.name.clone())
            .as_deref(),
        Some("on-b")
    );
}

#[test]
fn a_named_volume_must_satisfy_the_claim() {
    let cases = [
        (json!({}), Ok(())),
        (
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            Err("the volume is marked for deletion \"v\""),
        ),
        (
            json!({"spec": {"capacity": {"storage": "1Gi"}}}),
            Err("requested PV is too small"),
        ),
        (
            json!({"spec": {"storageClassName": "slow"}}),
            Err("storageClassName does not match"),
        ),
        (
            json!({"spec": {"volumeMode": "Block"}}),
            Err("incompatible volumeMode"),
        ),
        (
            json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
            Err("incompatible accessMode"),
        ),
    ];
    for (offered, expected) in cases {
        let checked = check(&volume("v", offered), &claim(json!({})));
        assert_eq!(checked, expected.map_err(str::to_owned));
    }
}
