//! Sends one eviction or deletion and classifies the response.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kinds::path::segment;
use kube::core::Status;
use kube::{Client, Error, ResourceExt as _};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// The maximum length of an unexpected response body in a message, in characters.
const MAX_EXCERPT: usize = 120;

/// A reference to the pod to evict. The uid is a precondition of every request, so that a
/// replacement with the same name is never evicted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PodRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Uid of the pod.
    pub uid: String,
}

impl PodRef {
    /// Returns the reference to a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
        }
    }

    /// Returns the path of the pod, which names cannot lead astray.
    fn path(&self) -> String {
        format!(
            "/api/v1/namespaces/{}/pods/{}",
            segment(&self.namespace),
            segment(&self.name)
        )
    }
}

/// The options of an eviction or deletion request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictionOptions {
    /// The grace period in seconds, `None` for the pod's own.
    pub grace_seconds: Option<i64>,
    /// Validate only; the server changes nothing.
    pub dry_run: bool,
    /// Send `policy/v1beta1`, for servers without `policy/v1`.
    pub beta: bool,
}

/// The classified response to an eviction or deletion request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvictionResponse {
    /// 2xx with an API object: the server accepted the request, and the pod terminates.
    Granted,
    /// 429: refused for now, by a budget or by rate limiting. Retry.
    Refused(EvictionRefusal),
    /// 404, or the uid does not match: the pod no longer exists.
    Gone,
    /// A failure that may be temporary. Retry up to [`FaultClass::max_tries`] times.
    Fault(EvictionFault),
    /// A failure that no retry resolves, with its message.
    Fatal(String),
}

/// The answer 429 to an eviction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvictionRefusal {
    /// The message of the Status, which names no budget.
    pub message: String,
    /// The messages of the causes with reason `DisruptionBudget`, which name the budgets. Empty
    /// when the request was rate-limited.
    pub causes: Vec<String>,
    /// The server's `retryAfterSeconds`, 0 when absent.
    pub retry_after_seconds: u32,
}

impl EvictionRefusal {
    /// Returns the names of the budgets in the causes.
    #[must_use]
    pub fn budgets(&self) -> Vec<String> {
        let named = |cause: &String| {
            Some(
                cause
                    .strip_prefix("The disruption budget ")?
                    .split_whitespace()
                    .next()?
                    .to_owned(),
            )
        };
        self.causes.iter().filter_map(named).collect()
    }
}

/// A failed request that is worth a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionFault {
    /// The class, which decides how often to retry.
    pub class: FaultClass,
    /// The server's message, or that of the transport.
    pub message: String,
    /// The server's `retryAfterSeconds`, 0 when absent.
    pub retry_after_seconds: u32,
}

/// The class of a failed request. It decides how often and after how long to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultClass {
    /// An admission webhook denied the eviction. Operators do so while they move the pod
    /// themselves, which takes time.
    Denied,
    /// The server or a webhook failed (5xx).
    #[serde(rename = "broken")]
    ServerError,
    /// The server cannot be reached, times out, or answers without an API object.
    Unreachable,
    /// The namespace is being deleted, and the pod with it. Retried until the pod is gone.
    #[serde(rename = "namespace-ends")]
    NamespaceTerminating,
    /// The request conflicted with a concurrent write.
    Conflict,
}

impl FaultClass {
    /// Returns how many consecutive failures make the eviction fail, `None` for no limit.
    #[must_use]
    pub fn max_tries(self) -> Option<u32> {
        match self {
            // About ten minutes with the pauses below: enough for an operator to move a pod.
            Self::Denied => Some(25),
            // About four minutes: enough for a webhook or an API server to restart.
            Self::ServerError | Self::Unreachable => Some(12),
            Self::Conflict => Some(20),
            Self::NamespaceTerminating => None,
        }
    }

    /// Returns the seconds before the next request, after this many consecutive failures.
    #[must_use]
    pub fn pause_seconds(self, faults: u32) -> i64 {
        match self {
            Self::NamespaceTerminating => 5,
            Self::Conflict => 1,
            Self::Denied | Self::ServerError | Self::Unreachable => {
                1 << faults.min(6).saturating_sub(1)
            }
        }
        .min(30)
    }
}

/// What a conflict says when another pod has the name by now: the storage layer's text, and the
/// text of the deletion's own check.
const REPLACED: [&str; 2] = ["UID in precondition", "the UID in the precondition"];

