//! Builds HTTP responses. Only here does a `Status` get its code and its headers.
//!
//! Objects are sent as the JSON in which they are stored. YAML, protobuf, indented JSON, tables and
//! bare metadata are made from it on request.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use kinds::facts::{Resource, Type};
use kinds::status::{ListMeta, Status};

use crate::body::{Body, Separator};
use crate::encode::{self, JsonList, ObjectList};
use crate::encodings::Encodings;
use crate::json;
use crate::negotiate::{Accepted, MediaType, Transform};
use crate::table;
use crate::warnings::warn;
use registry::ResourceRef;

/// Size from which a response is compressed for clients that accept gzip.
const GZIP_FROM_BYTES: u64 = 128 * 1024;

/// The negotiated format of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseFormat {
    /// Media type and transformation.
    pub(crate) accepted: Accepted,
    /// Whether JSON is indented.
    pub(crate) pretty: bool,
    /// Whether a large response is compressed.
    pub(crate) gzip: bool,
    /// What the rows of a table include beside the cells.
    pub(crate) include: table::IncludeObject,
    /// Time of the request, for ages in tables.
    pub(crate) now: Timestamp,
}

impl ResponseFormat {
    /// Returns a format without transformation and compression.
    pub(crate) fn plain(media: MediaType, pretty: bool) -> Self {
        let accepted = Accepted {
            media,
            transform: None,
        };
        Self {
            accepted,
            pretty,
            gzip: false,
            include: table::IncludeObject::Metadata,
            now: Timestamp::UNIX_EPOCH,
        }
    }
}

