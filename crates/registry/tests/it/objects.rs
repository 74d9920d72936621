//! Creating, replacing and patching: names, versions, what a write that changes nothing does.

use bytes::Bytes;
use registry::request::{FieldValidation, PatchKind, Reply, Verb, WriteOptions};
use serde_json::{Value, json};

use crate::world::{World, json_body, refused};

#[tokio::test(start_paused = true)]
async fn a_new_object_gets_the_fields_that_only_the_server_sets() {
    let world = World::new().await;
    let body = json!({"metadata": {"name": "m", "uid": "mine",
        "creationTimestamp": "2020-01-01T00:00:00Z", "deletionTimestamp": "2020-01-01T00:00:00Z"}});
    let map = world.create("configmaps", "shop", body).await;
    let meta = &map["metadata"];
    assert_eq!(
        (&meta["namespace"], &meta["creationTimestamp"]),
        (&json!("shop"), &json!("2001-09-09T01:46:40Z"))
    );
    assert_eq!(meta["uid"].as_str().map(str::len), Some(36));
    assert_eq!(
        (&meta["resourceVersion"], &meta["deletionTimestamp"]),
        (&json!(world.revision()), &Value::Null)
    );
}

#[tokio::test(start_paused = true)]
async fn a_generated_name_has_five_random_characters_and_is_cut_to_fit() {
    let world = World::new().await;
    let long = "a".repeat(62) + "-";
    for (prefix, kept) in [("web-", "web-"), (long.as_str(), &long[..58])] {
        let map = world
            .create(
                "configmaps",
                "shop",
                json!({"metadata": {"generateName": prefix}}),
            )
            .await;
        let name = map["metadata"]["name"].as_str().expect("a name");
        assert_eq!((name.len(), &name[..kept.len()]), (kept.len() + 5, kept));
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_create_is_refused_with_its_reason() {
    let world = World::new().await;
    world
        .create("configmaps", "shop", json!({"metadata": {"name": "m"}}))
        .await;
    let check = async |path: &str, body: Value, code: u16, text: &str| {
        assert_eq!(
            refused(world.try_create("configmaps", path, body).await),
            (code, text.to_owned())
        );
    };
    check(
        "shop",
        json!({"metadata": {"name": "m"}}),
        409,
        "configmaps \"m\" already exists",
    )
    .await;
    check(
        "none",
        json!({"metadata": {"name": "m"}}),
        404,
        "namespaces \"none\" not found",
    )
    .await;
    let version = "resourceVersion should not be set on objects to be created";
    check(
        "shop",
        json!({"metadata": {"name": "n", "resourceVersion": "1"}}),
        500,
        version,
    )
    .await;
    let elsewhere =
        "the namespace of the provided object does not match the namespace sent on the request";
    check(
        "shop",
        json!({"metadata": {"name": "n", "namespace": "x"}}),
        400,
        elsewhere,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_version_and_a_wrong_uid_are_refused_differently() {
    let world = World::new().await;
    let first = world
        .create(
            "configmaps",
            "shop",
            json!({"metadata": {"name": "m"}, "data": {"k": "1"}}),
        )
        .await;
    world
        .patch("configmaps", "shop/m", json!({"data": {"k": "2"}}))
        .await
        .expect("written");
    let stale = refused(world.update("configmaps", "shop/m", first.clone()).await);
    assert_eq!(stale, (409, "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes to the latest version and try again".to_owned()));
    let (code, text) = refused(
        world
            .update(
                "configmaps",
                "shop/m",
                json!({"metadata": {"name": "m", "uid": "x"}}),
            )
            .await,
    );
    assert!(
        code == 409
            && text.contains("Precondition failed: UID in precondition: x, UID in object meta: "),
        "{text}"
    );
    let garbage = refused(
        world
            .update(
                "configmaps",
                "shop/m",
                json!({"metadata": {"name": "m", "resourceVersion": "abc"}}),
            )
            .await,
    );
    assert_eq!(
        garbage,
        (
            500,
            "strconv.ParseUint: parsing \"abc\": invalid syntax".to_owned()
        )
    );
    let unconditional =
        json!({"metadata": {"name": "m", "resourceVersion": "0"}, "data": {"k": "3"}});
    assert_eq!(
        world
            .update("configmaps", "shop/m", unconditional)
            .await
            .expect("written")
            .1["data"]["k"],
        "3"
    );
}

#[tokio::test(start_paused = true)]
async fn an_update_of_a_budget_requires_a_version() {
    let world = World::new().await;
    world
        .create(
            "poddisruptionbudgets",
            "shop",
            json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1}}),
        )
        .await;
    let answer = world
        .update(
            "poddisruptionbudgets",
            "shop/b",
            json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 2}}),
        )
        .await;
    let text = "poddisruptionbudgets.policy \"b\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    assert_eq!(refused(answer), (422, text.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_update_without_changes_writes_nothing() {
    let world = World::new().await;
    let map = world
        .create(
            "configmaps",
            "shop",
            json!({"metadata": {"name": "m"}, "data": {"k": "1"}}),
        )
        .await;
    world
        .update(
            "configmaps",
            "shop/m",
            json!({"metadata": {"name": "m"}, "data": {"k": "1"}}),
        )
        .await
        .expect("fine");
    world
        .patch("configmaps", "shop/m", json!({"data": {"k": "1"}}))
        .await
        .expect("fine");
    assert_eq!(map["metadata"]["resourceVersion"], world.revision());
}

