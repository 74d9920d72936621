//! Requests against a backend that is a closure, without sockets.

mod bodies;
mod formats;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use kinds::status::{ListMeta, Status, StatusCause};
use registry::request::{FieldValidation, Refusal, Reply, Request, Verb, WatchEvent};

use crate::service::{CallerService, Server};
use crate::testing::{self, read, send};

const POD: &str =
    r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","resourceVersion":"7"}}"#;
const TOKEN: (&str, &str) = ("authorization", "Bearer t0k");

fn pod(code: u16) -> Reply {
    Reply::Object {
        code,
        json: Bytes::from_static(POD.as_bytes()),
        warnings: Vec::new(),
    }
}

#[test]
fn the_future_of_a_request_is_small() {
    let server = pods();
    let request = http::Request::new(http_body_util::Full::new(Bytes::new()));
    let peer = crate::auth::Peer::Unknown;
    let answering = super::answer(server.state.clone(), peer, 1, request);
    let bytes = size_of_val(&answering);
    assert!(
        bytes <= 4 * 1024,
        "{bytes} bytes are allocated and moved for each request"
    );
}

/// Returns a server whose registry answers every request with the same pod.
fn pods() -> Server {
    testing::server(|request| {
        Ok(match request.verb {
            Verb::List(_) if request.resource.group == "rbac.authorization.k8s.io" => Reply::List {
                kind: String::new(),
                api_version: String::new(),
                metadata: ListMeta::default(),
                items: Vec::new(),
            },
            Verb::List(_) | Verb::DeleteCollection { .. } => Reply::List {
                kind: "PodList".to_owned(),
                api_version: "v1".to_owned(),
                metadata: ListMeta {
                    resource_version: "9".to_owned(),
                    ..ListMeta::default()
                },
                items: vec![Bytes::from_static(POD.as_bytes()); 2],
            },
            Verb::Watch(_) => Reply::Watch(
                futures::stream::iter([WatchEvent {
                    kind: "ADDED",
                    json: Bytes::from_static(POD.as_bytes()),
                }])
                .chain(futures::stream::pending())
                .boxed(),
            ),
            Verb::Create { .. } if request.subresource == Some("eviction") => Reply::Status {
                status: Status::success(201),
                code: 201,
                warnings: Vec::new(),
            },
            Verb::Create { .. } => pod(201),
            _ => pod(200),
        })
    })
}

/// Returns a service, and the requests that reached its registry.
fn recorded() -> (CallerService, Arc<Mutex<Vec<Request>>>) {
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let kept = seen.clone();
    let server = testing::server(move |request| {
        kept.lock().expect("not poisoned").push(request);
        Ok(pod(200))
    });
    (server.service(), seen)
}

