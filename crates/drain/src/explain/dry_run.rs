//! Sends a dry-run eviction, for the server's own answer: it includes webhooks and permissions.

use kinds::path::segment;
use kube::{Client, Error};
use serde::Serialize;
use serde_json::json;

use super::{EvictionVerdict, ExplainSubject};

/// The server's answer to a dry-run eviction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DryRunAnswer {
    /// The HTTP status code, 0 when there was no response.
    pub code: u16,
    /// The message of the response, followed by the causes that name the budget.
    pub message: String,
    /// Whether the answer agrees with the prediction, `None` when it does not bear on it.
    pub agrees: Option<bool>,
}

pub(super) async fn ask(
    client: &Client,
    subject: &ExplainSubject,
    expected: EvictionVerdict,
) -> DryRunAnswer {
    let (code, message) = match send(client, subject).await {
        Ok(()) => (201, "the eviction would be granted".to_owned()),
        Err(Error::Api(status)) => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let budget_causes = causes
                .filter(|cause| cause.reason == "DisruptionBudget")
                .map(|cause| cause.message.as_str());
            let message = std::iter::once(status.message.as_str())
                .chain(budget_causes)
                .collect::<Vec<_>>()
                .join(" ");
            (status.code, message)
        }
        Err(error) => (0, error.to_string()),
    };
    let refused = matches!(
        expected,
        EvictionVerdict::Refused | EvictionVerdict::Blocked
    );
    let agrees = match code {
        _ if matches!(expected, EvictionVerdict::Unknown) => None,
        201 => Some(!refused),
        429 | 500 => Some(refused),
        403 if message.contains("is being terminated") => Some(refused),
        // Any other code, 403 above all, is about the user and not about the pod.
        _ => None,
    };
    DryRunAnswer {
        code,
        message,
        agrees,
    }
}

async fn send(client: &Client, subject: &ExplainSubject) -> Result<(), Error> {
    let ExplainSubject {
        namespace, name, ..
    } = subject;
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/eviction?dryRun=All",
        segment(namespace),
        segment(name)
    );
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    });
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(body.to_string().into_bytes());
    client
        .request::<serde_json::Value>(request.map_err(Error::HttpError)?)
        .await
        .map(drop)
}
