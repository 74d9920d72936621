//! Shared by the tests of this crate: a small resource table, a backend that is a closure, and a
//! way to send requests.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use clock::{Clock, Entropy};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use kinds::facts::{Lookup, Resource, Subresource, Type};
use kinds::tree::Text;
use registry::request::{Refusal, Reply, Request as Asked, User};

use crate::auth::TokenFile;
use crate::backend::Backend;
use crate::body::Body;
use crate::service::{CallerService, Server, ServerConfig};

static TYPE: Type = Type {
    name: "io.k8s.api.core.v1.Pod",
    fields: &[],
    lookup: Lookup::new(),
    atomic: false,
};

const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

const fn row(
    (group, kind, plural, namespaced): (&'static str, &'static str, &'static str, bool),
    verbs: &'static [&'static str],
    subresources: &'static [Subresource],
) -> Resource {
    Resource {
        group: Text::new_static(group),
        version: Text::new_static("v1"),
        kind: Text::new_static(kind),
        plural: Text::new_static(plural),
        singular: Text::new_static(""),
        short_names: Cow::Borrowed(&[]),
        categories: Cow::Borrowed(&[]),
        namespaced,
        verbs,
        subresources: Cow::Borrowed(subresources),
        ty: &TYPE,
        stored: true,
        storage_group: Text::new_static(group),
        storage_version: Text::new_static("v1"),
    }
}

const fn sub(
    name: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource {
        name,
        group: Text::new_static(""),
        version: Text::new_static("v1"),
        kind: Text::new_static(kind),
        verbs,
        ty: &TYPE,
    }
}

static POD_SUBRESOURCES: &[Subresource] = &[
    sub("eviction", "Eviction", &["create"]),
    sub("status", "Pod", &["get", "patch", "update"]),
    sub("log", "Pod", &["get"]),
];
static NAMESPACE_SUBRESOURCES: &[Subresource] = &[
    sub("finalize", "Namespace", &["update"]),
    sub("status", "Namespace", &["get", "patch", "update"]),
];

/// A small resource table.
pub(crate) static RESOURCES: &[Resource] = &[
    row(("", "Pod", "pods", true), ALL, POD_SUBRESOURCES),
    row(
        ("", "Namespace", "namespaces", false),
        &[
            "create", "delete", "get", "list", "patch", "update", "watch",
        ],
        NAMESPACE_SUBRESOURCES,
    ),
    row(("", "Node", "nodes", false), ALL, &[]),
    row(("", "Endpoints", "endpoints", true), ALL, &[]),
    row(
        (
            "policy",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            true,
        ),
        ALL,
        &[],
    ),
];

type Handler = dyn Fn(Asked) -> BoxFuture<'static, Result<Reply, Refusal>> + Send + Sync;

/// A backend that is a closure.
pub(crate) struct FakeBackend(Box<Handler>);

impl Backend for FakeBackend {
    fn call(&self, request: Asked) -> BoxFuture<'_, Result<Reply, Refusal>> {
        (self.0)(request)
    }
}

/// The time at which tests begin.
pub(crate) fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

/// Returns a server over a closure that answers at once.
pub(crate) fn server(
    answer: impl Fn(Asked) -> Result<Reply, Refusal> + Send + Sync + 'static,
) -> Server {
    server_of(RESOURCES, answer)
}

/// Returns a server with another resource table.
pub(crate) fn server_of(
    resources: &'static [Resource],
    answer: impl Fn(Asked) -> Result<Reply, Refusal> + Send + Sync + 'static,
) -> Server {
    server_over(resources, move |request| {
        futures::future::ready(answer(request)).boxed()
    })
}

/// Returns a server over a closure that returns a future.
pub(crate) fn server_later(
    answer: impl Fn(Asked) -> BoxFuture<'static, Result<Reply, Refusal>> + Send + Sync + 'static,
) -> Server {
    server_over(RESOURCES, answer)
}

fn server_over(
    resources: &'static [Resource],
    answer: impl Fn(Asked) -> BoxFuture<'static, Result<Reply, Refusal>> + Send + Sync + 'static,
) -> Server {
    let bob = User {
        name: "bob".to_owned(),
        ..User::default()
    };
    let admin = User {
        name: "admin".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..User::default()
    };
    let config = ServerConfig {
        resources,
        tokens: TokenFile::default().with("t0k", admin).with("b0b", bob),
        accounts: None,
        anonymous: true,
        encodings_bytes: 256 * 1024 * 1024,
        clock: Clock::starting_at(now()),
        entropy: Entropy::seeded(1),
    };
    Server::build(config, Arc::new(FakeBackend(Box::new(answer))))
}

/// Sends a request: method and target, headers, and body.
pub(crate) async fn send(
    service: &CallerService,
    line: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Body> {
    let (method, target) = line.split_once(' ').expect("METHOD target");
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(body.into()))
        .expect("a valid request");
    service.answer(request).await.expect("cannot fail")
}

/// Returns the code, the content type and the body of a response.
pub(crate) async fn read(response: Response<Body>) -> (u16, String, String) {
    let code = response.status().as_u16();
    let kind = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("cannot fail")
        .to_bytes();
    (code, kind, String::from_utf8_lossy(&body).into_owned())
}
