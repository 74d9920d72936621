//! A dry-run eviction: what the server itself says, webhooks and permissions included.

use kube::{Client, Error};
use serde::Serialize;
use serde_json::json;

use super::{Subject, Verdict};

/// The server's answer to a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The HTTP code; 0 when there was no answer.
    pub code: u16,
    /// The message with the causes in which the budget is named.
    pub message: String,
    /// Whether it is what we expected; none when it says nothing about that.
    pub agrees: Option<bool>,
}

pub(super) async fn ask(client: &Client, subject: &Subject, expected: Verdict) -> Answer {
    let (code, message) = match send(client, subject).await {
        Ok(()) => (201, "it would be granted".to_owned()),
        Err(Error::Api(status)) => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let told = causes
                .filter(|cause| cause.reason == "DisruptionBudget")
                .map(|cause| cause.message.as_str());
            let text = std::iter::once(status.message.as_str())
                .chain(told)
                .collect::<Vec<_>>()
                .join(" ");
            (status.code, text)
        }
        Err(error) => (0, error.to_string()),
    };
    let refused = matches!(expected, Verdict::Refused | Verdict::Blocked);
    let agrees = match code {
        // Who may not ask learns nothing about the pod.
        _ if matches!(expected, Verdict::Unknown) => None,
        201 => Some(!refused),
        429 | 500 => Some(refused),
        403 if message.contains("is being terminated") => Some(refused),
        _ => None,
    };
    Answer {
        code,
        message,
        agrees,
    }
}

async fn send(client: &Client, subject: &Subject) -> Result<(), Error> {
    let Subject {
        namespace, name, ..
    } = subject;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction?dryRun=All");
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}});
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(body.to_string().into_bytes());
    client
        .request::<serde_json::Value>(request.map_err(Error::HttpError)?)
        .await
        .map(drop)
}
