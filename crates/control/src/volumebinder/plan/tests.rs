//! What becomes of claims and volumes, as tables.

use serde_json::{Value, json};

use super::*;

fn claim(changes: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"name": "data", "namespace": "n", "uid": "c1"},
        "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "5Gi"}}},
    });
    merge(&mut claim, changes);
    serde_json::from_value(claim).expect("a claim")
}

fn volume(name: &str, changes: Value) -> Arc<PersistentVolume> {
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}},
        "status": {"phase": "Available"},
    });
    merge(&mut volume, changes);
    Arc::new(serde_json::from_value(volume).expect("a volume"))
}

fn class(name: &str, changes: Value) -> Arc<StorageClass> {
    let mut class = json!({"metadata": {"name": name}, "provisioner": "disks.example.com"});
    merge(&mut class, changes);
    Arc::new(serde_json::from_value(class).expect("a class"))
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

fn render(step: &ClaimStep) -> String {
    let event = |notice: &Notice| format!("{}: {}", notice.reason, notice.message);
    match step {
        ClaimStep::Pending(None) => "pending".to_owned(),
        ClaimStep::Pending(Some(notice)) | ClaimStep::Lost(notice) => event(notice),
        ClaimStep::AwaitProvisioner { notice, .. } => event(notice),
        ClaimStep::SetClass(name) => format!("class {name}"),
        ClaimStep::Bind(volume) => {
            format!(
                "bind {}",
                volume.metadata.name.as_deref().unwrap_or_default()
            )
        }
    }
}

fn planned(
    changes: Value,
    volumes: &[Arc<PersistentVolume>],
    classes: &[Arc<StorageClass>],
    consumer: Consumer,
) -> String {
    let context = ClaimContext {
        volumes,
        classes,
        consumer,
    };
    render(&plan_claim(&claim(changes), &context))
}

#[test]
fn a_claim_is_bound_or_its_event_says_why_not() {
    let node: Arc<Node> =
        Arc::new(serde_json::from_value(json!({"metadata": {}})).expect("a node"));
    let lazy = || class("lazy", json!({"volumeBindingMode": "WaitForFirstConsumer"}));
    let local = class(
        "local",
        json!({"provisioner": "kubernetes.io/no-provisioner"}),
    );
    let classes = [lazy(), local, class("disks", json!({}))];
    let of = |name: &str| json!({"spec": {"storageClassName": name}});
    let named = |name: &str| json!({"spec": {"volumeName": name, "storageClassName": ""}});
    let free = [volume("v", json!({}))];
    let lazily = [volume("v", of("lazy"))];
    let taken = [volume(
        "v",
        json!({"spec": {"claimRef": {"name": "data", "namespace": "n", "uid": "c0"}}}),
    )];
    let small = [volume(
        "v",
        json!({"spec": {"capacity": {"storage": "1Gi"}}}),
    )];
    let none = Consumer::None;
    let pod = Consumer::Unscheduled("web-0".to_owned());
    let cases: [(Value, &[Arc<PersistentVolume>], Consumer, &str); 14] = [
        (of(""), &free, none.clone(), "bind v"),
        (
            of(""),
            &[],
            none.clone(),
            "FailedBinding: no persistent volumes available for this claim and no storage class \
             is set",
        ),
        (
            of("none"),
            &free,
            none.clone(),
            "ProvisioningFailed: storageclass.storage.k8s.io \"none\" not found",
        ),
        (
            of("local"),
            &free,
            none.clone(),
            "ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner",
        ),
        (
            of("disks"),
            &free,
            none.clone(),
            "ExternalProvisioning: Waiting for a volume to be created either by the external \
             provisioner 'disks.example.com' or manually by the system administrator. If volume \
             creation is delayed, please verify that the provisioner is running and correctly \
             registered.",
        ),
        (
            of("lazy"),
            &lazily,
            none.clone(),
            "WaitForFirstConsumer: waiting for first consumer to be created before binding",
        ),
        (
            of("lazy"),
            &lazily,
            pod,
            "WaitForPodScheduled: waiting for pod web-0 to be scheduled",
        ),
        (of("lazy"), &lazily, Consumer::Scheduled(node), "bind v"),
        (named("v"), &free, none.clone(), "bind v"),
        (named("x"), &free, none.clone(), "pending"),
        (
            named("v"),
            &small,
            none.clone(),
            "VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small",
        ),
        (
            named("v"),
            &taken,
            none.clone(),
            "FailedBinding: volume \"v\" already bound to a different claim.",
        ),
        (
            json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}},
                "spec": {"volumeName": "v"}}),
            &taken,
            none.clone(),
            "ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly",
        ),
        (
            json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}},
                "spec": {"volumeName": "x"}}),
            &free,
            none,
            "ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        ),
    ];
    for (changes, volumes, consumer, expected) in cases {
        let text = changes.to_string();
        assert_eq!(
            planned(changes, volumes, &classes, consumer),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_claim_without_class_gets_the_newest_default() {
    let default = |name: &str, second: u8| {
        class(
            name,
            json!({"metadata": {"creationTimestamp": format!("2026-01-01T00:00:0{second}Z"),
                "annotations": {DEFAULT_CLASS: "true"}}}),
        )
    };
    let classes = [
        class("none", json!({})),
        default("old", 1),
        default("new", 2),
    ];
    let free = [volume("v", json!({}))];
    assert_eq!(
        planned(json!({}), &[], &classes, Consumer::None),
        "class new"
    );
    assert_eq!(
        planned(json!({}), &free, &classes, Consumer::None),
        "bind v"
    );
    let settled = json!({"spec": {"storageClassName": ""}});
    let text = planned(settled, &[], &classes, Consumer::None);
    assert!(text.starts_with("FailedBinding"), "{text}");
}

#[test]
fn a_volume_follows_its_claim() {
    let reference = |uid: &str| json!({"name": "data", "namespace": "n", "uid": uid});
    let bound = |uid: &str, more: Value| {
        let mut changes = json!({"spec": {"claimRef": reference(uid)}});
        merge(&mut changes, more);
        volume("v", changes)
    };
    let to = |name: &str| Some(claim(json!({"spec": {"volumeName": name}})));
    let failed = |reason: &'static str, message: &str| {
        VolumeStep::Release(Reclaim::Fail(Notice::warning(reason, message)))
    };
    let policy = |policy: &str, source: Value| {
        let mut spec = json!({"persistentVolumeReclaimPolicy": policy});
        merge(&mut spec, source);
        json!({"spec": spec})
    };
    let provisioned = json!({"metadata": {"annotations": {PROVISIONED_BY: "disks.example.com"}},
        "spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    let path = |path: &str| json!({"hostPath": {"path": path}});
    let csi = json!({"csi": {"driver": "d", "volumeHandle": "h"}});
    let block = json!({"spec": {"volumeMode": "Block"}});
    let keep = VolumeStep::Release(Reclaim::Keep);
    let cases = [
        (
            volume("v", json!({"status": {"phase": "Pending"}})),
            None,
            VolumeStep::SetPhase("Available"),
        ),
        (volume("v", json!({})), None, VolumeStep::Nothing),
        (bound("", json!({})), None, VolumeStep::Nothing),
        (
            bound("c1", json!({})),
            to("v"),
            VolumeStep::SetPhase("Bound"),
        ),
        (bound("c1", json!({})), to(""), VolumeStep::LookAtClaim),
        (bound("c1", json!({})), to("w"), VolumeStep::Unbind),
        (bound("c1", provisioned.clone()), to("w"), keep.clone()),
        (bound("c0", json!({})), to("v"), keep.clone()),
        (bound("c1", json!({})), None, keep.clone()),
        (bound("c1", policy("Retain", json!({}))), None, keep.clone()),
        (bound("c1", provisioned), None, keep),
        (
            bound("c1", policy("Delete", path("/tmp/x"))),
            None,
            VolumeStep::Release(Reclaim::Delete),
        ),
        (
            bound("c1", policy("Delete", path("/var/x"))),
            None,
            failed(
                "VolumeFailedDelete",
                "host_path deleter only supports /tmp/.+ but received provided /var/x",
            ),
        ),
        (
            bound("c1", policy("Delete", csi)),
            None,
            failed(
                "VolumeFailedDelete",
                "error getting deleter volume plugin for volume \"v\": no volume plugin matched",
            ),
        ),
        (
            bound("c1", policy("Recycle", json!({}))),
            None,
            failed(
                "VolumeFailedRecycle",
                "No recycler plugin found for the volume!",
            ),
        ),
        (
            bound("c1", block),
            to(""),
            VolumeStep::Mismatch(Notice::warning(
                "VolumeMismatch",
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim \"data\" due to \
                 incompatible volumeMode.",
            )),
        ),
    ];
    for (volume, claim, expected) in cases {
        assert_eq!(plan_volume(&volume, claim.as_ref()), expected, "{volume:?}");
    }
}