#[tokio::test]
async fn missing_permission_is_refused_before_the_resource_is_looked_up() {
    let service = pods().service();
    for (line, headers, code, message) in [
        (
            "GET /api/v1/namespaces/a/pods/p",
            &[("authorization", "Bearer nobody")][..],
            401,
            "Unauthorized",
        ),
        (
            "POST /api/v1/namespaces/a/pods/p/eviction",
            &[],
            403,
            r#"pods \"p\" is forbidden: User \"system:anonymous\" cannot create resource \"pods/eviction\" in API group \"\" in the namespace \"a\""#,
        ),
        (
            "GET /api/v1/namespaces/a/nope",
            &[TOKEN, ("impersonate-user", "bob")],
            403,
            r#"nope is forbidden: User \"bob\" cannot list resource \"nope\" in API group \"\" in the namespace \"a\""#,
        ),
        (
            "GET /api/v1/nodes",
            &[
                ("authorization", "Bearer b0b"),
                ("impersonate-user", "admin"),
            ],
            403,
            r#"users \"admin\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"#,
        ),
        (
            "GET /metrics",
            &[],
            403,
            r#"forbidden: User \"system:anonymous\" cannot get path \"/metrics\""#,
        ),
    ] {
        let (found, _, body) = read(send(&service, line, headers, "").await).await;
        assert_eq!(found, code, "{line}");
        assert!(
            body.contains(&format!(r#""message":"{message}""#)),
            "{line}: {body}"
        );
    }
    let (code, _, _) = read(send(&service, "GET /version", &[], "").await).await;
    assert_eq!(code, 200, "the version is open to everybody");
}

#[tokio::test]
async fn the_registry_receives_the_options_and_the_body_of_the_client() {
    let (service, seen) = recorded();
    let json = ("content-type", "application/json");
    send(
        &service,
        "POST /api/v1/namespaces/a/pods?fieldValidation=Strict&dryRun=All",
        &[TOKEN, json, ("user-agent", "kubectl/v1")],
        "{}",
    )
    .await;
    send(
        &service,
        "DELETE /api/v1/namespaces/a/pods/p?gracePeriodSeconds=3",
        &[TOKEN],
        "",
    )
    .await;
    send(
        &service,
        "DELETE /api/v1/namespaces/a/pods/p?gracePeriodSeconds=3",
        &[TOKEN],
        "{}",
    )
    .await;
    send(
        &service,
        "PUT /api/v1/namespaces/a/finalize",
        &[TOKEN],
        "{}",
    )
    .await;
    send(
        &service,
        "GET /api/v1/watch/namespaces/a/pods/p",
        &[TOKEN],
        "",
    )
    .await;
    let seen = seen.lock().expect("not poisoned");
    let Verb::Create { options, body } = &seen[0].verb else {
        panic!("not a create: {:?}", seen[0])
    };
    assert_eq!(
        (
            options.field_validation,
            options.field_manager.as_str(),
            &body.bytes[..]
        ),
        (FieldValidation::Strict, "kubectl", &b"{}"[..])
    );
    assert_eq!(
        (
            seen[0].user.name.as_str(),
            seen[0].namespace.as_str(),
            seen[0].name.as_str()
        ),
        ("admin", "a", "")
    );
    let Verb::Delete(delete) = &seen[1].verb else {
        panic!("not a delete: {:?}", seen[1])
    };
    assert_eq!(
        (delete.body.is_none(), delete.query.grace_period_seconds),
        (true, Some(3))
    );
    let Verb::Delete(delete) = &seen[2].verb else {
        panic!("not a delete: {:?}", seen[2])
    };
    assert_eq!(
        (delete.body.is_some(), delete.query.grace_period_seconds),
        (true, None),
        "a body switches the query off"
    );
    assert_eq!(
        (
            seen[3].namespace.as_str(),
            seen[3].name.as_str(),
            seen[3].subresource.unwrap_or_default()
        ),
        ("", "a", "finalize")
    );
    let Verb::Watch(options) = &seen[4].verb else {
        panic!("not a watch: {:?}", seen[4])
    };
    assert_eq!(options.field_selector, "metadata.name=p");
    assert!(
        options
            .timeout_seconds
            .is_some_and(|seconds| (1800..3600).contains(&seconds))
    );
}

#[tokio::test]
async fn warnings_and_the_retry_time_become_headers() {
    let server = testing::server(|_| {
        let cause = StatusCause {
            reason: "DisruptionBudget".to_owned(),
            ..StatusCause::default()
        };
        let status = Status::too_many_requests("Cannot evict", vec![cause], 10);
        Err(Refusal {
            status: Box::new(status),
            warnings: vec![
                r#"unknown field "a""#.to_owned(),
                r#"unknown field "b""#.to_owned(),
            ],
        })
    });
    let response = send(
        &server.service(),
        "POST /api/v1/namespaces/a/endpoints",
        &[TOKEN],
        "{}",
    )
    .await;
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["retry-after"]
        ),
        (429, &"10".parse().expect("a value"))
    );
    let warnings: Vec<_> = response
        .headers()
        .get_all("warning")
        .iter()
        .map(|value| value.to_str().expect("text").to_owned())
        .collect();
    let expected = [
        r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#,
        r#"299 - "unknown field \"a\"""#,
        r#"299 - "unknown field \"b\"""#,
    ];
    assert_eq!(warnings, expected);
    assert_eq!(response.headers()["cache-control"], "no-cache, private");
    assert_eq!(response.headers()["audit-id"].len(), 36);
}

#[tokio::test]
async fn a_reply_with_a_failed_status_is_an_error() {
    let server = testing::server(|_| {
        Ok(Reply::Status {
            status: Status::untyped("two budgets"),
            code: 500,
            warnings: Vec::new(),
        })
    });
    let (code, _, body) = read(
        send(
            &server.service(),
            "POST /api/v1/namespaces/a/pods/p/eviction",
            &[TOKEN],
            "{}",
        )
        .await,
    )
    .await;
    assert_eq!(
        (code, body.as_str()),
        (
            500,
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"two budgets\",\"code\":500}\n"
        )
    );
}

