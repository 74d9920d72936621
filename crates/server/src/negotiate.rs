//! Which form an answer takes and in which form a body came.
//!
//! There are two judges with different words, as upstream has them: the router knows only the media
//! types of a route (`406: Not Acceptable`), the one who writes the answer also knows
//! transformations (`as=Table`) and streams (`only the following media types are accepted`).

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use kinds::status::{Details, Status};
use registry::request::{BodyForm, PatchKind};

/// Media types in which objects are read and written.
const OBJECT_TYPES: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// The ones that a collection adds for watches.
const WATCH_TYPES: &str =
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// A media type of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Media {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

impl Media {
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

/// What an object is turned into before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// `as=Table`; true for the older `v1beta1`.
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
    /// The media type.
    pub(crate) media: Media,
    /// What to turn objects into.
    pub(crate) transform: Option<Transform>,
}

/// What kind of answer is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Objects and lists. `tables` where the resource can be shown as a table.
    Objects {
        /// Whether `as=Table` is possible.
        tables: bool,
    },
    /// A watch.
    Watch {
        /// Whether `as=Table` is possible.
        tables: bool,
    },
    /// Documents and refusals, which are never transformed.
    Plain,
}

/// One entry of `Accept`.
#[derive(Debug)]
struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
    parameters: &'a str,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (kind, subtype) = match media.trim() {
            "*" => ("*", "*"),
            media => media.split_once('/')?,
        };
        let clause = Self {
            kind: kind.trim(),
            subtype: subtype.trim(),
            quality: 1.0,
            parameters,
        };
        let quality = clause
            .parameters()
            .find(|(key, _)| *key == "q")
            .and_then(|(_, value)| value.parse().ok());
        Some(Self {
            quality: quality.unwrap_or(1.0),
            ..clause
        })
    }

    fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.parameters
            .split(';')
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
    }

    fn matches(&self, media: Media) -> bool {
        match (self.kind, self.subtype) {
            ("*" | "application", "*") => true,
            ("application", subtype) => subtype == media.subtype(),
            _ => false,
        }
    }
}

/// The entries of `Accept` by preference; without any, everything is welcome.
fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept(headers)
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .filter_map(Clause::parse)
        .collect();
    // The sort is stable: among equals the order of the header decides.
    clauses.sort_by(|one, other| {
        let wild = |clause: &Clause<'_>| (clause.kind == "*", clause.subtype == "*");
        other
            .quality
            .total_cmp(&one.quality)
            .then_with(|| wild(one).cmp(&wild(other)))
    });
    clauses
}

