//! Reaching into a pod: its log, and (clearly refused) `exec`, `attach` and `portforward`.
//!
//! The server knows no nodes. Whoever runs them in the same process hands in a [`PodLogs`]; without
//! one, or for processes that do not exist, the answer is an error that says so.

use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kinds::Tree;
use kinds::status::{FieldError, GroupResource, Status};
use kinds::tree::json;
use registry::request::{Refusal, Reply};

use crate::body::Body;
use crate::query::Query;
use crate::respond;

/// What is asked of a log (`PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Name of the container; it is one of the pod's.
    pub container: String,
    /// The attempt before the present one.
    pub previous: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only lines from this moment on.
    pub since: Option<Timestamp>,
    /// Only so many lines at the end.
    pub tail_lines: Option<usize>,
    /// Only so many bytes at the beginning.
    pub limit_bytes: Option<usize>,
}

/// Knows what the containers of pods have written.
pub trait PodLogs: Send + Sync + 'static {
    /// The lines of a container of this pod, each ended by a newline.
    ///
    /// # Errors
    /// Why there are none, for the client.
    fn read(&self, pod: &Tree, query: &LogQuery) -> Result<String, String>;
}

/// Whether a subresource of pods reaches into them.
pub(crate) fn is_reach(group: &str, resource: &str, subresource: &str) -> bool {
    group.is_empty() && resource == "pods" && matches!(subresource, "log" | "exec" | "attach" | "portforward")
}

/// Answers for a pod that was read already.
pub(crate) fn answer(
    pod: Reply,
    subresource: &str,
    query: &Query<'_>,
    logs: Option<&Arc<dyn PodLogs>>,
    now: Timestamp,
) -> Result<Response<Body>, Refusal> {
    let Reply::Object { json, .. } = pod else { return Err(Status::internal("a pod was expected").into()) };
    let pod: Tree = serde_json::from_slice(&json).map_err(Status::internal)?;
    if subresource == "portforward" {
        return Err(no_process(&pod, "", subresource).into());
    }
    let asked = if subresource == "log" { Some(log_query(&pod, query, now)?) } else { None };
    let container = container(&pod, query.get("container").unwrap_or_default())?;
    let Some(asked) = asked else { return Err(no_process(&pod, &container, subresource).into()) };
    if node(&pod).is_empty() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let query = LogQuery { container, ..asked };
    let logs = logs.ok_or_else(|| Status::failure(501, "NotImplemented", "no logs of this node are kept here", None))?;
    let mut text = logs.read(&pod, &query).map_err(Status::bad_request)?;
    if let Some(limit) = query.limit_bytes {
        text.truncate(text.floor_char_boundary(limit));
    }
    Ok(respond::plain_text(text))
}

fn name(pod: &Tree) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn node(pod: &Tree) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

/// There is nobody to connect to.
fn no_process(pod: &Tree, container: &str, subresource: &str) -> Status {
    if node(pod).is_empty() {
        return Status::bad_request(format!("pod {} does not have a host assigned", name(pod)));
    }
    let what = if container.is_empty() { String::new() } else { format!(" in container {container}") };
    let message = format!("{subresource} is not served: node {} is simulated, there is no process{what} of pod {}", node(pod), name(pod));
    Status::failure(501, "NotImplemented", message, None)
}

fn names<'a>(pod: &'a Tree, member: &str) -> Vec<&'a str> {
    pod["spec"][member].as_array().into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
}