#[tokio::test]
async fn bodies_over_three_mebibytes_are_refused() {
    let (service, seen) = recorded();
    let large = vec![b' '; 3 * 1024 * 1024 + 1];
    let (code, _, body) = read(
        send(
            &service,
            "POST /api/v1/namespaces/a/pods",
            &[TOKEN],
            large.clone(),
        )
        .await,
    )
    .await;
    assert!(
        code == 413 && body.contains("Request entity too large: limit is 3145728"),
        "{code} {body}"
    );
    assert!(seen.lock().expect("not poisoned").is_empty());
    send(
        &service,
        "POST /api/v1/namespaces/a/pods",
        &[TOKEN],
        large[1..].to_vec(),
    )
    .await;
    assert_eq!(seen.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_continues() {
    let server = testing::server(|request| {
        if request.name == "bad" {
            panic!("on purpose")
        } else {
            Ok(pod(200))
        }
    });
    let service = server.service();
    let (code, _, body) =
        read(send(&service, "GET /api/v1/namespaces/a/pods/bad", &[TOKEN], "").await).await;
    assert!(
        code == 500 && body.contains("caused apiserver to panic"),
        "{code} {body}"
    );
    assert_eq!(
        read(send(&service, "GET /api/v1/namespaces/a/pods/p", &[TOKEN], "").await)
            .await
            .0,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_past_its_timeout_is_a_504() {
    let server = testing::server_later(|_| futures::future::pending().boxed());
    let (code, _, body) = read(
        send(
            &server.service(),
            "GET /api/v1/nodes/n?timeout=2s",
            &[TOKEN],
            "",
        )
        .await,
    )
    .await;
    assert_eq!(code, 504);
    assert!(
        body.contains(
            "Timeout: request did not complete within requested timeout - context deadline exceeded"
        ),
        "{body}"
    );
    let (code, _, _) =
        read(send(&server.service(), "GET /api/v1/nodes/n", &[TOKEN], "").await).await;
    assert_eq!(code, 504, "every request has an end");
}

#[tokio::test]
async fn a_watch_streams_and_ends_with_the_server() {
    let server = pods();
    let response = send(&server.service(), "GET /api/v1/pods?watch=1", &[TOKEN], "").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let mut body = response.into_body();
    let first = body
        .frame()
        .await
        .expect("a frame")
        .expect("cannot fail")
        .into_data()
        .expect("data");
    assert_eq!(first, format!("{{\"type\":\"ADDED\",\"object\":{POD}}}\n"));
    assert!(
        body.frame().now_or_never().is_none(),
        "nothing more for now"
    );
    server.end_watches();
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn requests_over_the_in_flight_limit_are_refused() {
    let server = testing::server_later(|_| futures::future::pending().boxed());
    let reader = server.service_as(registry::request::User {
        name: "system:anonymous".to_owned(),
        ..Default::default()
    });
    server.state.in_flight.fill();
    let (code, kind, body) = read(send(&reader, "GET /version", &[], "").await).await;
    assert_eq!(
        (code, kind.as_str(), body.as_str()),
        (
            429,
            "text/plain; charset=utf-8",
            "Too many requests, please try again later.\n"
        )
    );
}

#[tokio::test]
async fn reviews_do_not_reach_the_registry() {
    let server = testing::server_of(kinds::resources(), |request| {
        match request.resource.group.as_str() {
            "rbac.authorization.k8s.io" => Ok(Reply::List {
                kind: String::new(),
                api_version: String::new(),
                metadata: ListMeta::default(),
                items: Vec::new(),
            }),
            _ => panic!("the registry was asked: {request:?}"),
        }
    });
    let service = server.service();
    let access = "POST /apis/authorization.k8s.io/v1/subjectaccessreviews";
    let own = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let token = "POST /apis/authentication.k8s.io/v1/tokenreviews";
    for (line, body, code, expected) in [
        (
            own,
            r#"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}"#,
            201,
            r#""status":{"allowed":true}"#,
        ),
        (
            own,
            r#"{"spec":{}}"#,
            422,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            own,
            r#"{"spec":{"nonResourceAttributes":{"verb":"get","path":"/healthz"}}}"#,
            201,
            r#""allowed":true"#,
        ),
        (
            access,
            r#"{"spec":{"user":"eve","resourceAttributes":{"verb":"get","resource":"pods"}}}"#,
            201,
            r#""status":{"allowed":false}"#,
        ),
        (
            access,
            r#"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}"#,
            422,
            r#".authorization.k8s.io \"\" is invalid: spec.user"#,
        ),
        (
            token,
            r#"{"spec":{"token":"b0b"}}"#,
            201,
            r#""authenticated":true"#,
        ),
        (
            token,
            r#"{"spec":{"token":"garbage"}}"#,
            201,
            r#""user":{}"#,
        ),
        (
            token,
            r#"{"spec":{}}"#,
            400,
            "token is required for TokenReview in authentication",
        ),
        (
            token,
            r#"{"kind":"Pod"}"#,
            400,
            "cannot be handled as a TokenReview",
        ),
        (token, "[]", 400, "cannot be handled as a TokenReview"),
        (
            "POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
            "{}",
            201,
            r#""username":"admin""#,
        ),
        (
            "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            r#"{"spec":{"namespace":"a"}}"#,
            201,
            r#""resourceRules":[{"verbs":["*"]"#,
        ),
    ] {
        let (found, _, answer) = read(send(&service, line, &[TOKEN], body).await).await;
        assert_eq!(found, code, "{line} {body}: {answer}");
        assert!(answer.contains(expected), "{line} {body}: {answer}");
    }
}
