//! Takes one request from its head to its response. Each step is a module of its own.

mod call;
mod drain;
mod issuer;
mod read;
mod signers;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::FutureExt as _;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use kinds::status::Status;
use percent_encoding::percent_decode_str;
use registry::request::User;
use tokio::time::Instant;

use crate::attributes::Attributes;
use crate::auth::{self, Peer};
use crate::authorize::{self, AccessRequest, AccessTarget};
use crate::body::Body;
use crate::documents;
use crate::health;
use crate::metrics::RequestLabels;
use crate::negotiate::{self, RouteTypes};
use crate::query::Query;
use crate::respond::{self, ResponseFormat};
use crate::route::{self, NoRoute};
use crate::state::ServerState;
use crate::version;
use drain::DrainOnDrop;

/// Answers one request. A panic becomes a 500 and an error in the log.
pub(crate) async fn answer<B>(
    state: Arc<ServerState>,
    peer: Peer,
    connection: u64,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let started = Instant::now();
    let mut log = RequestLog::default();
    let body = DrainOnDrop::new(body);
    // Over HTTP/2 other requests share the connection, and a panic must not end them.
    let caller = Caller {
        peer: &peer,
        connection,
    };
    let attempt = AssertUnwindSafe(steps(&state, caller, &parts, body, &mut log))
        .catch_unwind()
        .await;
    let mut response = attempt.unwrap_or_else(|_| {
        tracing::error!(method = %parts.method, uri = %parts.uri, "request panicked");
        let status = Status::failure(
            500,
            "InternalError",
            "This request caused apiserver to panic. Look in the logs for details.",
            None,
        );
        respond::refusal(
            ResponseFormat::plain(negotiate::for_refusal(&parts.headers), false),
            &status,
            &[],
        )
    });
    let code = response.status();
    let took = started.elapsed();
    let labels = log.labels.unwrap_or(RequestLabels {
        verb: plain_verb(&parts.method),
        resource: None,
        subresource: None,
        scope: "",
        dry_run: false,
    });
    state.metrics.count(&labels, code, took);
    tracing::debug!(user = log.user.as_ref().map_or("", |user| &user.name), method = %parts.method,
        uri = %parts.uri, code = code.as_u16(), ?took, "request answered");
    if let Ok(id) = HeaderValue::from_str(&audit_id(&state, &parts.headers)) {
        response.headers_mut().insert("audit-id", id);
    }
    response
}

/// What is known about a request, for its metrics and its log line.
#[derive(Default)]
struct RequestLog {
    user: Option<Arc<User>>,
    labels: Option<RequestLabels>,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
struct Caller<'a> {
    peer: &'a Peer,
    /// Number of its connection.
    connection: u64,
}

async fn steps<B>(
    state: &Arc<ServerState>,
    Caller { peer, connection }: Caller<'_>,
    parts: &Parts,
    body: B,
    log: &mut RequestLog,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    // The path is decoded before it is split, as in Go: `%2F` separates segments.
    let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy();
    let query = Query::parse(parts.uri.query());
    let attributes = Attributes::of(&parts.method, &path, &query);
    let user_agent = Some(header(&parts.headers, USER_AGENT.as_str()))
        .filter(|agent| !agent.is_empty())
        .unwrap_or(peer.agent());
    // Refusals use this format. Responses with objects negotiate their own.
    let plain = || {
        ResponseFormat::plain(
            negotiate::for_refusal(&parts.headers),
            query.pretty(user_agent),
        )
    };
    let refuse = |status: &Status| respond::refusal(plain(), status, &[]);

    let wait = match query.timeout() {
        Ok(wait) => wait,
        Err(status) => return refuse(&status),
    };
    let user = match state
        .authenticator
        .authenticate(peer, &parts.headers, state.clock.now())
    {
        Ok(known) if state.is_current(&known).await => known.user().clone(),
        Ok(_) => return refuse(&Status::unauthorized()),
        Err(status) => return refuse(&status),
    };
    let user = match impersonated(state, user, &parts.headers).await {
        Ok(user) => user,
        Err(status) => return refuse(&status),
    };
    log.user = Some(user.clone());
    // The limit comes after authentication, so that administrators always get through. A request
    // that would be refused is refused before its body is read.
    let is_exempt = attributes.verb == "watch"
        || (attributes.resource.is_none() && health::endpoint(&path).is_some());
    if !is_exempt && state.in_flight.refuses(&user) {
        return crate::flow::too_many_requests();
    }
    // A list that selects one name needs no more permission than a get of that object.
    let selected = query.selected("metadata.name");
    let access = AccessRequest::of(&attributes, &selected);
    // The deprecated watch of one object ignores the field selector.
    let is_old_watch = attributes.resource.as_ref().is_some_and(|at| at.old_watch);
    let selected_node = query.selected("spec.nodeName");
    let selected_node = if is_old_watch { "" } else { &selected_node };
    if !state.allows_on_node(&user, &access, selected_node).await {
        return refuse(&authorize::forbidden(&user, &access));
    }
    // No route of upstream's begins with two slashes, although the attributes ignore the first.
    if path.starts_with("//") {
        return respond::page_not_found();
    }
    let Some(at) = &attributes.resource else {
        let in_flight = (!is_exempt).then(|| state.in_flight.acquire(&user));
        if matches!(in_flight, Some(None)) {
            return crate::flow::too_many_requests();
        }
        return outside(state, parts, &path, &query, plain());
    };
    let served = state.served_for(at.group, at.version, at.resource);
    let route = match route::find(&served.catalogue, &parts.method, attributes.verb, at) {
        Ok(route) => route,
        Err(NoRoute::UnknownGroup) => return respond::page_not_found(),
        Err(NoRoute::Refused(status)) => return refuse(&status),
    };
    log.labels = Some(call::labels(&route, at, &parts.headers, &query));
    let upgrade = parts.extensions.get();
    let call = call::ResourceCall {
        state,
        user: &user,
        route,
        at,
        query: &query,
        headers: &parts.headers,
        upgrade,
        user_agent,
        wait,
        connection,
        worked_on: OnceLock::new(),
    };
    call.answer(body).await
}