/// The container that is meant; refuses a name that is not there, and no name where it matters.
fn container(pod: &Tree, asked: &str) -> Result<String, Status> {
    let (regular, init) = (names(pod, "containers"), names(pod, "initContainers"));
    if asked.is_empty() {
        let default = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
        if let Some(only) = default.filter(|name| regular.contains(name)).or_else(|| (regular.len() == 1).then(|| regular[0])) {
            return Ok(only.to_owned());
        }
        let mut choice = format!("choose one of: [{}]", regular.join(" "));
        if !init.is_empty() {
            choice.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
        }
        return Err(Status::bad_request(format!("a container name must be specified for pod {}, {choice}", name(pod))));
    }
    let known = regular.iter().chain(&init).chain(&names(pod, "ephemeralContainers")).any(|name| *name == asked);
    if known { Ok(asked.to_owned()) } else { Err(Status::bad_request(format!("container {asked} is not valid for pod {}", name(pod)))) }
}

fn log_query(pod: &Tree, query: &Query<'_>, now: Timestamp) -> Result<LogQuery, Status> {
    let mut faults = Vec::new();
    let mut number = |field: &str, least: i64, text: &str| -> Result<Option<i64>, Status> {
        let Some(given) = query.get(field).filter(|given| !given.is_empty()) else { return Ok(None) };
        let value: i64 = given.parse().map_err(|_| Status::bad_request(format!("{field}: {given:?} is not a whole number")))?;
        if value < least {
            faults.push(FieldError::invalid(field, &json!(value), text));
        }
        Ok(Some(value))
    };
    let tail = number("tailLines", 0, "must be greater than or equal to 0")?;
    let limit = number("limitBytes", 1, "must be greater than 0")?;
    let seconds = number("sinceSeconds", 1, "must be greater than 0")?;
    let time = query.get("sinceTime").filter(|given| !given.is_empty());
    if seconds.is_some() && time.is_some() {
        faults.push(FieldError::forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if !faults.is_empty() {
        return Err(Status::invalid(GroupResource { group: "", resource: "PodLogOptions" }, name(pod), &faults));
    }
    let time =
        time.map(|given| given.parse().map_err(|_| Status::bad_request(format!("sinceTime: {given:?} is not a time")))).transpose()?;
    let ago = seconds.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
    let size = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
    Ok(LogQuery {
        container: String::new(),
        previous: query.flag("previous").unwrap_or_default(),
        timestamps: query.flag("timestamps").unwrap_or_default(),
        since: time.or(ago),
        tail_lines: size(tail),
        limit_bytes: size(limit),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, pod: &Tree, subresource: &str) -> (u16, String) {
        struct Lines;
        impl PodLogs for Lines {
            fn read(&self, _pod: &Tree, query: &LogQuery) -> Result<String, String> {
                Ok(format!("{} {:?}\n", query.container, query.tail_lines))
            }
        }
        let logs: Arc<dyn PodLogs> = Arc::new(Lines);
        let reply = Reply::Object { code: 200, json: pod.to_string().into(), warnings: Vec::new() };
        match answer(reply, subresource, &Query::parse(Some(text)), Some(&logs), Timestamp::UNIX_EPOCH) {
            Ok(response) => (response.status().as_u16(), String::new()),
            Err(refusal) => (refusal.status.code, refusal.status.message),
        }
    }

    #[test]
    fn containers_are_chosen_and_options_are_judged_as_the_api_does() {
        let waiting = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let mut bound = waiting.clone();
        bound["spec"]["nodeName"] = json!("n");
        assert_eq!(check("", &waiting, "log"), (400, "a container name must be specified for pod p, choose one of: [a b]".into()));
        assert_eq!(check("container=zz", &waiting, "log"), (400, "container zz is not valid for pod p".into()));
        assert_eq!(check("container=a", &waiting, "log").0, 204);
        assert_eq!(check("container=a&tailLines=2", &bound, "log").0, 200);
        assert_eq!(check("container=a&tailLines=-1", &bound, "log").0, 422);
        assert_eq!(check("container=a", &waiting, "exec"), (400, "pod p does not have a host assigned".into()));
        assert_eq!(check("container=a", &bound, "exec").0, 501);
        assert_eq!(check("", &waiting, "portforward"), (400, "pod p does not have a host assigned".into()));
    }
}
