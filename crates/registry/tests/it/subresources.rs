//! Every way to patch a subresource, as a table.

use bytes::Bytes;
use registry::request::{PatchKind, Verb, WriteOptions};
use serde_json::{Value, json};

use crate::objects::signing_request;
use crate::world::World;

/// A subresource, and a member of its object that a patch sets.
struct Row {
    plural: &'static str,
    kind: &'static str,
    namespace: &'static str,
    /// The object without its name.
    object: Value,
    subresource: &'static str,
    pointer: &'static str,
    value: Value,
}

fn rows() -> Vec<Row> {
    let row = |plural, kind, namespace, object, subresource, pointer, value| Row {
        plural,
        kind,
        namespace,
        object,
        subresource,
        pointer,
        value,
    };
    let condition = |kind: &str| {
        json!([{"type": kind, "status": "True", "reason": "Because",
            "lastTransitionTime": "2001-01-01T00:00:00Z"}])
    };
    let request = json!({"spec": {"request": signing_request(), "usages": ["digital signature"],
        "signerName": "example.com/any"}});
    let template = json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": template}});
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    let signing = "certificatesigningrequests";
    vec![
        row(
            signing,
            "CertificateSigningRequest",
            "",
            request.clone(),
            "approval",
            "/status/conditions",
            condition("ApprovalPatch"),
        ),
        row(
            signing,
            "CertificateSigningRequest",
            "",
            request,
            "status",
            "/status/conditions",
            condition("StatusPatch"),
        ),
        row(
            "pods",
            "Pod",
            "shop",
            pod.clone(),
            "status",
            "/status/message",
            json!("patched"),
        ),
        row(
            "pods",
            "Pod",
            "shop",
            pod,
            "ephemeralcontainers",
            "/spec/ephemeralContainers",
            json!([{"name": "d", "image": "i"}]),
        ),
        row(
            "deployments",
            "Deployment",
            "shop",
            deployment.clone(),
            "status",
            "/status/replicas",
            json!(3),
        ),
        row(
            "deployments",
            "Scale",
            "shop",
            deployment,
            "scale",
            "/spec/replicas",
            json!(3),
        ),
        row(
            "nodes",
            "Node",
            "",
            json!({}),
            "status",
            "/status/phase",
            json!("Running"),
        ),
        row(
            "namespaces",
            "Namespace",
            "",
            json!({}),
            "status",
            "/status/conditions",
            condition("Patched"),
        ),
        row(
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            "shop",
            json!({"spec": {"minAvailable": 1}}),
            "status",
            "/status/conditions",
            condition("Patched"),
        ),
    ]
}

/// Returns whether an object has a value, which may have more members than was asked for.
fn has(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, wanted)| found.get(name).is_some_and(|found| has(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| has(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

#[tokio::test(start_paused = true)]
async fn every_subresource_takes_every_kind_of_patch() {
    let kinds = [
        PatchKind::Merge,
        PatchKind::Strategic,
        PatchKind::Json,
        PatchKind::Apply,
    ];
    for (number, row) in rows().into_iter().enumerate() {
        for kind in kinds {
            let world = World::new().await;
            let mut object = row.object.clone();
            object["metadata"] = json!({"name": "x"});
            world.create(row.plural, row.namespace, object).await;
            let nested = row
                .pointer
                .trim_start_matches('/')
                .rsplit('/')
                .fold(row.value.clone(), |inner, name| json!({ name: inner }));
            let patch = match kind {
                PatchKind::Json => {
                    json!([{"op": "add", "path": row.pointer, "value": row.value}])
                }
                PatchKind::Apply => {
                    let mut applied = nested;
                    let version = match row.plural {
                        _ if row.kind == "Scale" => "autoscaling/v1",
                        "deployments" => "apps/v1",
                        "poddisruptionbudgets" => "policy/v1",
                        "certificatesigningrequests" => "certificates.k8s.io/v1",
                        _ => "v1",
                    };
                    applied["apiVersion"] = json!(version);
                    applied["kind"] = json!(row.kind);
                    applied["metadata"] = json!({"name": "x"});
                    applied
                }
                PatchKind::Merge | PatchKind::Strategic => nested,
            };
            let verb = Verb::Patch {
                kind,
                patch: Bytes::from(patch.to_string()),
                options: WriteOptions {
                    field_manager: "tester".to_owned(),
                    force: (kind == PatchKind::Apply).then_some(true),
                    ..WriteOptions::default()
                },
            };
            let path = format!("{}/x/{}", row.namespace, row.subresource);
            let (_, answer) = world
                .ask(row.plural, &path, verb)
                .await
                .unwrap_or_else(|refusal| panic!("{number} {kind:?}: {refusal}"));
            let found = answer.pointer(row.pointer).unwrap_or(&Value::Null);
            assert!(has(found, &row.value), "{number} {kind:?}: {answer:#}");
        }
    }
}
