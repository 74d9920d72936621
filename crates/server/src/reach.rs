//! Reaching into a pod: its log, and `exec`, `attach` and `portforward`, which end at once with a
//! clear word, because a simulated container has no processes and no ports.
//!
//! The server knows no nodes. Whoever runs them in the same process hands in a [`PodLogs`]. What is
//! to be said through a socket is made here as messages; `socket` sends them.

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
use crate::socket::Message;

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
    group.is_empty()
        && resource == "pods"
        && matches!(subresource, "log" | "exec" | "attach" | "portforward")
}

/// The protocols of sockets into pods, the newest first. In both, the first byte of a message is
/// the number of its channel, and the third channel carries a `Status` in the end.
pub(crate) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const OUTPUT: u8 = 1;
const TALK: u8 = 2;
const OUTCOME: u8 = 3;

/// What comes of looking into a pod.
pub(crate) enum Reached {
    /// An ordinary answer.
    Answer(Box<Response<Body>>),
    /// Messages for a socket, if the client opened one.
    Messages(Vec<Message>),
}

/// Looks into a pod that was read already.
pub(crate) fn reach(
    pod: Reply,
    subresource: &str,
    query: &Query<'_>,
    logs: Option<&Arc<dyn PodLogs>>,
    now: Timestamp,
) -> Result<Reached, Refusal> {
    let Reply::Object { json, .. } = pod else {
        return Err(Status::internal("a pod was expected").into());
    };
    let pod: Tree = serde_json::from_slice(&json).map_err(Status::internal)?;
    if subresource == "portforward" {
        check_bound(&pod)?;
        return Ok(Reached::Messages(no_ports(&pod, query)));
    }
    let asked = if subresource == "log" {
        Some(log_query(&pod, query, now)?)
    } else {
        None
    };
    let container = container(&pod, query.get("container").unwrap_or_default())?;
    let Some(asked) = asked else {
        check_bound(&pod)?;
        check_running(&pod, &container)?;
        return Ok(Reached::Messages(match subresource {
            "attach" => attached(&pod, &container, logs),
            _ => vec![outcome(&no_process(&pod, &container))],
        }));
    };
    if node(&pod).is_empty() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(Reached::Answer(Box::new(response)));
    }
    let query = LogQuery { container, ..asked };
    let logs = logs.ok_or_else(|| {
        Status::failure(
            501,
            "NotImplemented",
            "no logs of this node are kept here",
            None,
        )
    })?;
    let mut text = logs.read(&pod, &query).map_err(Status::bad_request)?;
    if let Some(limit) = query.limit_bytes {
        text.truncate(text.floor_char_boundary(limit));
    }
    Ok(Reached::Answer(Box::new(respond::plain_text(text))))
}

/// The refusal of a client that opened no socket that is spoken here.
pub(crate) fn no_socket(pod: &str, subresource: &str) -> Status {
    let message = format!(
        "{subresource} is served only through WebSocket ({}), and pod {pod} runs on a simulated node: its containers have no processes and no ports",
        PROTOCOLS.join(" or ")
    );
    Status::failure(501, "NotImplemented", message, None)
}

/// The log of a container so far: a simulated one says no more, and nobody listens.
fn attached(pod: &Tree, container: &str, logs: Option<&Arc<dyn PodLogs>>) -> Vec<Message> {
    let query = LogQuery {
        container: container.to_owned(),
        ..LogQuery::default()
    };
    let text = logs
        .and_then(|logs| logs.read(pod, &query).ok())
        .unwrap_or_default();
    let note = format!(
        "container {container} is simulated: this was its log, and there is no process to attach to\n"
    );
    let done = Status {
        status: "Success".to_owned(),
        code: 0,
        ..Status::success(0)
    };
    vec![
        Message::on_channel(OUTPUT, text.as_bytes()),
        Message::on_channel(TALK, note.as_bytes()),
        outcome(&done),
    ]
}

/// Each port has a channel for data and one for errors; both begin with the number of the port.
fn no_ports(pod: &Tree, query: &Query<'_>) -> Vec<Message> {
    let ports = query.get("ports").unwrap_or_default();
    let mut messages = Vec::new();
    for (channel, port) in (0_u8..=u8::MAX - 1).step_by(2).zip(
        ports
            .split(',')
            .filter_map(|port| port.trim().parse::<u16>().ok()),
    ) {
        let error = format!(
            "pod {} runs on simulated node {}: nothing listens on port {port}",
            name(pod),
            node(pod)
        );
        messages.push(Message::on_channel(channel, &port.to_le_bytes()));
        messages.push(Message::on_channel(channel + 1, &port.to_le_bytes()));
        messages.push(Message::on_channel(channel + 1, error.as_bytes()));
    }
    messages
}

fn outcome(status: &Status) -> Message {
    Message::on_channel(
        OUTCOME,
        serde_json::to_string(status).unwrap_or_default().as_bytes(),
    )
}

fn check_bound(pod: &Tree) -> Result<(), Status> {
    let is_waiting = node(pod).is_empty();
    if is_waiting {
        Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            name(pod)
        )))
    } else {
        Ok(())
    }
}

/// Only a container that runs can be reached, in the words of a node agent.
fn check_running(pod: &Tree, container: &str) -> Result<(), Status> {
    let lists = [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ];
    let mut statuses = lists
        .iter()
        .flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    let runs = statuses
        .any(|status| status["name"] == *container && status["state"]["running"].is_object());
    if runs {
        Ok(())
    } else {
        Err(Status::failure(
            404,
            "NotFound",
            format!("container not found ({container:?})"),
            None,
        ))
    }
}