/// Builds a response in plain text, with the headers of Go's `http.Error`.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        http::header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Builds a response in plain text that a client asked for, for example a log.
pub(crate) fn plain_text(text: String) -> Response<Body> {
    let mut response = Response::new(Body::whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Builds the 404 of Go's router.
pub(crate) fn page_not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Builds a refusal, with `Retry-After` if the status has one.
pub(crate) fn refusal(
    format: ResponseFormat,
    refused: &Status,
    warnings: &[String],
) -> Response<Body> {
    let mut response = status(format, refused, refused.code, warnings);
    let seconds = refused
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Builds a response with a `Status`, which no transformation applies to.
pub(crate) fn status(
    format: ResponseFormat,
    status: &Status,
    code: u16,
    warnings: &[String],
) -> Response<Body> {
    let body = laid_out(format, encode::status_json(status), encode::status_type());
    build(format, code, body, warnings)
}

/// Builds a response with one object. `ty` is the type of the object, for protobuf.
pub(crate) fn object(
    format: ResponseFormat,
    resource: &ResourceRef,
    ty: &'static Type,
    code: u16,
    json: Bytes,
    encodings: &Encodings,
    warnings: &[String],
) -> Response<Body> {
    let is_protobuf = format.accepted.media == MediaType::Protobuf;
    let body = match format.accepted.transform {
        // A deletion can return a Status, which is sent as it is.
        Some(_) if json::text_member(&json, "kind") == Some("Status") => {
            laid_out(format, json, encode::status_type())
        }
        None if is_protobuf => Body::whole(encode::sealed(&json, &encodings.message(&json, ty))),
        None => laid_out(format, json, None),
        Some(Transform::Metadata { beta }) if is_protobuf => {
            Body::whole(encode::metadata_sealed(&encodings.metadata(&json), beta))
        }
        Some(Transform::Metadata { beta }) => {
            laid_out(format, encode::metadata_only(&json, beta), None)
        }
        Some(Transform::MetadataList { .. }) => {
            return wrong_count(format, resource, "PartialObjectMetadataList", false);
        }
        Some(Transform::Table { beta }) => {
            let (metadata, objects) = (encode::list_meta_of(&json), [json]);
            let shown = table_of(format, resource, beta, &metadata, &objects);
            laid_out(format, table::render(&shown, encodings).into(), None)
        }
    };
    build(format, code, body, warnings)
}

/// Builds a response with a list.
pub(crate) fn list(
    format: ResponseFormat,
    resource: &ResourceRef,
    list: ObjectList,
    encodings: &Arc<Encodings>,
    warnings: &[String],
) -> Response<Body> {
    let is_protobuf = format.accepted.media == MediaType::Protobuf;
    let body = match format.accepted.transform {
        None if format.accepted.media == MediaType::Json && !format.pretty => joined(&list),
        None if is_protobuf => {
            let (ty, encodings) = (resource.ty, encodings.clone());
            encode::protobuf_list(
                &list.kind,
                &list.api_version,
                &list.metadata,
                list.items,
                move |item| encodings.message(item, ty),
            )
        }
        None => streamed(format, whole_items(&list)),
        Some(Transform::MetadataList { beta }) if is_protobuf => {
            let encodings = encodings.clone();
            encode::protobuf_list(
                encode::METADATA_LIST,
                encode::meta_version(beta),
                &list.metadata,
                list.items,
                move |item| encodings.metadata(item),
            )
        }
        Some(Transform::MetadataList { beta }) => {
            let (kind, version) = (encode::METADATA_LIST, encode::meta_version(beta));
            streamed(
                format,
                JsonList {
                    head: encode::list_head(kind, version, &list.metadata),
                    member: "items",
                    items: list.items,
                    item: Box::new(move |item, out| encode::put_metadata_only(out, item, beta)),
                },
            )
        }
        Some(Transform::Metadata { .. }) => {
            return wrong_count(format, resource, "PartialObjectMetadata", true);
        }
        Some(Transform::Table { beta }) => {
            let (metadata, objects) = (&list.metadata, &list.items[..]);
            let shown = table_of(format, resource, beta, metadata, objects);
            streamed(format, table::streamed(&shown, encodings))
        }
    };
    build(format, 200, body, warnings)
}

fn table_of<'a>(
    format: ResponseFormat,
    resource: &'a ResourceRef,
    beta: bool,
    metadata: &'a ListMeta,
    objects: &'a [Bytes],
) -> table::TableInput<'a> {
    table::TableInput {
        resource,
        beta,
        metadata,
        objects,
        columns: true,
        include: format.include,
        now: format.now,
    }
}

/// Returns a list in the negotiated media type, whose items are rendered while they are sent.
fn streamed(format: ResponseFormat, list: JsonList) -> Body {
    match format.accepted.media {
        MediaType::Json if format.pretty => list.indented(),
        MediaType::Yaml => list.yaml(),
        // Tables and bare metadata in protobuf are not negotiated here.
        MediaType::Json | MediaType::Protobuf => list.compact(),
    }
}

/// Returns the list of whole objects.
fn whole_items(list: &ObjectList) -> JsonList {
    let (head, open, items) = joined_parts(list);
    JsonList {
        head,
        member: "items",
        items,
        item: Box::new(move |item, out| {
            out.extend_from_slice(open.as_bytes());
            out.extend_from_slice(item);
        }),
    }
}

/// Builds a response with a JSON document, for example a review.
pub(crate) fn document(
    format: ResponseFormat,
    code: u16,
    json: Vec<u8>,
    ty: Option<&'static Type>,
) -> Response<Body> {
    build(format, code, laid_out(format, json.into(), ty), &[])
}

/// Builds a response with bytes that are encoded already.
pub(crate) fn finished(
    format: ResponseFormat,
    content_type: &'static str,
    bytes: Bytes,
) -> Response<Body> {
    let mut response = build(format, 200, Body::whole(bytes), &[]);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Builds the response of a watch; its body is the stream of events.
pub(crate) fn watch(media: MediaType, body: Body, warnings: &[String]) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = if media == MediaType::Protobuf {
        "application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        media.name()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    warn(headers, warnings);
    response
}

fn build(format: ResponseFormat, code: u16, body: Body, warnings: &[String]) -> Response<Body> {
    // A list of unknown length is a long one.
    let packed = format.gzip
        && body
            .bytes_left()
            .is_none_or(|bytes| bytes > GZIP_FROM_BYTES);
    let mut response = Response::new(if packed { body.gzip() } else { body });
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(format.accepted.media.name()),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    warn(headers, warnings);
    response
}

/// Encodes compact JSON in the negotiated media type.
fn laid_out(format: ResponseFormat, json: Bytes, ty: Option<&'static Type>) -> Body {
    Body::whole(match format.accepted.media {
        MediaType::Json if format.pretty => json::indent(&json).into(),
        MediaType::Json => with_newline(&json),
        MediaType::Yaml => encode::yaml(&json),
        MediaType::Protobuf => encode::protobuf(&json, ty).into(),
    })
}

/// Appends the newline to compact JSON. A copy costs less than a second frame.
fn with_newline(json: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(json.len() + 1);
    line.put_slice(json);
    line.put_u8(b'\n');
    line.freeze()
}

fn joined(list: &ObjectList) -> Body {
    let (head, open, items) = joined_parts(list);
    Body::joined(head, Separator::Comma(open), items, b"]}\n")
}

/// Returns the head of a list, what precedes each item, and the items. Items of a list omit their
/// kind and version, as upstream does.
fn joined_parts(list: &ObjectList) -> (Bytes, &'static str, Vec<Bytes>) {
    let kind = list.kind.strip_suffix("List").unwrap_or(&list.kind);
    let prefix = format!(r#"{{"kind":"{kind}","apiVersion":"{}","#, list.api_version);
    // If one item does not begin with its kind, all items keep theirs: those of one list look
    // alike.
    let items: Option<Vec<Bytes>> = list
        .items
        .iter()
        .map(|item| {
            item.starts_with(prefix.as_bytes())
                .then(|| item.slice(prefix.len()..))
        })
        .collect();
    let (open, items) = items.map_or_else(|| ("", list.items.clone()), |items| ("{", items));
    (
        encode::list_head(&list.kind, &list.api_version, &list.metadata),
        open,
        items,
    )
}

/// Returns the 406 for the metadata of one object that was requested of a list, or the other way
/// round.
fn wrong_count(
    format: ResponseFormat,
    resource: &Resource,
    asked: &str,
    is_list: bool,
) -> Response<Body> {
    let package = if resource.group.is_empty() {
        "core"
    } else {
        resource.group.split('.').next().unwrap_or_default()
    };
    let (word, suffix) = if is_list {
        ("is a list", "List")
    } else {
        ("is not a list", "")
    };
    let message = format!(
        "you requested {asked}, but the requested object {word} (*{package}.{}{suffix})",
        resource.kind
    );
    refusal(
        ResponseFormat {
            accepted: Accepted {
                transform: None,
                ..format.accepted
            },
            ..format
        },
        &Status::failure(406, "NotAcceptable", message, None),
        &[],
    )
}