/// Sends one eviction request, without retries. Errors of the transport are classified too.
pub async fn evict(client: &Client, target: &PodRef, options: EvictionOptions) -> EvictionResponse {
    let path = format!("{}/eviction", target.path());
    let body = json!({
        "apiVersion": if options.beta { "policy/v1beta1" } else { "policy/v1" },
        "kind": "Eviction",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "deleteOptions": delete_options(target, options),
    });
    send(client, http::Request::post(path), &body).await
}

/// Sends one delete request for the pod. Budgets do not apply to it.
pub async fn delete(
    client: &Client,
    target: &PodRef,
    options: EvictionOptions,
) -> EvictionResponse {
    let mut body = delete_options(target, options);
    body["apiVersion"] = json!("v1");
    body["kind"] = json!("DeleteOptions");
    send(client, http::Request::delete(target.path()), &body).await
}

fn delete_options(target: &PodRef, options: EvictionOptions) -> Value {
    let mut body = json!({"preconditions": {"uid": target.uid}});
    if let Some(seconds) = options.grace_seconds {
        body["gracePeriodSeconds"] = json!(seconds);
    }
    if options.dry_run {
        body["dryRun"] = json!(["All"]);
    }
    body
}

async fn send(client: &Client, request: http::request::Builder, body: &Value) -> EvictionResponse {
    let request = request
        .header("Content-Type", "application/json")
        .body(body.to_string().into_bytes());
    let answer = match request {
        Ok(request) => client.request_text(request).await,
        Err(error) => Err(Error::HttpError(error)),
    };
    match answer {
        Ok(body) => granted(&body),
        Err(error) => classify(&error),
    }
}

/// Accepts a 2xx response only when it contains an API object: proxies and login pages answer 200
/// to any request.
fn granted(body: &str) -> EvictionResponse {
    let object = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(body);
    if object.is_ok_and(|object| object.contains_key("kind")) {
        return EvictionResponse::Granted;
    }
    let start: String = body
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(MAX_EXCERPT)
        .collect();
    let message = format!("unexpected response: not a Kubernetes object: {start}");
    EvictionResponse::Fault(EvictionFault {
        class: FaultClass::Unreachable,
        message,
        retry_after_seconds: 0,
    })
}

fn classify(error: &Error) -> EvictionResponse {
    let Error::Api(status) = error else {
        let message = message_of(error);
        return match error {
            // Missing credentials need the user.
            Error::Auth(_) | Error::HttpError(_) | Error::BuildRequest(_) => {
                EvictionResponse::Fatal(message)
            }
            _ => EvictionResponse::Fault(EvictionFault {
                class: FaultClass::Unreachable,
                message,
                retry_after_seconds: 0,
            }),
        };
    };
    let retry_after_seconds = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    let fault = |class| {
        EvictionResponse::Fault(EvictionFault {
            class,
            message: status.message.clone(),
            retry_after_seconds,
        })
    };
    // Denials of webhooks have no reason of their own; only the message shows them.
    let webhook =
        status.message.contains("admission webhook") || status.message.contains("calling webhook");
    match status.code {
        404 => EvictionResponse::Gone,
        401 => EvictionResponse::Fatal(format!(
            "{} (the login may have expired: log in and run the same command again to continue)",
            status.message
        )),
        409 if REPLACED.iter().any(|text| status.message.contains(text)) => EvictionResponse::Gone,
        409 => fault(FaultClass::Conflict),
        429 => EvictionResponse::Refused(refused(status)),
        403 if has_cause(status, "NamespaceTerminating") => fault(FaultClass::NamespaceTerminating),
        500 if status.message.contains("more than one PodDisruptionBudget") => {
            EvictionResponse::Fatal(status.message.clone())
        }
        400..500 if webhook => fault(FaultClass::Denied),
        // Upstream gives up after some conflicting writes of the budget, when many evictions
        // charge it at the same time.
        504 if status.message.contains("due to conflicts") => fault(FaultClass::Conflict),
        500.. => fault(FaultClass::ServerError),
        _ => EvictionResponse::Fatal(status.message.clone()),
    }
}

/// Returns the server's message, or that of the transport followed by its causes, without the
/// prefixes that the client library adds.
pub(crate) fn message_of(error: &Error) -> String {
    if let Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text.trim_start_matches("ServiceError: ")
        .trim_start_matches("HyperError: ")
        .to_owned()
}

fn has_cause(status: &Status, reason: &str) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
}

