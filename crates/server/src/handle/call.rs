//! A request for a resource: reads options and body, calls the registry, and formats the reply.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::upgrade::OnUpgrade;
use kinds::status::Status;
use registry::request::{
    BodyForm, DeleteRequest, PatchKind, Refusal, Reply, Request, RequestBody, User, Verb,
};

use super::signers;
use crate::attributes::ResourcePath;
use crate::authorize::{self, AccessRequest, AccessTarget};
use crate::body::Body;
use crate::encode::ObjectList;
use crate::flow::{self, WorkedGuard};
use crate::kubelet::{self, KubeletReply};
use crate::metrics::RequestLabels;
use crate::negotiate::{self, ResponseKind, RouteTypes};
use crate::query::Query;
use crate::respond::{self, ResponseFormat};
use crate::reviews;
use crate::route::{Action, Route};
use crate::state::ServerState;
use crate::table;
use crate::watch;
use crate::websocket::WebSocketUpgrade;

/// Time limit of requests other than watches.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` lasts between one and two times this long, as upstream does it,
/// so that watches do not all end together.
const WATCH_SECONDS: u64 = 30 * 60;

/// A request for a resource.
pub(super) struct ResourceCall<'a> {
    pub(super) state: &'a Arc<ServerState>,
    pub(super) user: &'a Arc<User>,
    pub(super) route: Route,
    pub(super) at: &'a ResourcePath<'a>,
    pub(super) query: &'a Query<'a>,
    pub(super) headers: &'a HeaderMap,
    /// The upgrade of the connection; `None` where there is none, for example over HTTP/2.
    pub(super) upgrade: Option<&'a OnUpgrade>,
    pub(super) user_agent: &'a str,
    /// The `timeout` of the query.
    pub(super) wait: Option<Duration>,
    /// Number of the connection.
    pub(super) connection: u64,
    /// Counts the body while the request is worked on.
    pub(super) worked_on: OnceLock<WorkedGuard>,
}

/// Returns the metric labels of a request.
pub(super) fn labels(
    route: &Route,
    at: &ResourcePath<'_>,
    headers: &HeaderMap,
    query: &Query<'_>,
) -> RequestLabels {
    let verb = match route.action {
        Action::Get => "GET",
        Action::List => "LIST",
        Action::Watch => "WATCH",
        Action::Create => "POST",
        Action::Update => "PUT",
        Action::Patch
            if negotiate::patch_kind(headers).is_ok_and(|kind| kind == PatchKind::Apply) =>
        {
            "APPLY"
        }
        Action::Patch => "PATCH",
        Action::Delete => "DELETE",
        Action::DeleteCollection => "DELETECOLLECTION",
    };
    let scope = match (at.name.is_empty(), at.namespace.is_empty()) {
        // A create concerns one object, although its path does not name it.
        _ if route.action == Action::Create => "resource",
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    };
    RequestLabels {
        verb,
        resource: Some(route.resource.clone()),
        subresource: route.subresource.as_ref().map(|sub| sub.name),
        scope,
        dry_run: query.get("dryRun").is_some(),
    }
}

