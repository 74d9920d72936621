//! `Status`, the API's response for outcomes and errors.
//!
//! The constructors carry reason, code, details and message of upstream's
//! `apimachinery/pkg/api/errors`. Nothing else in the workspace pairs a reason with a code. Fields
//! are declared in JSON order, which serde keeps.

mod fields;

use serde::{Deserialize, Serialize};

pub use fields::{FieldError, FieldErrorSource, FieldErrors, FieldFault};

/// Causes that an answer lists. People read a few, and programs count them; upstream has no such
/// bound, and answers of a body's size times ten.
pub(crate) const MAX_CAUSES: usize = 100;
/// Bytes of the causes that an answer lists, if there is more than one: each repeats a value.
const MAX_CAUSES_BYTES: usize = 64 * 1024;

/// The response to a request that has no object to return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always `Status`.
    #[serde(default)]
    pub kind: String,
    /// Always `v1`.
    #[serde(default)]
    pub api_version: String,
    /// List metadata: always present, normally empty.
    #[serde(default)]
    pub metadata: ListMeta,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The message, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The reason, for programs: `NotFound`. Empty for errors that upstream leaves untyped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the status is about. `Some` with empty details is written as `{}`, `None` is omitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP status code; 0 is omitted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

/// Metadata of a list or of a `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    /// The resource version of a list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// The token of the next page.
    #[serde(default, rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
    /// How many items follow this page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<i64>,
}

/// The object that a `Status` is about, and its faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group of the resource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The plural of the resource for most errors, the kind for `Invalid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Uid of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// All faults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// Seconds to wait before a retry, also sent as the `Retry-After` header; 0 for no advice.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub retry_after_seconds: u32,
}

/// One fault in the details of a `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCause {
    /// The reason, for programs: `FieldValueInvalid`, `DisruptionBudget`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The message, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field, with dots.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero_u32(seconds: &u32) -> bool {
    *seconds == 0
}

/// A resource as errors name it: group and plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupResource<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Plural. Upstream puts the singular or the kind here in some errors.
    pub resource: &'a str,
}

impl std::fmt::Display for GroupResource<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.group.is_empty() {
            out.write_str(self.resource)
        } else {
            write!(out, "{}.{}", self.resource, self.group)
        }
    }
}

impl GroupResource<'_> {
    fn details(self, name: &str) -> Details {
        Details {
            name: name.to_owned(),
            group: self.group.to_owned(),
            kind: self.resource.to_owned(),
            ..Details::default()
        }
    }
}

impl Status {
    /// Creates a success with an HTTP code; code 0 is omitted from the body.
    #[must_use]
    pub fn success(code: u16) -> Self {
        Self {
            status: "Success".to_owned(),
            ..Self::blank(code)
        }
    }

    fn blank(code: u16) -> Self {
        Self {
            kind: "Status".to_owned(),
            api_version: "v1".to_owned(),
            metadata: ListMeta::default(),
            status: String::new(),
            message: String::new(),
            reason: String::new(),
            details: None,
            code,
        }
    }

    /// Creates a failure of any kind. Prefer the constructors below: they pair reason and code.
    #[must_use]
    pub fn failure(
        code: u16,
        reason: &str,
        message: impl Into<String>,
        details: Option<Details>,
    ) -> Self {
        Self {
            status: "Failure".to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            details,
            ..Self::blank(code)
        }
    }