/// Answers requests for other paths than resources: health, version, metrics and documents.
fn outside(
    state: &ServerState,
    parts: &Parts,
    path: &str,
    query: &Query<'_>,
    format: ResponseFormat,
) -> Response<Body> {
    if let Some((endpoint, single)) = health::endpoint(path) {
        return health::answer(endpoint, single, query, &state.checks(endpoint));
    }
    match path.trim_end_matches('/') {
        "/version" => match negotiate::check_route(&parts.headers, RouteTypes::JsonOnly) {
            _ if parts.method != Method::GET => {
                respond::refusal(format, &Status::method_not_allowed(), &[])
            }
            Ok(()) => respond::document(
                ResponseFormat::plain(negotiate::MediaType::Json, format.pretty),
                200,
                version::document(),
                None,
            ),
            Err(status) => respond::refusal(format, &status, &[]),
        },
        path @ ("/.well-known/openid-configuration" | "/openid/v1/jwks") => {
            issuer::answer(state, parts, path, format)
        }
        "/metrics" => {
            let in_flight = state.in_flight.count();
            let mut text = state.metrics.render(in_flight, &state.encodings);
            state.backend.metrics(&mut text);
            let mut response = respond::text(StatusCode::OK, text);
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, kind);
            response
        }
        _ => {
            let served = state.served();
            documents::answer(&documents::DocumentRequest {
                method: &parts.method,
                path,
                query,
                headers: &parts.headers,
                catalogue: &served.catalogue,
                documents: &served.documents,
                format: ResponseFormat {
                    now: state.clock.now(),
                    ..format
                },
            })
        }
    }
}

/// Returns the user that the request acts as. The error is a 400 or a 403.
async fn impersonated(
    state: &ServerState,
    user: Arc<User>,
    headers: &HeaderMap,
) -> Result<Arc<User>, Status> {
    let Some(wanted) = auth::requested_impersonation(headers)? else {
        return Ok(user);
    };
    for check in &wanted.checks {
        let access = AccessRequest {
            verb: "impersonate",
            target: AccessTarget::Resource {
                group: check.group,
                resource: check.resource,
                subresource: &check.subresource,
                namespace: &check.namespace,
                name: &check.name,
            },
        };
        if !Box::pin(state.allows(&user, &access)).await {
            return Err(authorize::forbidden(&user, &access));
        }
    }
    Ok(Arc::new(wanted.user))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Returns the audit ID: the one that the client sent, or a new one.
fn audit_id<'a>(state: &ServerState, headers: &'a HeaderMap) -> Cow<'a, str> {
    match header(headers, "audit-id") {
        "" => Cow::Owned(state.ids.next()),
        given => Cow::Borrowed(given),
    }
}

fn plain_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
