//! Content negotiation: the media types of responses and of request bodies.
//!
//! As upstream, two places refuse a client, with different messages. The router knows only the
//! media types of a route (`406: Not Acceptable`). The writer of the response also knows
//! transformations (`as=Table`) and streams (`only the following media types are accepted`).

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use kinds::status::{Details, Status};
use registry::request::{BodyForm, PatchKind};

/// Media types of objects.
const OBJECT_TYPES: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// Media types that collections add for watches.
const WATCH_TYPES: &str =
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// A media type of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MediaType {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

impl MediaType {
    const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    fn subtype(self) -> &'static str {
        &self.name()["application/".len()..]
    }
}

/// A transformation of objects before they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// `as=Table`
    Table {
        /// `v=v1beta1` instead of `v1`.
        beta: bool,
    },
    /// `as=PartialObjectMetadata`
    Metadata {
        /// `v=v1beta1` instead of `v1`.
        beta: bool,
    },
    /// `as=PartialObjectMetadataList`
    MetadataList {
        /// `v=v1beta1` instead of `v1`.
        beta: bool,
    },
}

/// The outcome of negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Media type of the response.
    pub(crate) media: MediaType,
    /// Transformation of objects; `None` sends them whole.
    pub(crate) transform: Option<Transform>,
}

/// The kind of response that is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseKind {
    /// Objects and lists.
    Objects {
        /// Whether the resource can be shown as a table.
        tables: bool,
    },
    /// A watch.
    Watch {
        /// Whether the resource can be shown as a table.
        tables: bool,
    },
    /// Documents and refusals, which have no transformations.
    Plain,
}

/// An entry of `Accept`.
#[derive(Debug)]
struct AcceptEntry<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
    parameters: &'a str,
}

impl<'a> AcceptEntry<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (kind, subtype) = match media.trim() {
            "*" => ("*", "*"),
            media => media.split_once('/')?,
        };
        let entry = Self {
            kind: kind.trim(),
            subtype: subtype.trim(),
            quality: 1.0,
            parameters,
        };
        let quality = entry
            .parameters()
            .find(|(key, _)| *key == "q")
            .and_then(|(_, value)| value.parse().ok());
        Some(Self {
            quality: quality.unwrap_or(1.0),
            ..entry
        })
    }

    fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.parameters
            .split(';')
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
    }

    fn matches(&self, media: MediaType) -> bool {
        match (self.kind, self.subtype) {
            ("*" | "application", "*") => true,
            ("application", subtype) => subtype == media.subtype(),
            _ => false,
        }
    }
}

/// Returns the entries of `Accept`, the most preferred first. Without any, everything is accepted.
fn entries(headers: &HeaderMap) -> Vec<AcceptEntry<'_>> {
    let mut entries: Vec<AcceptEntry<'_>> = accept(headers)
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .filter_map(AcceptEntry::parse)
        .collect();
    // The sort is stable: the order of the header decides between equals.
    entries.sort_by(|one, other| {
        let wild = |entry: &AcceptEntry<'_>| (entry.kind == "*", entry.subtype == "*");
        other
            .quality
            .total_cmp(&one.quality)
            .then_with(|| wild(one).cmp(&wild(other)))
    });
    entries
}