    /// Returns whether the status is `Failure`.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.status == "Failure"
    }

    /// 400 without details.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message, None)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized", None)
    }

    /// 403: `<resource> "<name>" is forbidden: <why>`.
    #[must_use]
    pub fn forbidden(resource: GroupResource<'_>, name: &str, why: impl std::fmt::Display) -> Self {
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {name:?} is forbidden: {why}")
        };
        Self::failure(403, "Forbidden", message, Some(resource.details(name)))
    }

    /// 404: `<resource> "<name>" not found`.
    #[must_use]
    pub fn not_found(resource: GroupResource<'_>, name: &str) -> Self {
        Self::failure(
            404,
            "NotFound",
            format!("{resource} {} not found", quoted(name)),
            Some(resource.details(name)),
        )
    }

    /// 404 of a path inside a served group that names no resource.
    #[must_use]
    pub fn no_such_resource() -> Self {
        Self::failure(
            404,
            "NotFound",
            "the server could not find the requested resource",
            Some(Details::default()),
        )
    }

    /// 405 of the router.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
            Some(Details::default()),
        )
    }

    /// 409: `<resource> "<name>" already exists`.
    #[must_use]
    pub fn already_exists(resource: GroupResource<'_>, name: &str) -> Self {
        Self::failure(
            409,
            "AlreadyExists",
            format!("{resource} {} already exists", quoted(name)),
            Some(resource.details(name)),
        )
    }

    /// 409: `Operation cannot be fulfilled on <resource> "<name>": <why>`.
    #[must_use]
    pub fn conflict(resource: GroupResource<'_>, name: &str, why: impl std::fmt::Display) -> Self {
        Self::failure(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {resource} {}: {why}",
                quoted(name)
            ),
            Some(resource.details(name)),
        )
    }

    /// 409 of optimistic concurrency.
    #[must_use]
    pub fn modified(resource: GroupResource<'_>, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 410 for a revision or token older than the history.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message, None)
    }

    /// 413 for a body over the limit (bytes).
    #[must_use]
    pub fn request_too_large(limit: usize) -> Self {
        Self::failure(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
            None,
        )
    }

    /// 422: `<Kind.group> "<name>" is invalid: <faults>`. `kind` goes into the details as it is.
    ///
    /// At most `MAX_CAUSES` faults are listed, and no more than `MAX_CAUSES_BYTES` of them; the
    /// message says how many more there are.
    #[must_use]
    pub fn invalid(kind: GroupResource<'_>, name: &str, faults: &[FieldError]) -> Self {
        Self::invalid_of(kind, name, faults, faults.len())
    }

    /// 422 for faults of which only the first were kept. The message counts all of them.
    #[must_use]
    pub fn invalid_fields(kind: GroupResource<'_>, name: &str, faults: &FieldErrors) -> Self {
        Self::invalid_of(kind, name, faults, faults.total())
    }

    fn invalid_of(
        kind: GroupResource<'_>,
        name: &str,
        faults: &[FieldError],
        total: usize,
    ) -> Self {
        let mut texts: Vec<String> = Vec::new();
        let mut causes = Vec::new();
        let mut bytes = 0;
        for fault in faults.iter().take(MAX_CAUSES) {
            bytes += fault.field.len() + fault.body.len();
            if !causes.is_empty() && bytes > MAX_CAUSES_BYTES {
                break;
            }
            causes.push(fault.cause());
            let text = fault.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        if causes.len() < total {
            texts.push(format!("and {} more", total - causes.len()));
        }
        let list = if texts.len() == 1 {
            texts.remove(0)
        } else {
            format!("[{}]", texts.join(", "))
        };
        let details = Details {
            causes,
            ..kind.details(name)
        };
        Self::failure(
            422,
            "Invalid",
            format!("{kind} {} is invalid: {list}", quoted(name)),
            Some(details),
        )
    }

    /// 429 with its cause; `retry_after_seconds` 0 sends no header.
    #[must_use]
    pub fn too_many_requests(
        message: impl Into<String>,
        causes: Vec<StatusCause>,
        retry_after_seconds: u32,
    ) -> Self {
        Self::failure(
            429,
            "TooManyRequests",
            message,
            Some(Details {
                causes,
                retry_after_seconds,
                ..Details::default()
            }),
        )
    }

    /// 500 with a reason: `Internal error occurred: <why>`.
    #[must_use]
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let cause = StatusCause {
            message: why.to_string(),
            ..StatusCause::default()
        };
        let details = Details {
            causes: vec![cause],
            ..Details::default()
        };
        Self::failure(
            500,
            "InternalError",
            format!("Internal error occurred: {why}"),
            Some(details),
        )
    }

    /// 500 as upstream answers errors that have no type: no reason, no details.
    #[must_use]
    pub fn untyped(message: impl Into<String>) -> Self {
        Self::failure(500, "", message, None)
    }

    /// 503.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message, None)
    }

    /// 408: the body of a request stopped arriving for so long.
    #[must_use]
    pub fn body_timeout(limit: std::time::Duration) -> Self {
        Self::failure(
            408,
            "Timeout",
            format!(
                "Timeout: the body of the request did not arrive: no data for {} seconds",
                limit.as_secs()
            ),
            Some(Details::default()),
        )
    }

    /// 504: `Timeout: <why>`.
    #[must_use]
    pub fn timeout(why: impl std::fmt::Display, retry_after_seconds: u32) -> Self {
        Self::failure(
            504,
            "Timeout",
            format!("Timeout: {why}"),
            Some(Details {
                retry_after_seconds,
                ..Details::default()
            }),
        )
    }
}

/// Quotes a string as Go's `%q` does, for the characters that names can hold.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            control if control.is_control() => out.push_str(&go_escape(control)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn go_escape(character: char) -> String {
    let code = u32::from(character);
    if code < 0x80 {
        format!("\\x{code:02x}")
    } else {
        format!("\\u{code:04x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: GroupResource<'_> = GroupResource {
        group: "",
        resource: "pods",
    };

    #[test]
    fn a_missing_pod_is_named_with_its_resource() {
        let status = Status::not_found(PODS, "web-1");
        assert_eq!(
            serde_json::to_string(&status).expect("serializes"),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"web-1\" not found","reason":"NotFound","details":{"name":"web-1","kind":"pods"},"code":404}"#
        );
    }

    #[test]
    fn several_faults_are_listed_once_in_the_message_and_each_in_the_causes() {
        let fault = FieldError::required("spec.x", "");
        let kind = GroupResource {
            group: "policy",
            resource: "PodDisruptionBudget",
        };
        let status = Status::invalid(
            kind,
            "b",
            &[
                fault.clone(),
                fault.clone(),
                FieldError::forbidden("spec.y", "no"),
            ],
        );
        assert_eq!(
            status.message,
            r#"PodDisruptionBudget.policy "b" is invalid: [spec.x: Required value, spec.y: Forbidden: no]"#
        );
        assert_eq!(status.details.expect("details").causes.len(), 3);
    }

    #[test]
    fn an_untyped_error_has_no_reason_and_no_details() {
        let text = serde_json::to_string(&Status::untyped("x")).expect("serializes");
        assert_eq!(
            text,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"x","code":500}"#
        );
    }
}