fn name(pod: &Tree) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn node(pod: &Tree) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

/// There is nothing in which a command could run.
fn no_process(pod: &Tree, container: &str) -> Status {
    let message = format!(
        "cannot run a command in container {container} of pod {}: node {} is simulated, and its containers have no processes",
        name(pod),
        node(pod)
    );
    Status::failure(501, "NotImplemented", message, None)
}

fn names<'a>(pod: &'a Tree, member: &str) -> Vec<&'a str> {
    pod["spec"][member]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect()
}

/// The container that is meant; refuses a name that is not there, and no name where it matters.
fn container(pod: &Tree, asked: &str) -> Result<String, Status> {
    let (regular, init) = (names(pod, "containers"), names(pod, "initContainers"));
    if asked.is_empty() {
        let default =
            pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
        if let Some(only) = default
            .filter(|name| regular.contains(name))
            .or_else(|| (regular.len() == 1).then(|| regular[0]))
        {
            return Ok(only.to_owned());
        }
        let mut choice = format!("choose one of: [{}]", regular.join(" "));
        if !init.is_empty() {
            choice.push_str(&format!(
                " or one of the init containers: [{}]",
                init.join(" ")
            ));
        }
        return Err(Status::bad_request(format!(
            "a container name must be specified for pod {}, {choice}",
            name(pod)
        )));
    }
    let known = regular
        .iter()
        .chain(&init)
        .chain(&names(pod, "ephemeralContainers"))
        .any(|name| *name == asked);
    if known {
        Ok(asked.to_owned())
    } else {
        Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {}",
            name(pod)
        )))
    }
}

fn log_query(pod: &Tree, query: &Query<'_>, now: Timestamp) -> Result<LogQuery, Status> {
    let mut faults = Vec::new();
    let mut number = |field: &str, least: i64, text: &str| -> Result<Option<i64>, Status> {
        let Some(given) = query.get(field).filter(|given| !given.is_empty()) else {
            return Ok(None);
        };
        let value: i64 = given.parse().map_err(|_| {
            Status::bad_request(format!("{field}: {given:?} is not a whole number"))
        })?;
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
        faults.push(FieldError::forbidden(
            "[]",
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    if !faults.is_empty() {
        return Err(Status::invalid(
            GroupResource {
                group: "",
                resource: "PodLogOptions",
            },
            name(pod),
            &faults,
        ));
    }
    let time = time
        .map(|given| {
            given
                .parse()
                .map_err(|_| Status::bad_request(format!("sinceTime: {given:?} is not a time")))
        })
        .transpose()?;
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
        let reply = Reply::Object {
            code: 200,
            json: pod.to_string().into(),
            warnings: Vec::new(),
        };
        match reach(
            reply,
            subresource,
            &Query::parse(Some(text)),
            Some(&logs),
            Timestamp::UNIX_EPOCH,
        ) {
            Ok(Reached::Answer(response)) => (response.status().as_u16(), String::new()),
            Ok(Reached::Messages(messages)) => (101, shown(&messages)),
            Err(refusal) => (refusal.status.code, refusal.status.message),
        }
    }

    fn shown(messages: &[Message]) -> String {
        let show = |message: &Message| match message {
            Message::Text(bytes) | Message::Binary(bytes) => {
                format!(
                    "{}:{}",
                    bytes[0],
                    String::from_utf8_lossy(&bytes[1..]).escape_default()
                )
            }
        };
        messages.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn containers_are_chosen_and_options_are_judged_as_the_api_does() {
        let waiting = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let mut bound = waiting.clone();
        bound["spec"]["nodeName"] = json!("n");
        assert_eq!(
            check("", &waiting, "log"),
            (
                400,
                "a container name must be specified for pod p, choose one of: [a b]".into()
            )
        );
        assert_eq!(
            check("container=zz", &waiting, "log"),
            (400, "container zz is not valid for pod p".into())
        );
        assert_eq!(check("container=a", &waiting, "log").0, 204);
        assert_eq!(check("container=a&tailLines=2", &bound, "log").0, 200);
        assert_eq!(check("container=a&tailLines=-1", &bound, "log").0, 422);
        assert_eq!(
            check("container=a", &waiting, "exec"),
            (400, "pod p does not have a host assigned".into())
        );
        assert_eq!(
            check("container=a", &bound, "exec"),
            (404, "container not found (\"a\")".into())
        );
        assert_eq!(
            check("", &waiting, "portforward"),
            (400, "pod p does not have a host assigned".into())
        );
    }

    #[test]
    fn a_socket_into_a_simulated_container_says_what_is_not_there() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
            "status": {"containerStatuses": [{"name": "c", "state": {"running": {}}}]},
        });
        let (code, exec) = check("", &pod, "exec");
        assert_eq!(code, 101);
        assert!(
            exec.starts_with("3:{")
                && exec.contains("Failure")
                && exec.contains("cannot run a command in container c of pod p"),
            "{exec}"
        );
        let (_, attach) = check("", &pod, "attach");
        assert!(
            attach.starts_with("1:c None\\n 2:container c is simulated")
                && attach.contains(" 3:{")
                && attach.contains("Success"),
            "{attach}"
        );
        let (_, forward) = check("ports=80", &pod, "portforward");
        assert!(
            forward.starts_with("0:P\\u{0} 1:P\\u{0} 1:pod p runs on simulated node n"),
            "{forward}"
        );
    }
}
