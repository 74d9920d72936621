//! Decoding of a body into the kind that the path expects, with upstream's message for each
//! failure.
//!
//! `kinds` decodes the bytes. This module determines the kind of the body, and handles unknown
//! fields by the `fieldValidation` of the request. It does not access the store.

use std::borrow::Cow;

use kinds::facts::{Subresource, Type};
use kinds::json::TypeMeta;
use kinds::status::Status;
use kinds::{Tree, json, protobuf, yaml};

use crate::custom::CustomVersion;
use crate::request::{BodyForm, DecodedObject, FieldValidation, Refusal, RequestBody};
use crate::resource::ResourceRef;
use crate::schema;
use crate::tree;

/// The kind that a path expects in a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedKind<'a> {
    /// Group of the kind.
    pub(crate) group: &'a str,
    /// Version of the kind.
    pub(crate) version: &'a str,
    /// Name of the kind.
    pub(crate) kind: &'a str,
    /// The type of its objects.
    pub(crate) ty: &'static Type,
    /// The compiled version, if the kind is custom.
    pub(crate) custom: Option<&'a CustomVersion>,
    /// Other group versions of this kind that a body may have.
    pub(crate) also: &'static [&'static str],
}

/// The name of the scheme in upstream's errors: the line of its source that creates it.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";
/// Upper bound on the bytes of an undecodable body that an error quotes.
const SHOWN: usize = 30;

impl<'a> ExpectedKind<'a> {
    /// Returns the kind of a resource's objects.
    pub(crate) fn of(resource: &'a ResourceRef) -> Self {
        Self {
            group: &resource.group,
            version: &resource.version,
            kind: &resource.kind,
            ty: resource.ty,
            custom: resource.custom().map(AsRef::as_ref),
            also: &[],
        }
    }

    /// Returns the kind of a subresource's body.
    pub(crate) fn of_subresource(sub: &'a Subresource) -> Self {
        Self {
            group: &sub.group,
            version: &sub.version,
            kind: &sub.kind,
            ty: sub.ty,
            custom: None,
            also: &[],
        }
    }

    fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }
}

/// Returns `group/version`, or the version alone in the core group.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// Adds the warnings about unknown fields to a refusal. Clients get them with errors too.
pub(crate) fn with_warnings(mut refusal: Refusal, warnings: &[String]) -> Refusal {
    if refusal.warnings.is_empty() {
        refusal.warnings = warnings.to_vec();
    }
    refusal
}

/// Decodes a body into the expected kind. The result has the expected `kind` and `apiVersion`.
///
/// Returns upstream's error when the body is malformed, has another kind, or has unknown fields
/// under strict validation.
pub(crate) fn decode(
    body: &RequestBody,
    expected: ExpectedKind<'_>,
    validation: FieldValidation,
) -> Result<DecodedObject, Refusal> {
    // Nearly every body is valid. All others take the slow path, which finds upstream's message.
    if body.form == BodyForm::Json
        && expected.custom.is_none()
        && let Ok(json::DecodedTree { mut tree, warnings }) = json::decode(&body.bytes, expected.ty)
        && (warnings.is_empty() || validation != FieldValidation::Strict)
        && is_of(&tree, expected)
    {
        name_kind(&mut tree, expected);
        let warnings = if validation == FieldValidation::Ignore {
            Vec::new()
        } else {
            warnings
        };
        return Ok(DecodedObject { tree, warnings });
    }
    decode_with_reasons(body, expected, validation)
}

/// Returns true when an object has the expected kind, or names no kind.
fn is_of(object: &Tree, expected: ExpectedKind<'_>) -> bool {
    let (api_version, kind) = (
        tree::text(object, &["apiVersion"]),
        tree::text(object, &["kind"]),
    );
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    (kind.is_empty() || kind == expected.kind)
        && (api_version.is_empty() || (group, version) == (expected.group, expected.version))
}

fn name_kind(object: &mut Tree, expected: ExpectedKind<'_>) {
    tree::put(object, &["apiVersion"], expected.api_version());
    tree::put(object, &["kind"], expected.kind);
}

/// Decodes a body in upstream's order of steps, so that errors have upstream's messages.
fn decode_with_reasons(
    body: &RequestBody,
    expected: ExpectedKind<'_>,
    validation: FieldValidation,
) -> Result<DecodedObject, Refusal> {
    let (api_version, kind) = type_meta(body, expected)?;
    let version = api_version
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let shown_kind = kind.clone();
    let fail = |why: &str| -> Refusal {
        Status::bad_request(format!(
            "{shown_kind} in version {version:?} cannot be handled as a {}: {why}",
            expected.kind
        ))
        .into()
    };
    if kind != expected.kind {
        return Err(fail(&unconvertible(&api_version, &kind, expected)));
    }
    if api_version != expected.api_version() && !expected.also.contains(&api_version.as_str()) {
        return Err(
            if expected.custom.is_some() || registered(&api_version, &kind) {
                Status::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({})",
                expected.api_version()
            ))
            .into()
            } else {
                fail(&unregistered(&api_version, &kind))
            },
        );
    }
    let (mut tree, warnings) = read(body, expected).map_err(|why| fail(&why))?;
    name_kind(&mut tree, expected);
    judge(DecodedObject { tree, warnings }, validation, |list| {
        fail(&format!("strict decoding error: {list}"))
    })
}