fn refused(status: &Status) -> EvictionRefusal {
    let details = status.details.as_ref();
    let causes = details.into_iter().flat_map(|details| &details.causes);
    EvictionRefusal {
        message: status.message.clone(),
        causes: causes
            .filter(|cause| cause.reason == "DisruptionBudget")
            .map(|cause| cause.message.clone())
            .collect(),
        retry_after_seconds: details.map_or(0, |details| details.retry_after_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: serde_json::Value) -> EvictionResponse {
        classify(&Error::Api(
            serde_json::from_value(status).expect("a status"),
        ))
    }

    #[test]
    fn only_causes_of_budgets_are_kept_and_name_their_budgets() {
        let cause = "The disruption budget web needs 2 healthy pods and has 2 currently";
        let EvictionResponse::Refused(refused) = answer(json!({
            "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "no",
            "details": {"retryAfterSeconds": 10,
                "causes": [{"reason": "DisruptionBudget", "message": cause},
                {"reason": "Other", "message": "x"}]},
        })) else {
            panic!("not refused")
        };
        assert_eq!(
            refused,
            EvictionRefusal {
                message: "no".into(),
                causes: vec![cause.into()],
                retry_after_seconds: 10
            }
        );
        assert_eq!(refused.budgets(), ["web"]);
    }

    #[test]
    fn responses_are_classified() {
        let class = |code: u16, message: &str| match answer(
            json!({"status": "Failure", "code": code, "message": message}),
        ) {
            EvictionResponse::Fault(fault) => Some(fault.class),
            _ => None,
        };
        assert_eq!(
            class(
                403,
                r#"admission webhook "x" denied the request: moving it myself"#
            ),
            Some(FaultClass::Denied)
        );
        assert_eq!(
            class(400, r#"admission webhook "x" denied the request: no"#),
            Some(FaultClass::Denied)
        );
        assert_eq!(
            class(
                500,
                r#"Internal error occurred: failed calling webhook "x": EOF"#
            ),
            Some(FaultClass::ServerError)
        );
        assert_eq!(
            class(504, "couldn't update PodDisruptionBudget"),
            Some(FaultClass::ServerError)
        );
        assert_eq!(
            class(409, "the object has been modified"),
            Some(FaultClass::Conflict)
        );
        assert_eq!(
            class(
                504,
                r#"Timeout: couldn't update PodDisruptionBudget "web" due to conflicts"#
            ),
            Some(FaultClass::Conflict)
        );
        for (code, message, expected) in [
            (403, "pods is forbidden", EvictionResponse::Fatal("pods is forbidden".into())),
            (
                401,
                "Unauthorized",
                EvictionResponse::Fatal("Unauthorized (the login may have expired: log in and run the same command again to continue)".into()),
            ),
            (404, "not found", EvictionResponse::Gone),
            (409, "Precondition failed: UID in precondition: a, UID in object meta: b",
                EvictionResponse::Gone),
            (
                409,
                "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (a) does \
                 not match the UID in record (b). The object might have been deleted and then \
                 recreated",
                EvictionResponse::Gone,
            ),
        ] {
            assert_eq!(answer(json!({"status": "Failure", "code": code, "message": message})),
                expected);
        }
        let ends = json!({"code": 403, "message": "ends",
            "details": {"causes": [{"reason": "NamespaceTerminating", "message": "n"}]}});
        assert!(matches!(
            answer(ends),
            EvictionResponse::Fault(EvictionFault {
                class: FaultClass::NamespaceTerminating,
                ..
            })
        ));
    }

    #[test]
    fn only_a_response_with_an_api_object_is_a_grant() {
        assert_eq!(
            granted(r#"{"kind":"Status","status":"Success"}"#),
            EvictionResponse::Granted
        );
        for body in ["", "ok", "<html>\n<body>", "[]", "{}"] {
            assert!(
                matches!(
                    granted(body),
                    EvictionResponse::Fault(EvictionFault {
                        class: FaultClass::Unreachable,
                        ..
                    })
                ),
                "{body:?}"
            );
        }
    }

    #[test]
    fn names_stay_inside_their_segments_of_the_path() {
        let target = PodRef {
            namespace: "shop/../kube-system".into(),
            name: "../secrets/key?x".into(),
            uid: String::new(),
        };
        assert_eq!(
            target.path(),
            "/api/v1/namespaces/shop%2F..%2Fkube-system/pods/..%2Fsecrets%2Fkey%3Fx"
        );
    }

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let pauses: Vec<i64> = (1..=7)
            .map(|faults| FaultClass::Denied.pause_seconds(faults))
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    }
}