impl ResourceCall<'_> {
    /// Answers the request.
    pub(super) async fn answer<B>(&self, body: B) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        // A watch has a deadline of its own.
        let limit = self.wait.unwrap_or(REQUEST_TIMEOUT).min(REQUEST_TIMEOUT);
        let work = self.attempt(body);
        let outcome = if self.route.action == Action::Watch {
            work.await
        } else {
            let late = || {
                Status::timeout(
                    "request did not complete within requested timeout - context deadline exceeded",
                    0,
                )
            };
            tokio::time::timeout(limit, work)
                .await
                .unwrap_or_else(|_| Err(late().into()))
        };
        outcome.unwrap_or_else(|refusal| {
            let warnings = self.warned(refusal.warnings);
            let format = ResponseFormat::plain(
                negotiate::for_refusal(self.headers),
                self.query.pretty(self.user_agent),
            );
            respond::refusal(format, &refusal.status, &warnings)
        })
    }

    async fn attempt<B>(&self, body: B) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        if kubelet::is_kubelet_subresource(self.at.group, self.at.resource, self.at.subresource) {
            let Some(_in_flight) = self.state.in_flight.acquire(self.user) else {
                return Ok(flow::too_many_requests());
            };
            return Box::pin(self.kubelet()).await;
        }
        let format = self.format()?;
        let verb = self.verb(body).await?;
        let in_flight =
            (self.route.action != Action::Watch).then(|| self.state.in_flight.acquire(self.user));
        if matches!(in_flight, Some(None)) {
            return Ok(flow::too_many_requests());
        }
        if let Verb::Create { body, .. } = &verb
            && reviews::is_review(&self.route)
        {
            let review =
                reviews::answer(self.state, self.user, &self.route, self.at.namespace, body);
            let json = Box::pin(review).await?;
            return Ok(respond::object(
                format,
                &self.route.resource,
                self.route.resource.ty,
                201,
                json.into(),
                &self.state.encodings,
                &[],
            ));
        }
        let writes = !matches!(verb, Verb::Get { .. } | Verb::List(_) | Verb::Watch(_));
        let request = self.request(verb);
        // The lock is held until the write has committed, so that no other write to RBAC comes
        // between the check and the commit.
        let _lock = if authorize::writes_policy(&request) {
            let lock = self.state.policy.writing.lock().await;
            let check =
                authorize::check_escalation(&*self.state.backend, &self.state.policy, &request);
            Box::pin(check).await?;
            Some(lock)
        } else {
            None
        };
        let reply = signers::call(self.state, request).await;
        // A failed write can have committed all the same, so it drops the policy too.
        if writes && self.at.group == authorize::GROUP {
            self.state.policy.forget();
        }
        Ok(self.render(format, reply?))
    }

    /// Reads the pod, then answers for the kubelet of its node.
    async fn kubelet(&self) -> Result<Response<Body>, Refusal> {
        let mut request = self.request(Verb::Get {
            resource_version: String::new(),
        });
        let subresource = request.subresource.take().unwrap_or_default();
        let pod = self.state.backend.call(request).await?;
        // The request counts as a GET until here, for which reading the subresource is enough.
        let upgrade = WebSocketUpgrade::requested(self.headers, self.upgrade, &kubelet::PROTOCOLS);
        if upgrade.is_some() {
            self.check_may_connect().await?;
        }
        let reply = kubelet::answer(
            pod,
            subresource,
            self.query,
            self.state.logs.get(),
            self.state.clock.now(),
        )?;
        match (reply, upgrade) {
            (KubeletReply::Response(response), _) => Ok(*response),
            (KubeletReply::Messages(messages), Some(upgrade)) => {
                Ok(upgrade.respond(futures::stream::iter(messages), self.state.stop.clone()))
            }
            (KubeletReply::Messages(_), None) => {
                Err(kubelet::no_websocket(self.at.name, subresource).into())
            }
        }
    }

    /// A WebSocket opens with a GET, but `exec`, `attach` and `portforward` require the right to
    /// create, as their POST does.
    async fn check_may_connect(&self) -> Result<(), Status> {
        let ResourcePath {
            group,
            resource,
            subresource,
            namespace,
            name,
            ..
        } = *self.at;
        let access = AccessRequest {
            verb: "create",
            target: AccessTarget::Resource {
                group,
                resource,
                subresource,
                namespace,
                name,
            },
        };
        if self.state.allows(self.user, &access).await {
            Ok(())
        } else {
            Err(authorize::forbidden(self.user, &access))
        }
    }

    /// Negotiates the format of the response. Refuses unsupported ones with 406.
    fn format(&self) -> Result<ResponseFormat, Status> {
        let collection = matches!(self.route.action, Action::List | Action::Watch);
        negotiate::check_route(
            self.headers,
            if collection {
                RouteTypes::Collection
            } else {
                RouteTypes::Objects
            },
        )?;
        if self.route.action == Action::Patch {
            negotiate::patch_kind(self.headers)?;
        }
        let subresource = self.route.subresource.as_ref().map(|sub| sub.name);
        let tables = table::can_render(&self.route.resource, subresource);
        let answer = if self.route.action == Action::Watch {
            ResponseKind::Watch { tables }
        } else {
            ResponseKind::Objects { tables }
        };
        let protobuf = !self.route.resource.is_custom();
        let accepted = negotiate::choose_among(self.headers, answer, protobuf)
            .ok_or_else(|| negotiate::not_acceptable(answer))?;
        let table = matches!(accepted.transform, Some(negotiate::Transform::Table { .. }));
        let include = if table {
            self.query.get("includeObject").unwrap_or_default()
        } else {
            ""
        };
        Ok(ResponseFormat {
            accepted,
            pretty: self.query.pretty(self.user_agent),
            gzip: matches!(self.route.action, Action::Get | Action::List)
                && negotiate::takes_gzip(self.headers),
            include: table::IncludeObject::parse(include)?,
            now: self.state.clock.now(),
        })
    }

    /// Reads options and body of the action. The order of the checks is upstream's, so an invalid
    /// request gets the same refusal.
    async fn verb<B>(&self, body: B) -> Result<Verb, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        Ok(match self.route.action {
            Action::Get => Verb::Get {
                resource_version: self
                    .query
                    .get("resourceVersion")
                    .unwrap_or_default()
                    .to_owned(),
            },
            Action::List => Verb::List(self.list_options()?),
            Action::Watch => {
                let mut options = self.list_options()?;
                let lasting = || WATCH_SECONDS + self.state.entropy.below(WATCH_SECONDS);
                options.timeout_seconds = Some(
                    options
                        .timeout_seconds
                        .filter(|&seconds| seconds > 0)
                        .unwrap_or_else(lasting),
                );
                Verb::Watch(options)
            }
            Action::Create => {
                let form = self.body_form()?;
                let bytes = self.read(body).await?;
                let options = self
                    .query
                    .write_options("CreateOptions", None, self.user_agent)?;
                Verb::Create {
                    body: RequestBody { bytes, form },
                    options,
                }
            }
            Action::Update => {
                let bytes = self.read(body).await?;
                let options = self
                    .query
                    .write_options("UpdateOptions", None, self.user_agent)?;
                let form = self.body_form()?;
                // Upstream checks the content type of an update last, and of a create first.
                Verb::Update {
                    body: RequestBody { bytes, form },
                    options,
                }
            }
            Action::Patch => {
                let kind = negotiate::patch_kind(self.headers)?;
                let patch = self.read(body).await?;
                let options =
                    self.query
                        .write_options("PatchOptions", Some(kind), self.user_agent)?;
                Verb::Patch {
                    kind,
                    patch,
                    options,
                }
            }
            Action::Delete => Verb::Delete(self.delete_request(body).await?),
            Action::DeleteCollection => {
                let list = self.list_options()?;
                Verb::DeleteCollection {
                    list,
                    delete: self.delete_request(body).await?,
                }
            }
        })
    }

    /// Returns the format of the body. Custom kinds have no protobuf.
    fn body_form(&self) -> Result<BodyForm, Status> {
        let form = negotiate::body_form(self.headers)?;
        if form == BodyForm::Protobuf
            && self.route.subresource.is_none()
            && self.route.resource.is_custom()
        {
            let message = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml";
            return Err(Status::failure(415, "UnsupportedMediaType", message, None));
        }
        Ok(form)
    }

    async fn delete_request<B>(&self, body: B) -> Result<DeleteRequest, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let bytes = self.read(body).await?;
        if bytes.is_empty() {
            return Ok(DeleteRequest {
                body: None,
                query: self.query.delete_options()?,
            });
        }
        let form = negotiate::body_form(self.headers)?;
        Ok(DeleteRequest {
            body: Some(RequestBody { bytes, form }),
            query: registry::request::DeleteOptions::default(),
        })
    }

    /// Returns the options of a list or watch. The deprecated form of a watch names an object in
    /// its path.
    fn list_options(&self) -> Result<registry::request::ListOptions, Status> {
        let mut options = self.query.list_options()?;
        if self.at.old_watch && !self.at.name.is_empty() {
            options.field_selector = format!("metadata.name={}", self.at.name);
        }
        Ok(options)
    }

    fn request(&self, verb: Verb) -> Request {
        let (at, resource) = (self.at, &self.route.resource);
        let collection = matches!(
            verb,
            Verb::List(_) | Verb::Watch(_) | Verb::DeleteCollection { .. }
        );
        // The namespace of a namespace is part of its path only.
        let namespace = if resource.namespaced {
            at.namespace
        } else {
            ""
        };
        let name = if collection { "" } else { at.name };
        Request {
            user: Arc::clone(self.user),
            resource: resource.clone(),
            subresource: self.route.subresource.as_ref().map(|sub| sub.name),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            verb,
        }
    }

    fn render(&self, format: ResponseFormat, reply: Reply) -> Response<Body> {
        let route = &self.route;
        match reply {
            Reply::Object {
                code,
                json,
                warnings,
            } => {
                let ty = route
                    .subresource
                    .as_ref()
                    .map_or(route.resource.ty, |sub| sub.ty);
                respond::object(
                    format,
                    &route.resource,
                    ty,
                    code,
                    json,
                    &self.state.encodings,
                    &self.warned(warnings),
                )
            }
            Reply::List {
                kind,
                api_version,
                metadata,
                items,
            } => {
                let list = ObjectList {
                    kind,
                    api_version,
                    metadata,
                    items,
                };
                respond::list(
                    format,
                    &route.resource,
                    list,
                    &self.state.encodings,
                    &self.warned(Vec::new()),
                )
            }
            // A Status that reports a failure is an error, even if the registry returned it as a
            // reply.
            Reply::Status {
                status,
                code,
                warnings,
            } if status.is_failure() => {
                let status = Status { code, ..status };
                respond::refusal(format, &status, &self.warned(warnings))
            }
            Reply::Status {
                status,
                code,
                warnings,
            } => respond::status(format, &status, code, &self.warned(warnings)),
            Reply::Watch(events) => {
                let form = watch::EventFormat {
                    media: format.accepted.media,
                    transform: format.accepted.transform,
                    resource: route.resource.clone(),
                    include: format.include,
                    clock: self.state.clock.clone(),
                    encodings: self.state.encodings.clone(),
                };
                let body = watch::body(
                    events,
                    form,
                    self.state.stop.clone(),
                    self.state.metrics.long_running(),
                );
                // Browsers read a watch through a WebSocket, one event in each message.
                if let Some(upgrade) = WebSocketUpgrade::requested(self.headers, self.upgrade, &[])
                {
                    return upgrade.respond(watch::messages(body), self.state.stop.clone());
                }
                respond::watch(format.accepted.media, body, &self.warned(Vec::new()))
            }
        }
    }

    /// Returns the warnings of a response: the deprecation of the API first, then those of the
    /// registry.
    fn warned(&self, warnings: Vec<String>) -> Vec<String> {
        let old = match (self.at.group, self.at.resource) {
            ("", "endpoints") => {
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
            }
            ("", "componentstatuses") => "v1 ComponentStatus is deprecated in v1.19+",
            _ => match self
                .route
                .resource
                .custom()
                .and_then(|version| version.deprecation())
            {
                Some(old) => old,
                None => return warnings,
            },
        };
        [old.to_owned()].into_iter().chain(warnings).collect()
    }
}
