//! The protobuf codec: recorded bodies, byte for byte, and broken ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use exeunt_kinds::facts::Type;
use exeunt_kinds::json::TypeMeta;
use exeunt_kinds::status::{GroupResource, ListMeta, Status, StatusCause};
use exeunt_kinds::{Tree, json, protobuf, type_named};

fn ty(name: &str) -> &'static Type {
    type_named(name).unwrap_or_else(|| panic!("type {name} not found"))
}

fn status_type() -> &'static Type {
    ty("io.k8s.apimachinery.pkg.apis.meta.v1.Status")
}

#[test]
fn a_recorded_eviction_decodes() {
    let body = STANDARD
        .decode("azhzAAoVCglwb2xpY3kvdjESCEV2aWN0aW9uEgsKBQoBcBoAEgIIBBoAIgA=")
        .expect("base64");
    let decoded = protobuf::decode(&body, ty("io.k8s.api.policy.v1.Eviction")).expect("decodes");
    let expected = exeunt_kinds::tree::json!({
        "kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"},
            "deleteOptions": {"gracePeriodSeconds": 4}
    });
    assert_eq!(decoded.tree, expected);
}

#[test]
fn recorded_statuses_are_encoded_byte_for_byte() {
    const PODS: GroupResource<'_> = GroupResource {
        group: "",
        resource: "pods",
    };
    let budget = StatusCause {
        reason: "DisruptionBudget".to_owned(),
        message: "The disruption budget b needs 1 healthy pods and has 1 currently".to_owned(),
        field: String::new(),
    };
    let refused = Status::too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        vec![budget],
        0,
    );
    for (status, recorded) in [
        (
            Status::success(201),
            "azhzAAoMCgJ2MRIGU3RhdHVzEhgKBgoAEgAaABIHU3VjY2VzcxoAIgAwyQEaACIA",
        ),
        (
            Status::bad_request("name in URL does not match name in Eviction object"),
            "azhzAAoMCgJ2MRIGU3RhdHVzElQKBgoAEgAaABIHRmFpbHVyZRoybmFtZSBpbiBVUkwgZG9lcyBub3QgbWF0Y2ggbmFtZSBpbiBFdmljdGlvbiBvYmplY3QiCkJhZFJlcXVlc3QwkAMaACIA",
        ),
        (
            refused,
            "azhzAAoMCgJ2MRIGU3RhdHVzEswBCgYKABIAGgASB0ZhaWx1cmUaQUNhbm5vdCBldmljdCBwb2QgYXMgaXQgd291bGQgdmlvbGF0ZSB0aGUgcG9kJ3MgZGlzcnVwdGlvbiBidWRnZXQuIg9Ub29NYW55UmVxdWVzdHMqYgoAEgAaACJWChBEaXNydXB0aW9uQnVkZ2V0EkBUaGUgZGlzcnVwdGlvbiBidWRnZXQgYiBuZWVkcyAxIGhlYWx0aHkgcG9kcyBhbmQgaGFzIDEgY3VycmVudGx5GgAoADIAMK0DGgAiAA==",
        ),
        (
            Status::not_found(PODS, "missing"),
            "azhzAAoMCgJ2MRIGU3RhdHVzEk8KBgoAEgAaABIHRmFpbHVyZRoYcG9kcyAibWlzc2luZyIgbm90IGZvdW5kIghOb3RGb3VuZCoVCgdtaXNzaW5nEgAaBHBvZHMoADIAMJQDGgAiAA==",
        ),
    ] {
        let tree = Tree::from(serde_json::to_value(&status).expect("a tree"));
        assert_eq!(
            STANDARD.encode(protobuf::encode(&tree, status_type())),
            recorded,
            "{}",
            status.message
        );
        let body = STANDARD.decode(recorded).expect("base64");
        let again: Status = serde_json::from_value(
            protobuf::decode(&body, status_type())
                .expect("decodes")
                .tree
                .into(),
        )
        .expect("a status");
        assert_eq!(again, status);
    }
}

