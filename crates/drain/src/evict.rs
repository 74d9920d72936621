//! One eviction: the request, and the answer taken apart.

use k8s_openapi::api::core::v1::Pod;
use kube::{Client, Error, ResourceExt as _};
use serde_json::json;

/// The pod to evict; the uid keeps a same-named successor safe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        Self { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any(), uid: pod.uid().unwrap_or_default() }
    }
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
}

/// Why an eviction may not happen now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The headline, which names no budget.
    pub message: String,
    /// The causes of kind `DisruptionBudget`, which do; empty when the server was merely busy.
    pub causes: Vec<String>,
    /// When the server wants to be asked again, in seconds; 0 when it does not say.
    pub retry_after_seconds: u32,
}

/// Asks the server to evict one pod. One request, no retries.
///
/// # Errors
/// Every answer but 201, 404, 409 of another uid, and 429: for example the 500 of a pod with two
/// budgets.
pub async fn evict(client: &Client, target: &Target) -> Result<Answer, Error> {
    let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", target.namespace, target.name);
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "deleteOptions": {"preconditions": {"uid": target.uid}},
    });
    let request = http::Request::post(path).header("Content-Type", "application/json").body(body.to_string().into_bytes());
    match client.request::<serde_json::Value>(request.map_err(Error::HttpError)?).await {
        Ok(_) => Ok(Answer::Granted),
        Err(Error::Api(status)) => match status.code {
            404 | 409 => Ok(Answer::Gone),
            429 => Ok(Answer::Refused(refused(&status))),
            _ => Err(Error::Api(status)),
        },
        Err(error) => Err(error),
    }
}

fn refused(status: &kube::core::Status) -> Refused {
    let details = status.details.as_ref();
    let causes = details.into_iter().flat_map(|details| &details.causes);
    Refused {
        message: status.message.clone(),
        causes: causes.filter(|cause| cause.reason == "DisruptionBudget").map(|cause| cause.message.clone()).collect(),
        retry_after_seconds: details.map_or(0, |details| details.retry_after_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_causes_of_budgets_are_kept() {
        let status: kube::core::Status = serde_json::from_value(json!({
            "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "no",
            "details": {"retryAfterSeconds": 10, "causes": [{"reason": "DisruptionBudget", "message": "b"}, {"reason": "Other", "message": "x"}]},
        }))
        .expect("a status");
        assert_eq!(refused(&status), Refused { message: "no".into(), causes: vec!["b".into()], retry_after_seconds: 10 });
    }
}
