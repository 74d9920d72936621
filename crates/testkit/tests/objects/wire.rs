//! Answers that clients compare: refused names, formats that an answer does not have, conflicts of
//! preconditions, empty lists, and the addresses of OpenAPI documents.

use bytes::Bytes;
use serde_json::{Value, json};
use testkit::golden::HttpResponse;

use super::World;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

impl World {
    /// Sends `METHOD path` with an `Accept` header, and returns the whole answer.
    async fn raw(&self, line: &str, accept: &str, body: Value) -> HttpResponse {
        let (method, path) = line.split_once(' ').expect("METHOD path");
        let body = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let form = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("accept", accept)
            .header("content-type", form)
            .body(body)
            .expect("a valid request");
        (self.cluster.transport())(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_are_directories_are_refused_for_every_verb_and_subresource() {
    let world = World::start(0).await;
    for name in ["..", ".", "%2e%2e", "%2E", ".%2e"] {
        let shown = name.replace("%2e", ".").replace("%2E", ".");
        let eviction = json!({"metadata": {"name": shown}});
        for (line, body) in [
            (format!("GET {PODS}/{name}"), Value::Null),
            (format!("DELETE {PODS}/{name}"), Value::Null),
            (format!("PATCH {PODS}/{name}"), json!({})),
            (format!("GET {PODS}/{name}/status"), Value::Null),
            (format!("PATCH {PODS}/{name}/status"), json!({})),
            (format!("GET {BUDGETS}/{name}/status"), Value::Null),
            (format!("GET /api/v1/nodes/{name}"), Value::Null),
            (format!("POST {PODS}/{name}/eviction"), eviction.clone()),
        ] {
            let (code, status) = world.ask(&line, body).await;
            let message = status["message"].as_str().unwrap_or_default();
            assert_eq!(code, 400, "{line}: {status}");
            assert!(
                message.starts_with(&format!("Name parameter invalid: \"{shown}\": may not be")),
                "{line}: {message}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_table_is_not_acceptable_as_one() {
    let world = World::start(0).await;
    let access = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let authorization = "/apis/authorization.k8s.io/v1";
    let token = "/api/v1/namespaces/default/serviceaccounts/default/token";
    for (line, body) in [
        (
            format!("POST {authorization}/selfsubjectaccessreviews"),
            access.clone(),
        ),
        (
            format!("POST {authorization}/namespaces/default/localsubjectaccessreviews"),
            json!({"metadata": {"namespace": "default"}, "spec": {"user": "a",
                "resourceAttributes": {"verb": "get", "resource": "pods",
                    "namespace": "default"}}}),
        ),
        (
            format!("POST {authorization}/selfsubjectrulesreviews"),
            json!({"spec": {"namespace": "default"}}),
        ),
        (
            "POST /apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
            json!({"spec": {"token": "x"}}),
        ),
        (
            "POST /apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(),
            json!({}),
        ),
        (format!("POST {token}"), json!({"spec": {}})),
        (
            format!("POST {PODS}/p/eviction"),
            json!({"metadata": {"name": "p"}}),
        ),
    ] {
        let answer = world.raw(&line, TABLE, body.clone()).await;
        assert_eq!(answer.code, 406, "{line}");
        // Where JSON is accepted as well, that is the answer.
        let either = format!("{TABLE},application/json");
        let answer = world.raw(&line, &either, body).await;
        assert_ne!(answer.code, 406, "{line}");
    }
    for path in [PODS, BUDGETS, "/api/v1/namespaces/default"] {
        let answer = world.raw(&format!("GET {path}"), TABLE, Value::Null).await;
        assert_eq!(answer.code, 200, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn conflicts_of_preconditions_name_the_kind_with_its_group() {
    let world = World::start(0).await;
    let rows = [
        (
            "/api/v1/namespaces/default/configmaps",
            json!({}),
            "ConfigMap \"x\"",
        ),
        (
            BUDGETS,
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            "PodDisruptionBudget.policy \"x\"",
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            json!({"rules": []}),
            "Role.rbac.authorization.k8s.io \"x\"",
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            json!({}),
            "Lease.coordination.k8s.io \"x\"",
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            json!({"value": 1}),
            "PriorityClass.scheduling.k8s.io \"x\"",
        ),
    ];
    for (path, mut object, named) in rows {
        object["metadata"] = json!({"name": "x"});
        world.made(path, object).await;
        for preconditions in [json!({"uid": "other"}), json!({"resourceVersion": "1"})] {
            let options = json!({"preconditions": preconditions});
            let (code, status) = world.ask(&format!("DELETE {path}/x"), options).await;
            let message = status["message"].as_str().unwrap_or_default();
            assert_eq!(code, 409, "{path}: {status}");
            assert!(
                message.starts_with(&format!("Operation cannot be fulfilled on {named}: ")),
                "{message}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_what_upstreams_store_leaves_of_it() {
    let world = World::start(0).await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    for (name, rules) in [("empty", json!([])), ("null", Value::Null)] {
        let role = json!({"metadata": {"name": name}, "rules": rules});
        let made = world.made(roles, role).await;
        assert_eq!(made.get("rules"), Some(&Value::Null), "{made}");
        let read = world.get(&format!("{roles}/{name}")).await;
        assert_eq!(read.get("rules"), Some(&Value::Null), "{read}");
    }
    // A list that Go leaves out when it is empty is absent.
    let map = json!({"metadata": {"name": "c", "finalizers": [], "ownerReferences": []}});
    let made = world
        .made("/api/v1/namespaces/default/configmaps", map)
        .await;
    let meta = made["metadata"].as_object().expect("metadata");
    assert!(
        !meta.contains_key("finalizers") && !meta.contains_key("ownerReferences"),
        "{made}"
    );
}

#[tokio::test(start_paused = true)]
async fn openapi_redirects_stale_hashes_and_speaks_protobuf() {
    let world = World::start(0).await;
    let path = "/openapi/v3/apis/policy/v1";
    let plain = world
        .raw(&format!("GET {path}"), "application/json", Value::Null)
        .await;
    let hash = plain.headers["etag"].trim_matches('"').to_owned();
    let at = format!("{path}?hash={hash}");

    let stale = world
        .raw(
            &format!("GET {path}?hash=0"),
            "application/json",
            Value::Null,
        )
        .await;
    assert_eq!((stale.code, &stale.headers["location"]), (301, &at));
    assert!(stale.body.is_empty());

    let fresh = world
        .raw(&format!("GET {at}"), "application/json", Value::Null)
        .await;
    assert_eq!(fresh.code, 200);
    assert!(
        fresh.headers["cache-control"].contains("immutable"),
        "{:?}",
        fresh.headers
    );
    assert_eq!(fresh.body, plain.body);

    let form = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
    let bytes = world.raw(&format!("GET {path}"), form, Value::Null).await;
    assert_eq!(
        (bytes.code, bytes.headers["content-type"].as_str()),
        (200, form)
    );
    // Field 1, `openapi: "3.0.0"`.
    assert!(
        bytes.body.starts_with(b"\x0a\x053.0.0"),
        "{:?}",
        bytes.body.first()
    );
}