fn accept(headers: &HeaderMap) -> &str {
    headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Chooses the format of a response; `None` if the client accepts none.
pub(crate) fn choose(headers: &HeaderMap, answer: ResponseKind) -> Option<Accepted> {
    choose_among(headers, answer, true)
}

/// Chooses the format of a response; `None` if the client accepts none.
pub(crate) fn choose_among(
    headers: &HeaderMap,
    answer: ResponseKind,
    protobuf: bool,
) -> Option<Accepted> {
    let text = accept(headers);
    // Nearly every request sends one of these. They need no parsing.
    if text.is_empty() || text == "application/json" || text == "*/*" {
        return Some(Accepted {
            media: MediaType::Json,
            transform: None,
        });
    }
    let can = |accepted: &Accepted| {
        protobuf
            || accepted.media != MediaType::Protobuf
            || matches!(
                accepted.transform,
                Some(Transform::Metadata { .. } | Transform::MetadataList { .. })
            )
    };
    entries(headers).iter().find_map(|entry| {
        MediaType::ALL
            .into_iter()
            .find_map(|media| offer(entry, media, answer).filter(can))
    })
}

/// Returns the format if an entry of `Accept` and all its parameters allow this media type.
fn offer(entry: &AcceptEntry<'_>, media: MediaType, answer: ResponseKind) -> Option<Accepted> {
    if !entry.matches(media)
        || (matches!(answer, ResponseKind::Watch { .. }) && media == MediaType::Yaml)
    {
        return None;
    }
    let (mut target, mut group, mut version) = (None, "", "");
    for (key, value) in entry.parameters() {
        match key {
            "as" => target = Some(value),
            "g" => group = value,
            "v" => version = value,
            "stream"
                if !value.is_empty()
                    && (value != "watch"
                        || media == MediaType::Yaml
                        || answer == ResponseKind::Plain) =>
            {
                return None;
            }
            // Stream versions have never been supported upstream either.
            "sv" if !value.is_empty() => return None,
            _ => {}
        }
    }
    if target.is_none() && group.is_empty() && version.is_empty() {
        return Some(Accepted {
            media,
            transform: None,
        });
    }
    let tables = match answer {
        ResponseKind::Plain => return None,
        ResponseKind::Objects { tables } | ResponseKind::Watch { tables } => tables,
    };
    let beta = match (group, version) {
        ("meta.k8s.io", "v1") => false,
        ("meta.k8s.io", "v1beta1") => true,
        _ => return None,
    };
    let transform = match target? {
        "Table" if tables && media != MediaType::Protobuf => Transform::Table { beta },
        "PartialObjectMetadata" => Transform::Metadata { beta },
        "PartialObjectMetadataList" => Transform::MetadataList { beta },
        _ => return None,
    };
    Some(Accepted {
        media,
        transform: Some(transform),
    })
}

/// Returns the media type of a refusal: one that the client accepts, or else JSON.
pub(crate) fn for_refusal(headers: &HeaderMap) -> MediaType {
    choose(headers, ResponseKind::Objects { tables: true })
        .map_or(MediaType::Json, |accepted| accepted.media)
}

/// Media type of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteTypes {
    /// Objects.
    Objects,
    /// Objects, lists and watches.
    Collection,
    /// JSON only (`/version`).
    JsonOnly,
}

/// Refuses a request as the router does. It compares the names of media types, ignores parameters,
/// and knows no partial wildcards.
pub(crate) fn check_route(headers: &HeaderMap, types: RouteTypes) -> Result<(), Status> {
    let text = accept(headers);
    let is_accepted = |name: &str| match name {
        "*/*" | "application/json" => true,
        "application/yaml" | "application/vnd.kubernetes.protobuf" => types != RouteTypes::JsonOnly,
        _ => false,
    };
    if text.is_empty()
        || text
            .split(',')
            .any(|part| is_accepted(part.split(';').next().unwrap_or_default().trim()))
    {
        return Ok(());
    }
    let available = match types {
        RouteTypes::Objects => OBJECT_TYPES.to_owned(),
        RouteTypes::Collection => format!("{OBJECT_TYPES}, {WATCH_TYPES}"),
        RouteTypes::JsonOnly => "application/json".to_owned(),
    };
    let message = format!("406: Not Acceptable\n\nAvailable representations: {available}");
    Err(Status::failure(
        406,
        "NotAcceptable",
        message,
        Some(Details::default()),
    ))
}

/// Returns the refusal of the writer of a response.
pub(crate) fn not_acceptable(answer: ResponseKind) -> Status {
    let list = if matches!(answer, ResponseKind::Watch { .. }) {
        WATCH_TYPES
    } else {
        OBJECT_TYPES
    };
    Status::failure(
        406,
        "NotAcceptable",
        format!("only the following media types are accepted: {list}"),
        None,
    )
}

fn content_type(headers: &HeaderMap) -> &str {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Returns the format of a request body. Without a header it is JSON.
pub(crate) fn body_form(headers: &HeaderMap) -> Result<BodyForm, Status> {
    // Unlike the media types of patches, these ignore case.
    match content_type(headers).to_ascii_lowercase().as_str() {
        "" | "application/json" => Ok(BodyForm::Json),
        "application/yaml" => Ok(BodyForm::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(BodyForm::Protobuf),
        _ => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: {OBJECT_TYPES}"
            );
            Err(Status::failure(415, "UnsupportedMediaType", message, None))
        }
    }
}

/// Returns the kind of a patch.
pub(crate) fn patch_kind(headers: &HeaderMap) -> Result<PatchKind, Status> {
    match content_type(headers) {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::Strategic),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ => Err(Status::failure(
            415,
            "UnsupportedMediaType",
            "415: Unsupported Media Type",
            Some(Details::default()),
        )),
    }
}

