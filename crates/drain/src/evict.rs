//! One eviction: the request, and the answer taken apart.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::core::Status;
use kube::{Client, Error, ResourceExt as _};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::json;

/// As much of a strange answer as is shown.
const EXCERPT: usize = 120;

/// The pod to evict; the uid keeps a same-named successor safe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Target {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Uid of the pod.
    pub uid: String,
}

impl Target {
    /// The target that this pod is.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
        }
    }
}

/// The form of an eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// What the pod gets to end; none is what it asks for itself.
    pub grace_seconds: Option<i64>,
    /// Ask what would be answered, and change nothing.
    pub dry_run: bool,
    /// The server knows `policy/v1beta1` only.
    pub beta: bool,
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 201: the pod has been told to go.
    Granted,
    /// 429: not now.
    Refused(Refused),
    /// 404, or another pod has the name by now: there is nothing left to evict.
    Gone,
    /// Something went wrong that may mend itself.
    Fault(Fault),
    /// No waiting mends this.
    Fatal(String),
}

/// Why an eviction may not happen now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The headline, which names no budget.
    pub message: String,
    /// The causes of kind `DisruptionBudget`, which do; empty when the server was merely busy.
    pub causes: Vec<String>,
    /// When the server wants to be asked again, in seconds; 0 when it does not say.
    pub retry_after_seconds: u32,
}

impl Refused {
    /// The budgets that the causes name.
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

/// What went wrong, and how often it is worth another try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of what class.
    pub class: Class,
    /// The server's words, or those of the transport.
    pub message: String,
    /// When the server wants to be asked again, in seconds; 0 when it does not say.
    pub retry_after_seconds: u32,
}

/// Classes of faults, each with a patience of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A webhook says no: often the operator behind it moves the pod itself, and needs time for it.
    Denied,
    /// A webhook or the server itself failed.
    Broken,
    /// The server cannot be reached, or does not answer in time.
    Unreachable,
    /// The namespace is being deleted, and the pod with it.
    NamespaceEnds,
    /// Somebody else wrote at the same moment.
    Conflict,
}

impl Class {
    /// How often such a fault may come in a row before the pod is given up; none is without end.
    #[must_use]
    pub fn tries(self) -> Option<u32> {
        match self {
            // With the pauses below: about ten minutes, long enough for an operator to move a pod.
            Self::Denied => Some(25),
            // About four minutes: a webhook's pod or an API server is back by then, or needs a
            // person.
            Self::Broken | Self::Unreachable => Some(12),
            Self::Conflict => Some(20),
            Self::NamespaceEnds => None,
        }
    }

    /// Seconds before the next try, after so many faults in a row.
    #[must_use]
    pub fn pause_seconds(self, faults: u32) -> i64 {
        match self {
            Self::NamespaceEnds => 5,
            Self::Conflict => 1,
            Self::Denied | Self::Broken | Self::Unreachable => 1 << faults.min(6).saturating_sub(1),
        }
        .min(30)
    }
}

/// Asks the server to evict one pod. One request, no retries; a failure of the request is an answer
/// too.
pub async fn evict(client: &Client, target: &Target, form: Form) -> Answer {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/eviction",
        target.namespace, target.name
    );
    let mut options = json!({"preconditions": {"uid": target.uid}});
    if let Some(seconds) = form.grace_seconds {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if form.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    let body = json!({
        "apiVersion": if form.beta { "policy/v1beta1" } else { "policy/v1" }, "kind": "Eviction",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "deleteOptions": options,
    });
    send(client, http::Request::post(path), &body).await
}

/// Deletes the pod, which asks no budget.
pub async fn delete(client: &Client, target: &Target, form: Form) -> Answer {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}",
        target.namespace, target.name
    );
    let mut body =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": target.uid}});
    if let Some(seconds) = form.grace_seconds {
        body["gracePeriodSeconds"] = json!(seconds);
    }
    if form.dry_run {
        body["dryRun"] = json!(["All"]);
    }
    send(client, http::Request::delete(path), &body).await
}

