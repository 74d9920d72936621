//! Documents that describe the API: discovery and OpenAPI.
//!
//! [`answer`] handles every authorized request for a path that is neither a resource nor one of the
//! server's own (health, version, metrics), with 404 for unknown paths. Documents are made on the
//! first request and cached until the custom kinds change.

mod discovery;
mod openapi;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, HOST, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use kinds::Tree;
use kinds::facts::Type;
use kinds::status::Status;
use registry::ResourceRef;
use sha2::{Digest as _, Sha512};

use crate::body::Body;
use crate::catalogue::Catalogue;
use crate::negotiate::{self, Accepted, MediaType, ResponseKind, RouteTypes};
use crate::query::Query;
use crate::respond::{self, ResponseFormat};

/// Media types of OpenAPI v2 in protobuf: the one of the answer, then an older spelling that
/// clients accept.
const PROTOBUF_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];

/// Media types of OpenAPI v3 in protobuf, in the order of [`PROTOBUF_V2`].
const PROTOBUF_V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];
/// How long a client may keep a document that it names with its hash, in seconds: a year.
const KEEP_SECONDS: i64 = 365 * 24 * 60 * 60;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Documents that were made already.
#[derive(Debug, Default)]
pub(crate) struct DocumentCache {
    made: Mutex<HashMap<String, Document>>,
}

/// A document, mostly compact JSON, and the hash that identifies its content.
#[derive(Clone, Debug)]
struct Document {
    bytes: Bytes,
    hash: String,
}

impl DocumentCache {
    /// Returns a JSON document, made by `make` unless it is cached.
    fn get(&self, name: &str, make: impl FnOnce() -> Option<Tree>) -> Option<Document> {
        self.keep(name, || make().map(|tree| tree.to_string().into_bytes()))
    }

    fn keep(&self, name: &str, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<Document> {
        if let Some(found) = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
        {
            return Some(found.clone());
        }
        let bytes: Bytes = make()?.into();
        let hash = Sha512::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        let document = Document { bytes, hash };
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), document.clone());
        Some(document)
    }
}

/// A request for a document.
pub(crate) struct DocumentRequest<'a> {
    pub(crate) method: &'a Method,
    /// The path, decoded.
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query<'a>,
    pub(crate) headers: &'a HeaderMap,
    /// The resources that are served.
    pub(crate) catalogue: &'a Catalogue,
    /// Documents that were made already.
    pub(crate) documents: &'a DocumentCache,
    /// Format of refusals.
    pub(crate) format: ResponseFormat,
}

/// Answers a request for a document.
pub(crate) fn answer(ask: &DocumentRequest<'_>) -> Response<Body> {
    let parts: Vec<&str> = ask.path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["openapi", "v2"] => ask.openapi_v2(),
        ["openapi", "v3"] => ask.openapi_index(),
        ["openapi", "v3", ..] => {
            ask.openapi(ask.path.trim_matches('/').trim_start_matches("openapi/v3/"))
        }
        ["api" | "apis", ..] => ask.discovery(&parts),
        _ => respond::page_not_found(),
    }
}