/// Returns whether the client accepts gzip. As upstream, only the bare token counts.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let encodings = headers
        .get(http::header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    encodings.split(',').any(|token| token.trim() == "gzip")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepting(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(text))])
    }

    #[test]
    fn the_most_preferred_supported_entry_wins() {
        let objects = ResponseKind::Objects { tables: true };
        let table = Some(Transform::Table { beta: false });
        let metadata = Some(Transform::Metadata { beta: false });
        for (text, answer, expected) in [
            ("", objects, Some((MediaType::Json, None))),
            ("*/*", objects, Some((MediaType::Json, None))),
            ("application/*", objects, Some((MediaType::Json, None))),
            ("application/yaml", objects, Some((MediaType::Yaml, None))),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                objects,
                Some((MediaType::Protobuf, None)),
            ),
            (
                "application/json;q=0.1, application/yaml",
                objects,
                Some((MediaType::Yaml, None)),
            ),
            (
                "text/html, application/json;q=0.1",
                objects,
                Some((MediaType::Json, None)),
            ),
            (
                "*/*, application/yaml",
                objects,
                Some((MediaType::Yaml, None)),
            ),
            ("text/html", objects, None),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io",
                objects,
                Some((MediaType::Json, table)),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                ResponseKind::Objects { tables: false },
                Some((MediaType::Json, None)),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io",
                ResponseKind::Objects { tables: false },
                None,
            ),
            (
                "application/json;as=Table;v=v2;g=meta.k8s.io",
                objects,
                None,
            ),
            ("application/json;as=Table", objects, None),
            (
                "application/json;as=Chair;v=v1;g=meta.k8s.io",
                objects,
                None,
            ),
            (
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                objects,
                Some((MediaType::Json, metadata)),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io",
                ResponseKind::Plain,
                None,
            ),
            (
                "application/json;stream=watch",
                ResponseKind::Watch { tables: true },
                Some((MediaType::Json, None)),
            ),
            (
                "application/yaml;stream=watch",
                ResponseKind::Watch { tables: true },
                None,
            ),
            (
                "application/yaml",
                ResponseKind::Watch { tables: true },
                None,
            ),
        ] {
            let found = choose(&accepting(text), answer)
                .map(|accepted| (accepted.media, accepted.transform));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_router_compares_only_media_type_names() {
        for (text, types, is_accepted) in [
            ("", RouteTypes::Objects, true),
            ("application/json;as=Chair", RouteTypes::Objects, true),
            ("application/*", RouteTypes::Objects, false),
            ("text/html", RouteTypes::Collection, false),
            ("application/yaml", RouteTypes::JsonOnly, false),
            ("application/json, */*", RouteTypes::JsonOnly, true),
        ] {
            assert_eq!(
                check_route(&accepting(text), types).is_ok(),
                is_accepted,
                "{text}"
            );
        }
    }

    #[test]
    fn bodies_and_patches_have_their_own_types() {
        let sending = |text: &'static str| {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))])
        };
        assert_eq!(
            body_form(&sending("Application/JSON")).expect("json"),
            BodyForm::Json
        );
        assert_eq!(
            body_form(&sending("application/json; charset=utf-8")).expect("json"),
            BodyForm::Json
        );
        assert_eq!(body_form(&HeaderMap::new()).expect("json"), BodyForm::Json);
        assert_eq!(body_form(&sending("*/*")).expect_err("unknown").code, 415);
        assert_eq!(
            body_form(&sending("application/merge-patch+json"))
                .expect_err("a patch")
                .details,
            None
        );
        assert_eq!(
            patch_kind(&sending("application/merge-patch+json")).expect("merge"),
            PatchKind::Merge
        );
        assert_eq!(
            patch_kind(&sending("application/json"))
                .expect_err("no patch")
                .details,
            Some(Details::default())
        );
    }

    #[test]
    fn gzip_is_accepted_only_as_a_bare_token() {
        let with = |text: &'static str| {
            HeaderMap::from_iter([(
                http::header::ACCEPT_ENCODING,
                HeaderValue::from_static(text),
            )])
        };
        assert!(takes_gzip(&with("deflate, gzip")));
        assert!(!takes_gzip(&with("gzip;q=0.5")) && !takes_gzip(&HeaderMap::new()));
    }
}