#[tokio::test(start_paused = true)]
async fn put_creates_only_objects_of_some_kinds() {
    let world = World::new().await;
    let (code, _) = world
        .update("leases", "shop/l", json!({"metadata": {"name": "l"}}))
        .await
        .expect("made");
    assert_eq!(code, 201);
    assert_eq!(
        refused(
            world
                .update("configmaps", "shop/m", json!({"metadata": {"name": "m"}}))
                .await
        )
        .0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stores_nothing() {
    let world = World::new().await;
    let before = world.revision();
    let options = WriteOptions {
        dry_run: vec!["All".to_owned()],
        ..WriteOptions::default()
    };
    let verb = Verb::Create {
        body: json_body(&json!({"metadata": {"name": "m"}})),
        options,
    };
    let (code, map) = world
        .ask("configmaps", "shop", verb)
        .await
        .expect("rehearsed");
    assert_eq!(
        (code, &map["metadata"]["resourceVersion"]),
        (201, &Value::Null)
    );
    assert_eq!(world.revision(), before);
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once() {
    let world = World::new().await;
    world.pod("p", "Pending", false).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let (code, _) = world
        .try_create("pods", "shop/p/binding", binding.clone())
        .await
        .expect("bound");
    assert_eq!(code, 201);
    let pod = world.get("pods", "shop/p").await.expect("there");
    assert_eq!(
        (&pod["spec"]["nodeName"], &pod["metadata"]["generation"]),
        (&json!("n1"), &json!(1))
    );
    let again = refused(world.try_create("bindings", "shop", binding).await);
    assert_eq!(again, (409, "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn scale_reads_and_writes_the_replicas() {
    let world = World::new().await;
    let template = json!({"metadata": {"labels": {"app": "d"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "d", "t": "x"}}, "template": template});
    let mut body = json!({"metadata": {"name": "d"}, "spec": spec});
    body["spec"]["template"]["metadata"]["labels"]["t"] = json!("x");
    world.create("deployments", "shop", body).await;
    let scale = world
        .get("deployments", "shop/d/scale")
        .await
        .expect("a scale");
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(1), &json!("app=d,t=x"))
    );
    let (_, scale) = world
        .patch(
            "deployments",
            "shop/d/scale",
            json!({"spec": {"replicas": 3}}),
        )
        .await
        .expect("scaled");
    assert_eq!(scale["kind"], "Scale");
    let deployment = world.get("deployments", "shop/d").await.expect("there");
    assert_eq!(
        (
            &deployment["spec"]["replicas"],
            &deployment["metadata"]["generation"]
        ),
        (&json!(3), &json!(2))
    );
    let (code, _) = refused(
        world
            .patch(
                "deployments",
                "shop/d/scale",
                json!({"spec": {"replicas": -1}}),
            )
            .await,
    );
    assert_eq!(code, 422);
}

#[tokio::test(start_paused = true)]
async fn services_get_addresses_of_their_own() {
    let world = World::new().await;
    let body = |name: &str| {
        json!({"metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    };
    let (one, two) = (
        world.create("services", "shop", body("a")).await,
        world.create("services", "shop", body("b")).await,
    );
    let address = one["spec"]["clusterIP"].as_str().expect("an address");
    assert!(address.starts_with("10.96.") && two["spec"]["clusterIP"] != address);
    assert_ne!(
        one["spec"]["ports"][0]["nodePort"],
        two["spec"]["ports"][0]["nodePort"]
    );
    let (_, again) = world
        .update("services", "shop/a", body("a"))
        .await
        .expect("replaced");
    assert_eq!(again["spec"], one["spec"]);
}

#[tokio::test(start_paused = true)]
async fn pods_get_an_account_with_a_token_tolerations_and_a_priority() {
    let world = World::new().await;
    let body = json!({"metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}],
        "priorityClassName": "system-node-critical"}});
    let pod = world.create("pods", "shop", body).await;
    let spec = &pod["spec"];
    assert_eq!(
        (&spec["serviceAccountName"], &spec["priority"]),
        (&json!("default"), &json!(2_000_001_000))
    );
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        spec["volumes"][0]["projected"]["sources"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    assert_eq!(
        spec["containers"][0]["volumeMounts"][0]["name"],
        spec["volumes"][0]["name"]
    );
    let body = json!({"metadata": {"generateName": "q-"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "x"}});
    let text = "pods \"q-\" is forbidden: error looking up service account shop/x: serviceaccount \"x\" not found";
    assert_eq!(
        refused(world.try_create("pods", "shop", body).await),
        (403, text.to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn limit_ranges_fill_in_and_refuse() {
    let world = World::new().await;
    let limits = json!([{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "500m"},
        "defaultRequest": {"cpu": "100m"}}]);
    world
        .create(
            "limitranges",
            "shop",
            json!({"metadata": {"name": "l"}, "spec": {"limits": limits}}),
        )
        .await;
    let pod = world.pod("p", "Pending", false).await;
    assert_eq!(
        pod["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}})
    );
    let big =
        json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "2"}}}]});
    let (code, text) = refused(
        world
            .try_create(
                "pods",
                "shop",
                json!({"metadata": {"name": "q"}, "spec": big}),
            )
            .await,
    );
    assert_eq!(
        (code, text.as_str()),
        (
            403,
            "pods \"q\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn only_one_priority_class_is_the_default() {
    let world = World::new().await;
    let class = |name: &str, is_default: bool| {
        json!({"metadata": {"name": name}, "value": 1,
        "globalDefault": is_default})
    };
    world
        .create("priorityclasses", "", class("one", true))
        .await;
    let why = |name: &str| {
        format!(
            "priorityclasses.scheduling.k8s.io {name:?} is forbidden: PriorityClass one is already marked as default. Only one default can exist"
        )
    };
    assert_eq!(
        refused(
            world
                .try_create("priorityclasses", "", class("two", true))
                .await
        ),
        (403, why("two"))
    );
    world
        .create("priorityclasses", "", class("three", false))
        .await;
    let marked = world
        .patch("priorityclasses", "/three", json!({"globalDefault": true}))
        .await;
    assert_eq!(refused(marked), (403, why("three")));
    world
        .patch(
            "priorityclasses",
            "/one",
            json!({"description": "the default"}),
        )
        .await
        .expect("it may stay what it is");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_class_adds_its_overhead_and_its_nodes() {
    let world = World::new().await;
    let class = json!({
        "metadata": {"name": "small"}, "handler": "vm",
        "overhead": {"podFixed": {"memory": "64Mi"}},
        "scheduling": {"nodeSelector": {"vm": "yes"},
            "tolerations": [{"key": "vm", "operator": "Exists"}]},
    });
    world.create("runtimeclasses", "", class).await;
    let pod = |name: &str, more: serde_json::Value| {
        let mut spec = json!({"automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "img"}]});
        for (key, value) in more.as_object().expect("members") {
            spec[key] = value.clone();
        }
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let made = world
        .create(
            "pods",
            "shop",
            pod("a", json!({"runtimeClassName": "small"})),
        )
        .await;
    assert_eq!(
        (&made["spec"]["overhead"], &made["spec"]["nodeSelector"]),
        (&json!({"memory": "64Mi"}), &json!({"vm": "yes"}))
    );
    assert!(
        made["spec"]["tolerations"]
            .as_array()
            .expect("a list")
            .contains(&json!({"key": "vm", "operator": "Exists"}))
    );
    let check = async |more: serde_json::Value, why: &str| {
        let answer = world.try_create("pods", "shop", pod("b", more)).await;
        assert_eq!(
            refused(answer),
            (403, format!("pods \"b\" is forbidden: {why}"))
        );
    };
    check(
        json!({"runtimeClassName": "large"}),
        "pod rejected: RuntimeClass \"large\" not found",
    )
    .await;
    let own = json!({"overhead": {"memory": "1Mi"}});
    check(
        own,
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    )
    .await;
    let other = json!({"runtimeClassName": "small", "overhead": {"memory": "1Mi"}});
    check(
        other,
        "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    )
    .await;
    let selector = json!({"runtimeClassName": "small", "nodeSelector": {"vm": "no"}});
    check(
        selector,
        "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_without_a_class_gets_the_default_one() {
    let world = World::new().await;
    let marked = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    world
        .create(
            "storageclasses",
            "",
            json!({"metadata": {"name": "slow"}, "provisioner": "p"}),
        )
        .await;
    world
        .create(
            "storageclasses",
            "",
            json!({"metadata": {"name": "fast", "annotations": marked}, "provisioner": "p"}),
        )
        .await;
    let claim = |name: &str| {
        json!({"metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let made = world
        .create("persistentvolumeclaims", "shop", claim("a"))
        .await;
    assert_eq!(made["spec"]["storageClassName"], "fast");
    let mut named = claim("b");
    named["spec"]["storageClassName"] = json!("");
    let made = world.create("persistentvolumeclaims", "shop", named).await;
    assert!(
        made["spec"]["storageClassName"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn the_requestor_of_a_certificate_is_the_user_of_the_request() {
    let world = World::new().await;
    let spec = json!({"request": signing_request(), "usages": ["digital signature"],
        "signerName": "kubernetes.io/kubelet-serving", "username": "root"});
    let made = world
        .create(
            "certificatesigningrequests",
            "",
            json!({"metadata": {"name": "c"}, "spec": spec}),
        )
        .await;
    assert_eq!(made["spec"]["username"], "tester");
    let approved = json!({"status": {"certificate": "AA==", "conditions": [
        {"type": "Approved", "status": "True", "reason": "Because"}]}});
    let (_, approved) = world
        .patch("certificatesigningrequests", "/c/approval", approved)
        .await
        .expect("approved");
    let condition = &approved["status"]["conditions"][0];
    assert_eq!(condition["lastUpdateTime"], "2001-09-09T01:46:40Z");
    assert_eq!(approved["status"]["certificate"], Value::Null);
}

/// Returns a request for a certificate, as it is in an object.
pub(crate) fn signing_request() -> String {
    use base64::Engine as _;
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .expect("a request");
    let pem = request.pem().expect("PEM");
    base64::engine::general_purpose::STANDARD.encode(pem)
}

#[tokio::test(start_paused = true)]
async fn a_write_is_bound_to_the_version_that_was_authorized() {
    let world = World::new().await;
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "1"}});
    let made = world.create("configmaps", "shop", map).await;
    let version = made["metadata"]["resourceVersion"]
        .as_str()
        .map(str::to_owned);
    let send = async |value: &str| {
        let patch = json!({"data": {"a": value}}).to_string();
        let verb = Verb::Patch {
            kind: PatchKind::Merge,
            patch: patch.into(),
            options: WriteOptions {
                authorized_version: version.clone(),
                ..WriteOptions::default()
            },
        };
        let answer = world.ask("configmaps", "shop/m", verb).await;
        answer.map_or_else(|refusal| refusal.status.code, |(code, _)| code)
    };
    assert_eq!((send("2").await, send("3").await), (200, 409));
}

#[tokio::test(start_paused = true)]
async fn duplicate_and_unknown_fields_of_a_patch_are_warned_about() {
    let world = World::new().await;
    world
        .create(
            "configmaps",
            "shop",
            json!({"metadata": {"name": "m"}, "data": {"a": "1"}}),
        )
        .await;
    let send = async |kind: PatchKind, patch: &'static str, validation: FieldValidation| {
        let options = WriteOptions {
            field_validation: validation,
            ..WriteOptions::default()
        };
        world
            .call(
                "configmaps",
                "shop/m",
                Verb::Patch {
                    kind,
                    patch: Bytes::from(patch),
                    options,
                },
            )
            .await
    };
    let check = async |kind: PatchKind, patch: &'static str, told: &[&str]| {
        let Ok(Reply::Object { warnings, .. }) = send(kind, patch, FieldValidation::Warn).await
        else {
            panic!("{patch} is refused")
        };
        assert_eq!(warnings, told);
        let Err(refusal) = send(kind, patch, FieldValidation::Strict).await else {
            panic!("{patch} is accepted")
        };
        let end = format!(": strict decoding error: {}", told.join(", "));
        assert!(
            refusal.status.message.ends_with(&end),
            "{}",
            refusal.status.message
        );
        assert!(send(kind, patch, FieldValidation::Ignore).await.is_ok());
        refusal.status.message
    };
    let twice = r#"{"data": {"a": "1", "a": "2"}, "foo": 1}"#;
    let told = [r#"duplicate field "data.a""#, r#"unknown field "foo""#];
    check(PatchKind::Merge, twice, &told).await;
    let message = check(PatchKind::Strategic, twice, &told).await;
    assert!(
        message.contains(r#"Invalid value: "map[data:map[a:2] foo:1]": "#),
        "{message}"
    );
    let operations =
        r#"[{"op": "replace", "path": "/data/a", "path": "/data/a", "value": "3", "why": "so"}]"#;
    check(
        PatchKind::Json,
        operations,
        &[
            r#"json patch duplicate field "[0].path""#,
            r#"json patch unknown field "[0].why""#,
        ],
    )
    .await;
}