/// Drops the warnings about unknown and duplicate fields, keeps them, or turns them into a refusal,
/// as `validation` requires.
pub(crate) fn judge(
    decoded: DecodedObject,
    validation: FieldValidation,
    refuse: impl FnOnce(&str) -> Refusal,
) -> Result<DecodedObject, Refusal> {
    match validation {
        FieldValidation::Ignore => Ok(DecodedObject {
            tree: decoded.tree,
            warnings: Vec::new(),
        }),
        FieldValidation::Strict if !decoded.warnings.is_empty() => {
            Err(refuse(&decoded.warnings.join(", ")))
        }
        FieldValidation::Strict | FieldValidation::Warn => Ok(DecodedObject {
            warnings: line_by_line(decoded.warnings),
            ..decoded
        }),
    }
}

/// Splits the warning about keys that a YAML document has twice into one for each.
pub(crate) fn line_by_line(warnings: Vec<String>) -> Vec<String> {
    let lines = |warning: String| match warning.strip_prefix(yaml::DUPLICATES) {
        Some(lines) => lines
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect(),
        None => vec![warning],
    };
    warnings.into_iter().flat_map(lines).collect()
}

fn read(body: &RequestBody, expected: ExpectedKind<'_>) -> Result<(Tree, Vec<String>), String> {
    let decoded = match body.form {
        BodyForm::Json => decode_json(&body.bytes, expected)?,
        BodyForm::Yaml if expected.custom.is_some() => {
            let decoded = yaml::decode_untyped(&body.bytes).map_err(|error| error.to_string())?;
            shaped(decoded, expected)?
        }
        BodyForm::Yaml => {
            yaml::decode(&body.bytes, expected.ty).map_err(|error| error.to_string())?
        }
        BodyForm::Protobuf if expected.custom.is_some() => {
            return Err("custom resources have no protobuf form".to_owned());
        }
        BodyForm::Protobuf => {
            protobuf::decode(&body.bytes, expected.ty).map_err(|error| error.to_string())?
        }
    };
    Ok((object_or_empty(decoded.tree), decoded.warnings))
}

/// Decodes JSON as the expected kind. Fields that the schema of a custom kind does not declare are
/// removed. This function does not validate the object.
pub(crate) fn decode_json(
    bytes: &[u8],
    expected: ExpectedKind<'_>,
) -> Result<json::DecodedTree, String> {
    if expected.custom.is_some() {
        return shaped(
            json::decode_untyped(bytes).map_err(|error| error.to_string())?,
            expected,
        );
    }
    json::decode(bytes, expected.ty).map_err(|error| error.to_string())
}

fn shaped(
    mut decoded: json::DecodedTree,
    expected: ExpectedKind<'_>,
) -> Result<json::DecodedTree, String> {
    if decoded.tree.is_null() {
        decoded.tree = Tree::Object(kinds::tree::Map::new());
    }
    let unknown = normalize(&mut decoded.tree, expected)?;
    decoded.warnings.extend(unknown);
    Ok(decoded)
}

/// Brings an object into the canonical form of its kind. Unknown members are removed and returned
/// as warnings.
pub(crate) fn normalize(
    object: &mut Tree,
    expected: ExpectedKind<'_>,
) -> Result<Vec<String>, String> {
    let Some(version) = expected.custom else {
        return json::normalize(object, expected.ty).map_err(|error| error.to_string());
    };
    let Tree::Object(members) = object else {
        return Err(format!(
            "json: cannot unmarshal into Go value of type {}",
            expected.kind
        ));
    };
    // Only the members that every object has are typed in a custom object.
    let metadata = members
        .remove("metadata")
        .filter(|metadata| !metadata.is_null());
    let mut own =
        kinds::tree::Map::from_iter(metadata.map(|metadata| ("metadata".to_owned(), metadata)));
    for name in ["apiVersion", "kind"] {
        own.extend(members.remove(name).map(|value| (name.to_owned(), value)));
    }
    let mut own = Tree::Object(own);
    let mut warnings = json::normalize(&mut own, expected.ty).map_err(|error| error.to_string())?;
    let mut unknown = Vec::new();
    schema::prune(object, &version.schema, &mut unknown);
    warnings.extend(
        unknown
            .into_iter()
            .map(|path| format!("unknown field {}", kinds::status::quoted(&path))),
    );
    if let (Tree::Object(members), Tree::Object(own)) = (object, own) {
        members.extend(own);
    }
    Ok(warnings)
}

/// Returns the 415 for a strategic merge patch of a custom kind.
pub(crate) fn no_strategic_patch() -> Refusal {
    let types =
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {types}"
    );
    Status::failure(415, "UnsupportedMediaType", message, None).into()
}