impl DocumentRequest<'_> {
    fn discovery(&self, parts: &[&str]) -> Response<Body> {
        let known = match parts[..] {
            ["api" | "apis"] => Ok(()),
            ["api", version] => check(self.catalogue.has_version("", version)),
            ["apis", group, ..] if !self.catalogue.has_group(group) => {
                return respond::page_not_found();
            }
            ["apis", _] => Ok(()),
            ["apis", group, version] => check(self.catalogue.has_version(group, version)),
            _ => return respond::page_not_found(),
        };
        // `/apis` is not a route of upstream's router: it serves every method and checks `Accept`
        // itself.
        let checked = known.and_then(|()| match parts[..] {
            ["apis"] if !matches!(*self.method, Method::HEAD | Method::OPTIONS) => Ok(()),
            _ if self.method != Method::GET => Err(Status::method_not_allowed()),
            ["api"] => Ok(()),
            _ => negotiate::check_route(self.headers, RouteTypes::Objects),
        });
        if let Err(refused) = checked {
            return respond::refusal(self.format, &refused, &[]);
        }
        let rows = self.catalogue.rows();
        match parts[..] {
            ["api" | "apis"] if takes_aggregated(self.headers) => {
                self.aggregated(parts[0] == "api")
            }
            ["api"] => {
                let host = self
                    .headers
                    .get(HOST)
                    .and_then(|host| host.to_str().ok())
                    .unwrap_or_default();
                self.typed(&discovery::versions(host), "APIVersions")
            }
            ["apis"] => self.typed(&discovery::groups(rows), "APIGroupList"),
            ["api", version] => {
                self.typed(&discovery::resources(rows, "", version), "APIResourceList")
            }
            ["apis", group] => self.typed(&discovery::group(rows, group), "APIGroup"),
            ["apis", group, version] => self.typed(
                &discovery::resources(rows, group, version),
                "APIResourceList",
            ),
            _ => respond::page_not_found(),
        }
    }

    /// Encodes a document in the media type that the client accepts.
    fn typed(&self, document: &Tree, kind: &str) -> Response<Body> {
        let Some(accepted) = negotiate::choose(self.headers, ResponseKind::Plain) else {
            return respond::refusal(
                self.format,
                &negotiate::not_acceptable(ResponseKind::Plain),
                &[],
            );
        };
        let ty = kinds::type_named(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
        let json = ty.map_or_else(
            || document.to_string().into_bytes(),
            |ty: &'static Type| kinds::json::encode(document, ty),
        );
        let format = ResponseFormat {
            accepted,
            gzip: negotiate::takes_gzip(self.headers),
            ..self.format
        };
        respond::document(format, 200, json, ty)
    }

    fn aggregated(&self, core: bool) -> Response<Body> {
        let name = if core {
            "aggregated/api"
        } else {
            "aggregated/apis"
        };
        let Some(document) = self.documents.get(name, || {
            Some(discovery::aggregated(self.catalogue.rows(), core))
        }) else {
            return respond::page_not_found();
        };
        let tag = HeaderValue::try_from(format!("\"{}\"", document.hash)).ok();
        // Only the exact tag counts. Weak tags and lists of tags are read as changed, which is
        // always correct.
        let unchanged = tag.is_some() && self.headers.get(IF_NONE_MATCH) == tag.as_ref();
        let mut response = if unchanged {
            Response::new(Body::empty())
        } else {
            self.json(&document, AGGREGATED)
        };
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.extend(tag.map(|tag| (ETAG, tag)));
        response
    }

    /// Sends a cached JSON document with another content type.
    fn json(&self, document: &Document, content_type: &'static str) -> Response<Body> {
        let mut response = respond::document(
            self.manner_of(MediaType::Json),
            200,
            document.bytes.to_vec(),
            None,
        );
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    fn openapi_document(&self, name: &str) -> Option<Document> {
        self.documents.get(&format!("openapi/{name}"), || {
            openapi::document(self.catalogue.rows(), name)
        })
    }

    /// Everything that OpenAPI documents are made of, as one document. Its hash changes whenever
    /// the hash of any of them could, so an index needs not make all documents.
    fn table(&self) -> Option<Document> {
        let rows = self.catalogue.rows();
        self.documents.get("table", || {
            let schemas: Vec<&Tree> = rows
                .iter()
                .filter_map(ResourceRef::custom)
                .map(|version| version.schema())
                .collect();
            Some(kinds::tree::json!([
                discovery::aggregated(rows, false),
                schemas
            ]))
        })
    }

    fn openapi_index(&self) -> Response<Body> {
        if !takes_json(accept(self.headers)) {
            return empty(StatusCode::NOT_ACCEPTABLE);
        }
        let rows = self.catalogue.rows();
        let index = self.documents.get("openapi-index", || {
            let hash = &self.table()?.hash;
            Some(openapi::index(rows, hash))
        });
        index.map_or_else(respond::page_not_found, |index| {
            self.json(&index, "text/plain; charset=utf-8")
        })
    }

    /// Sends a document of OpenAPI v3 as JSON or protobuf, whichever `Accept` names first. A client
    /// that names another hash than the document's is redirected.
    fn openapi(&self, name: &str) -> Response<Body> {
        let Some(is_protobuf) = wants_protobuf(accept(self.headers), &PROTOBUF_V3) else {
            return empty(StatusCode::NOT_ACCEPTABLE);
        };
        let Some(document) = self.openapi_document(name) else {
            return empty(StatusCode::NOT_FOUND);
        };
        let hash = self.table().map(|known| known.hash).unwrap_or_default();
        let kind = if is_protobuf {
            PROTOBUF_V3[0]
        } else {
            "application/json"
        };
        let tag = HeaderValue::try_from(format!("\"{hash}\"")).ok();
        let asked = self.query.get("hash").filter(|asked| !asked.is_empty());
        let mut response = match asked {
            Some(asked) if asked != hash => {
                let mut response = empty(StatusCode::MOVED_PERMANENTLY);
                let location = HeaderValue::try_from(format!("/openapi/v3/{name}?hash={hash}"));
                response
                    .headers_mut()
                    .extend(location.ok().map(|location| (LOCATION, location)));
                response
            }
            _ if tag.is_some() && self.headers.get(IF_NONE_MATCH) == tag.as_ref() => {
                empty(StatusCode::NOT_MODIFIED)
            }
            _ if is_protobuf => match self.openapi_protobuf(name) {
                Some(document) => respond::finished(
                    self.manner_of(MediaType::Protobuf),
                    PROTOBUF_V3[0],
                    document.bytes,
                ),
                None => return empty(StatusCode::NOT_FOUND),
            },
            _ => self.json(&document, "application/json"),
        };
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.extend(tag.map(|tag| (ETAG, tag)));
        if asked == Some(hash.as_str()) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            let now = self.format.now;
            let end = now.checked_add(jiff::SignedDuration::from_secs(KEEP_SECONDS));
            let end = end.unwrap_or(now);
            let end = end.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
            headers.extend(HeaderValue::try_from(end).ok().map(|end| (EXPIRES, end)));
        }
        response
    }

    fn openapi_protobuf(&self, name: &str) -> Option<Document> {
        self.documents
            .keep(&format!("openapi-protobuf/{name}"), || {
                let document = openapi::document(self.catalogue.rows(), name)?;
                Some(openapi::gnostic_v3(&document))
            })
    }

    /// Sends OpenAPI v2 as JSON or protobuf, whichever `Accept` names first.
    fn openapi_v2(&self) -> Response<Body> {
        let rows = self.catalogue.rows();
        let document = match wants_protobuf(accept(self.headers), &PROTOBUF_V2) {
            None => return empty(StatusCode::NOT_ACCEPTABLE),
            Some(true) => self
                .documents
                .keep("openapi-v2-protobuf", || {
                    Some(openapi::gnostic(&openapi::v2(rows)))
                })
                .map(|document| {
                    respond::finished(
                        self.manner_of(MediaType::Protobuf),
                        PROTOBUF_V2[0],
                        document.bytes,
                    )
                }),
            Some(false) => self
                .documents
                .get("openapi-v2", || Some(openapi::v2(rows)))
                .map(|document| self.json(&document, "application/json")),
        };
        document.unwrap_or_else(respond::page_not_found)
    }

    fn manner_of(&self, media: MediaType) -> ResponseFormat {
        ResponseFormat {
            accepted: Accepted {
                media,
                transform: None,
            },
            gzip: negotiate::takes_gzip(self.headers),
            ..self.format
        }
    }
}