fn accept(headers: &HeaderMap) -> &str {
    headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Chooses the form of an answer; none when the client accepts nothing that there is.
pub(crate) fn choose(headers: &HeaderMap, answer: Answer) -> Option<Accepted> {
    choose_among(headers, answer, true)
}

/// The same for objects that may have no protobuf form of their own; their metadata always has one.
pub(crate) fn choose_among(
    headers: &HeaderMap,
    answer: Answer,
    protobuf: bool,
) -> Option<Accepted> {
    let text = accept(headers);
    // Nearly every request says one of these, so they do not take the long way.
    if text.is_empty() || text == "application/json" || text == "*/*" {
        return Some(Accepted {
            media: Media::Json,
            transform: None,
        });
    }
    let can = |accepted: &Accepted| {
        protobuf
            || accepted.media != Media::Protobuf
            || matches!(
                accepted.transform,
                Some(Transform::Metadata { .. } | Transform::MetadataList { .. })
            )
    };
    clauses(headers).iter().find_map(|clause| {
        Media::ALL
            .into_iter()
            .find_map(|media| offer(clause, media, answer).filter(can))
    })
}

/// Whether this entry takes this media type, with all that its parameters ask.
fn offer(clause: &Clause<'_>, media: Media, answer: Answer) -> Option<Accepted> {
    if !clause.matches(media) || (matches!(answer, Answer::Watch { .. }) && media == Media::Yaml) {
        return None;
    }
    let (mut target, mut group, mut version) = (None, "", "");
    for (key, value) in clause.parameters() {
        match key {
            "as" => target = Some(value),
            "g" => group = value,
            "v" => version = value,
            "stream"
                if !value.is_empty()
                    && (value != "watch" || media == Media::Yaml || answer == Answer::Plain) =>
            {
                return None;
            }
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
        Answer::Plain => return None,
        Answer::Objects { tables } | Answer::Watch { tables } => tables,
    };
    let beta = match (group, version) {
        ("meta.k8s.io", "v1") => false,
        ("meta.k8s.io", "v1beta1") => true,
        _ => return None,
    };
    let transform = match target? {
        "Table" if tables && media != Media::Protobuf => Transform::Table { beta },
        "PartialObjectMetadata" => Transform::Metadata { beta },
        "PartialObjectMetadataList" => Transform::MetadataList { beta },
        _ => return None,
    };
    Some(Accepted {
        media,
        transform: Some(transform),
    })
}

/// The form of a refusal: what the client accepts, or else JSON.
pub(crate) fn for_refusal(headers: &HeaderMap) -> Media {
    choose(headers, Answer::Objects { tables: true }).map_or(Media::Json, |accepted| accepted.media)
}

/// What a route can answer, as the router judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteTypes {
    /// Objects.
    Objects,
    /// Objects, lists and watches.
    Collection,
    /// JSON and nothing else (`/version`).
    JsonOnly,
}

/// The router's judgement: only names of media types count, parameters do not, nor partial
/// wildcards.
pub(crate) fn check_route(headers: &HeaderMap, types: RouteTypes) -> Result<(), Status> {
    let text = accept(headers);
    let welcome = |name: &str| match name {
        "*/*" | "application/json" => true,
        "application/yaml" | "application/vnd.kubernetes.protobuf" => types != RouteTypes::JsonOnly,
        _ => false,
    };
    if text.is_empty()
        || text
            .split(',')
            .any(|part| welcome(part.split(';').next().unwrap_or_default().trim()))
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

/// The writer's refusal.
pub(crate) fn not_acceptable(answer: Answer) -> Status {
    let list = if matches!(answer, Answer::Watch { .. }) {
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

/// The form of a body; without a header it is JSON.
pub(crate) fn body_form(headers: &HeaderMap) -> Result<BodyForm, Status> {
    // Unlike the languages of patches, these are read without regard to case.
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

/// The language of a patch.
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

/// True when the client takes gzip: a token of the header is exactly that.
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
    fn the_best_entry_that_can_be_served_wins() {
        let objects = Answer::Objects { tables: true };
        let table = Some(Transform::Table { beta: false });
        let metadata = Some(Transform::Metadata { beta: false });
        for (text, answer, expected) in [
            ("", objects, Some((Media::Json, None))),
            ("*/*", objects, Some((Media::Json, None))),
            ("application/*", objects, Some((Media::Json, None))),
            ("application/yaml", objects, Some((Media::Yaml, None))),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                objects,
                Some((Media::Protobuf, None)),
            ),
            (
                "application/json;q=0.1, application/yaml",
                objects,
                Some((Media::Yaml, None)),
            ),
            (
                "text/html, application/json;q=0.1",
                objects,
                Some((Media::Json, None)),
            ),
            ("*/*, application/yaml", objects, Some((Media::Yaml, None))),
            ("text/html", objects, None),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io",
                objects,
                Some((Media::Json, table)),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Answer::Objects { tables: false },
                Some((Media::Json, None)),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io",
                Answer::Objects { tables: false },
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
                Some((Media::Json, metadata)),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io",
                Answer::Plain,
                None,
            ),
            (
                "application/json;stream=watch",
                Answer::Watch { tables: true },
                Some((Media::Json, None)),
            ),
            (
                "application/yaml;stream=watch",
                Answer::Watch { tables: true },
                None,
            ),
            ("application/yaml", Answer::Watch { tables: true }, None),
        ] {
            let found = choose(&accepting(text), answer)
                .map(|accepted| (accepted.media, accepted.transform));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_router_only_looks_at_names() {
        for (text, types, welcome) in [
            ("", RouteTypes::Objects, true),
            ("application/json;as=Chair", RouteTypes::Objects, true),
            ("application/*", RouteTypes::Objects, false),
            ("text/html", RouteTypes::Collection, false),
            ("application/yaml", RouteTypes::JsonOnly, false),
            ("application/json, */*", RouteTypes::JsonOnly, true),
        ] {
            assert_eq!(
                check_route(&accepting(text), types).is_ok(),
                welcome,
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
    fn gzip_is_only_taken_by_its_bare_name() {
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