/// Replaces `null` by an empty object, as Go decodes it.
fn object_or_empty(tree: Tree) -> Tree {
    if tree.is_null() {
        Tree::Object(kinds::tree::Map::new())
    } else {
        tree
    }
}

/// Returns the `apiVersion` and kind of a body. For built-in kinds, missing values come from the
/// path; a custom object without them is an error.
fn type_meta(body: &RequestBody, expected: ExpectedKind<'_>) -> Result<(String, String), Refusal> {
    let found = match body.form {
        BodyForm::Json => json::peek_type_meta(&body.bytes).map_err(|error| error.to_string()),
        BodyForm::Yaml => yaml::to_json(&body.bytes)
            .and_then(|(json, _)| json::peek_type_meta(&json))
            .map_err(|error| error.to_string()),
        BodyForm::Protobuf => {
            protobuf::peek_type_meta(&body.bytes).map_err(|error| error.to_string())
        }
    };
    let unrecognized = |why: &str| -> Refusal {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            expected.kind,
            excerpt(body)
        ))
        .into()
    };
    let TypeMeta { api_version, kind } = found.map_err(|why| unrecognized(&why))?;
    if api_version.matches('/').count() > 1 {
        return Err(unrecognized(&format!(
            "unexpected GroupVersion string: {api_version}"
        )));
    }
    if expected.custom.is_some() {
        // A custom object must name its kind.
        if kind.is_empty() {
            return Err(unrecognized(&format!(
                "Object 'Kind' is missing in '{}'",
                as_json(body)
            )));
        }
        if api_version.is_empty() {
            let wanted = expected.api_version();
            let text = format!(
                "the API version in the data () does not match the expected API version ({wanted})"
            );
            return Err(Status::bad_request(text).into());
        }
    }
    let api_version = if api_version.is_empty() {
        expected.api_version()
    } else {
        api_version
    };
    let kind = if kind.is_empty() {
        expected.kind.to_owned()
    } else {
        kind
    };
    Ok((api_version, kind))
}

/// Returns a body as JSON, for an error. A body that cannot be converted is returned unchanged.
fn as_json(body: &RequestBody) -> String {
    let json = if body.form == BodyForm::Yaml {
        yaml::to_json(&body.bytes).map(|(json, _)| json).ok()
    } else {
        None
    };
    String::from_utf8_lossy(json.as_deref().unwrap_or(&body.bytes)).into_owned()
}

/// Returns the first bytes of a body as errors quote them: as a string if the body starts with `{`,
/// otherwise in hexadecimal.
fn excerpt(body: &RequestBody) -> Cow<'static, str> {
    let bytes = &body.bytes[..body.bytes.len().min(SHOWN)];
    let more = if body.bytes.len() > SHOWN { " ..." } else { "" };
    if bytes.is_empty() {
        return Cow::Borrowed("<empty>");
    }
    let shown = if bytes[0] == b'{' {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    Cow::Owned(shown + more)
}

/// Kinds that every API group decodes in addition to its own.
const META_KINDS: &[&str] = &[
    "DeleteOptions",
    "CreateOptions",
    "UpdateOptions",
    "PatchOptions",
    "GetOptions",
    "ListOptions",
    "WatchEvent",
];
/// Kinds that only v1 of the core group decodes.
const CORE_META_KINDS: &[&str] = &[
    "Status",
    "APIVersions",
    "APIGroupList",
    "APIGroup",
    "APIResourceList",
];

/// Checks that a body has the expected kind and version. The error has upstream's message.
pub(crate) fn check_type(
    api_version: &str,
    kind: &str,
    expected: ExpectedKind<'_>,
) -> Result<(), String> {
    if kind == expected.kind && api_version == expected.api_version() {
        return Ok(());
    }
    Err(unconvertible(api_version, kind, expected))
}

fn registered(api_version: &str, kind: &str) -> bool {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if kinds::resource_by_kind(group, version, kind).is_some() {
        return true;
    }
    let subresource_kind = kinds::resources()
        .iter()
        .flat_map(|resource| resource.subresources.iter())
        .any(|sub| sub.group == group && sub.version == version && sub.kind == kind);
    let served = kinds::resources()
        .iter()
        .any(|resource| resource.group == group && resource.version == version);
    let old_budget =
        api_version == "policy/v1beta1" && (kind == "PodDisruptionBudget" || kind == "Eviction");
    subresource_kind
        || old_budget
        || (served && META_KINDS.contains(&kind))
        || (api_version == "v1" && CORE_META_KINDS.contains(&kind))
}

fn unregistered(api_version: &str, kind: &str) -> String {
    format!("no kind {kind:?} is registered for version {api_version:?} in scheme {SCHEME:?}")
}

fn unconvertible(api_version: &str, kind: &str, expected: ExpectedKind<'_>) -> String {
    if !registered(api_version, kind) {
        return unregistered(api_version, kind);
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let internal = match expected.group.split('.').next().unwrap_or_default() {
        "" => "core",
        group => group,
    };
    format!(
        "converting ({version}.{kind}) to ({internal}.{}): unknown conversion",
        expected.kind
    )
}