fn check(known: bool) -> Result<(), Status> {
    if known {
        Ok(())
    } else {
        Err(Status::no_such_resource())
    }
}

/// Returns whether the client accepts aggregated discovery. Its position in `Accept` does not
/// matter.
fn takes_aggregated(headers: &HeaderMap) -> bool {
    let wanted = |entry: &str| {
        let mut parts = entry.split(';').map(str::trim);
        let has = |part: &str| entry.split(';').any(|found| found.trim() == part);
        parts.next() == Some("application/json")
            && has("g=apidiscovery.k8s.io")
            && has("v=v2")
            && has("as=APIGroupDiscoveryList")
    };
    accept(headers).split(',').any(wanted)
}

/// Returns whether a list of media types includes JSON. An empty list accepts everything.
fn takes_json(text: &str) -> bool {
    let takes = |entry: &str| {
        matches!(
            entry.split(';').next().unwrap_or_default().trim(),
            "*/*" | "application/*" | "application/json"
        )
    };
    text.is_empty() || text.split(',').any(takes)
}

/// Returns whether a list of media types names protobuf, by one of these names, before JSON; `None`
/// if it names neither.
fn wants_protobuf(text: &str, names: &[&str]) -> Option<bool> {
    if text.is_empty() {
        return Some(false);
    }
    text.split(',').find_map(|entry| {
        let name = entry.split(';').next().unwrap_or_default().trim();
        if names.contains(&name) {
            Some(true)
        } else {
            takes_json(entry).then_some(false)
        }
    })
}

fn accept(headers: &HeaderMap) -> &str {
    headers
        .get(http::header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}