async fn send(
    client: &Client,
    request: http::request::Builder,
    body: &serde_json::Value,
) -> Answer {
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

/// An answer that says yes, if an API server gave it: a proxy or a login page says yes to anything.
fn granted(body: &str) -> Answer {
    let object = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(body);
    if object.is_ok_and(|object| object.contains_key("kind")) {
        return Answer::Granted;
    }
    let start: String = body
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(EXCERPT)
        .collect();
    let message = format!("the server says yes, but not as Kubernetes does: {start}");
    Answer::Fault(Fault {
        class: Class::Unreachable,
        message,
        retry_after_seconds: 0,
    })
}

/// What an error means for the pod.
fn classify(error: &Error) -> Answer {
    let Error::Api(status) = error else {
        let message = words(error);
        return match error {
            // Credentials that cannot be had do not come back by themselves.
            Error::Auth(_) | Error::HttpError(_) | Error::BuildRequest(_) => Answer::Fatal(message),
            _ => Answer::Fault(Fault {
                class: Class::Unreachable,
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
        Answer::Fault(Fault {
            class,
            message: status.message.clone(),
            retry_after_seconds,
        })
    };
    let webhook =
        status.message.contains("admission webhook") || status.message.contains("calling webhook");
    match status.code {
        404 => Answer::Gone,
        401 => Answer::Fatal(format!(
            "{} (the login may have expired: log in again, and the same command goes on)",
            status.message
        )),
        409 if status.message.contains("UID in precondition") => Answer::Gone,
        409 => fault(Class::Conflict),
        429 => Answer::Refused(refused(status)),
        403 if has_cause(status, "NamespaceTerminating") => fault(Class::NamespaceEnds),
        500 if status.message.contains("more than one PodDisruptionBudget") => {
            Answer::Fatal(status.message.clone())
        }
        400..500 if webhook => fault(Class::Denied),
        // Many evictions of one budget at the same moment: the server has tried to write it for
        // long enough.
        504 if status.message.contains("due to conflicts") => fault(Class::Conflict),
        500.. => fault(Class::Broken),
        _ => Answer::Fatal(status.message.clone()),
    }
}

/// The server's words, or those of the transport and its causes, without the client's frame around
/// them.
pub(crate) fn words(error: &Error) -> String {
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

fn refused(status: &Status) -> Refused {
    let details = status.details.as_ref();
    let causes = details.into_iter().flat_map(|details| &details.causes);
    Refused {
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

    fn answer(status: serde_json::Value) -> Answer {
        classify(&Error::Api(
            serde_json::from_value(status).expect("a status"),
        ))
    }

    #[test]
    fn only_causes_of_budgets_are_kept_and_name_their_budgets() {
        let cause = "The disruption budget web needs 2 healthy pods and has 2 currently";
        let Answer::Refused(refused) = answer(json!({
            "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "no",
            "details": {"retryAfterSeconds": 10, "causes": [{"reason": "DisruptionBudget", "message": cause}, {"reason": "Other", "message": "x"}]},
        })) else {
            panic!("not refused")
        };
        assert_eq!(
            refused,
            Refused {
                message: "no".into(),
                causes: vec![cause.into()],
                retry_after_seconds: 10
            }
        );
        assert_eq!(refused.budgets(), ["web"]);
    }

    #[test]
    fn every_class_of_fault_is_told_from_the_others() {
        let class = |code: u16, message: &str| match answer(
            json!({"status": "Failure", "code": code, "message": message}),
        ) {
            Answer::Fault(fault) => Some(fault.class),
            _ => None,
        };
        assert_eq!(
            class(
                403,
                r#"admission webhook "x" denied the request: moving it myself"#
            ),
            Some(Class::Denied)
        );
        assert_eq!(
            class(400, r#"admission webhook "x" denied the request: no"#),
            Some(Class::Denied)
        );
        assert_eq!(
            class(
                500,
                r#"Internal error occurred: failed calling webhook "x": EOF"#
            ),
            Some(Class::Broken)
        );
        assert_eq!(
            class(504, "couldn't update PodDisruptionBudget"),
            Some(Class::Broken)
        );
        assert_eq!(
            class(409, "the object has been modified"),
            Some(Class::Conflict)
        );
        assert_eq!(
            class(
                504,
                r#"Timeout: couldn't update PodDisruptionBudget "web" due to conflicts"#
            ),
            Some(Class::Conflict)
        );
        for (code, message, expected) in [
            (403, "pods is forbidden", Answer::Fatal("pods is forbidden".into())),
            (
                401,
                "Unauthorized",
                Answer::Fatal("Unauthorized (the login may have expired: log in again, and the same command goes on)".into()),
            ),
            (404, "not found", Answer::Gone),
            (409, "Precondition failed: UID in precondition: a, UID in object meta: b", Answer::Gone),
        ] {
            assert_eq!(answer(json!({"status": "Failure", "code": code, "message": message})), expected);
        }
        let ends = json!({"code": 403, "message": "ends", "details": {"causes": [{"reason": "NamespaceTerminating", "message": "n"}]}});
        assert!(matches!(
            answer(ends),
            Answer::Fault(Fault {
                class: Class::NamespaceEnds,
                ..
            })
        ));
    }

    #[test]
    fn only_an_object_of_the_api_says_yes() {
        assert_eq!(
            granted(r#"{"kind":"Status","status":"Success"}"#),
            Answer::Granted
        );
        for body in ["", "ok", "<html>\n<body>", "[]", "{}"] {
            assert!(
                matches!(
                    granted(body),
                    Answer::Fault(Fault {
                        class: Class::Unreachable,
                        ..
                    })
                ),
                "{body:?}"
            );
        }
    }

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let pauses: Vec<i64> = (1..=7)
            .map(|faults| Class::Denied.pause_seconds(faults))
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    }
}