#[test]
fn zeros_of_go_clients_are_absent_members_and_zeros_behind_pointers_are_kept() {
    let pod = ty("io.k8s.api.core.v1.Pod");
    // Empty object metadata as Go encodes it: `42 00` is the creation timestamp that was not set.
    let metadata = [
        0x0a, 0x00, 0x12, 0x00, 0x1a, 0x00, 0x22, 0x00, 0x2a, 0x00, 0x32, 0x00, 0x38, 0x00, 0x42,
        0x00,
    ];
    let mut raw = vec![0x0a, u8::try_from(metadata.len()).expect("short")];
    raw.extend_from_slice(&metadata);
    assert_eq!(
        protobuf::decode_message(&raw, pod).expect("decodes"),
        exeunt_kinds::tree::json!({})
    );
    for (name, tree) in [
        (
            "io.k8s.api.core.v1.Pod",
            exeunt_kinds::tree::json!({"spec": {"automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0}}),
        ),
        (
            "io.k8s.api.apps.v1.Deployment",
            exeunt_kinds::tree::json!({"spec": {"replicas": 0}}),
        ),
        (
            "io.k8s.api.core.v1.PersistentVolumeClaim",
            exeunt_kinds::tree::json!({"spec": {"storageClassName": ""}}),
        ),
        (
            "io.k8s.api.policy.v1.PodDisruptionBudget",
            exeunt_kinds::tree::json!({"spec": {"maxUnavailable": 0, "selector": {}}}),
        ),
        (
            "io.k8s.api.core.v1.Pod",
            exeunt_kinds::tree::json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        ),
    ] {
        let again = protobuf::decode_message(&protobuf::encode_message(&tree, ty(name)), ty(name))
            .expect("decodes");
        assert_eq!(again, tree, "{name}");
    }
}

#[test]
fn lists_and_watch_frames_have_the_form_of_upstream() {
    let map = ty("io.k8s.api.core.v1.ConfigMap");
    let items: Vec<Vec<u8>> = ["a", "b"]
        .iter()
        .map(|name| {
            protobuf::encode_message(
                &exeunt_kinds::tree::json!({"metadata": {"name": name}}),
                map,
            )
        })
        .collect();
    let meta = TypeMeta {
        api_version: "v1".to_owned(),
        kind: "ConfigMapList".to_owned(),
    };
    let metadata = ListMeta {
        resource_version: "7".to_owned(),
        ..ListMeta::default()
    };
    let mut body = protobuf::list_head(&meta, &metadata, items.iter().map(Vec::len));
    for item in &items {
        body.extend_from_slice(&protobuf::item_head(item.len()));
        body.extend_from_slice(item);
    }
    body.extend_from_slice(&protobuf::TAIL);
    let list = protobuf::decode(&body, ty("io.k8s.api.core.v1.ConfigMapList"))
        .expect("decodes")
        .tree;
    assert_eq!(
        list,
        exeunt_kinds::tree::json!({"kind": "ConfigMapList", "apiVersion": "v1",
            "metadata": {"resourceVersion": "7"},
            "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]})
    );
    let frame = protobuf::watch_frame("ADDED", &body);
    assert_eq!(
        frame[..4],
        u32::try_from(frame.len() - 4).expect("short").to_be_bytes()
    );
    assert_eq!(frame[4..11], *b"\x0a\x05ADDED");
    assert!(frame.ends_with(&body));
}

#[test]
fn broken_bodies_are_rejected() {
    let pod = ty("io.k8s.api.core.v1.Pod");
    assert!(protobuf::decode(b"{}", pod).is_err());
    assert!(protobuf::peek_type_meta(b"k8s\0\x0a\x05").is_err());
    let tree = exeunt_kinds::tree::json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "p", "labels": {"a": "b"}}});
    let body = protobuf::encode(&tree, pod);
    let whole = protobuf::decode(&body, pod).expect("decodes").tree;
    assert_eq!(whole, tree);
    // The last two fields, four bytes, are always empty.
    for length in 0..body.len() - 4 {
        // A prefix is rejected, or it ends between two fields and has fewer members.
        if let Ok(decoded) = protobuf::decode(&body[..length], pod) {
            assert_ne!(decoded.tree, whole, "{length}");
        }
    }
    // The decoder must not allocate for a length of nearly 2^63.
    assert!(
        protobuf::decode_message(
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            pod
        )
        .is_err()
    );
}

#[test]
fn an_entry_of_a_map_without_a_value_has_an_empty_one() {
    for (name, message, expected) in [
        (
            "io.k8s.api.core.v1.Secret",
            &[0x12, 3, 0x0a, 1, b'k'][..],
            serde_json::json!({"data": {"k": ""}}),
        ),
        (
            "io.k8s.api.core.v1.ConfigMap",
            &[0x12, 3, 0x0a, 1, b'k'],
            serde_json::json!({"data": {"k": ""}}),
        ),
        (
            "io.k8s.api.authorization.v1.SubjectAccessReviewSpec",
            &[0x2a, 3, 0x0a, 1, b'k'],
            serde_json::json!({"extra": {"k": []}}),
        ),
    ] {
        let tree = protobuf::decode_message(message, ty(name)).expect("decodes");
        assert_eq!(tree, expected, "{name}");
        let again = protobuf::decode_message(&protobuf::encode_message(&tree, ty(name)), ty(name))
            .expect("decodes");
        assert_eq!(again, expected, "{name} again");
    }
}

#[test]
fn json_inside_of_messages_counts_to_the_depth() {
    let revision = ty("io.k8s.api.apps.v1.ControllerRevision");
    for (depth, is_read) in [(json::MAX_DEPTH - 1, true), (json::MAX_DEPTH, false)] {
        let data = "[".repeat(depth) + &"]".repeat(depth);
        let tree = exeunt_kinds::tree::json!({"metadata": {},
            "data": serde_json::from_str::<Tree>(&data).expect("JSON")});
        let message = protobuf::encode_message(&tree, revision);
        assert_eq!(
            protobuf::decode_message(&message, revision).is_ok(),
            is_read,
            "{depth}"
        );
    }
}
