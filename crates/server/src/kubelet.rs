//! The pod subresources that an API server forwards to the kubelet of the pod's node: `log`,
//! `exec`, `attach` and `portforward`.
//!
//! Nodes in this process are simulated: their containers have logs, which whoever runs the nodes
//! hands in as [`PodLogs`], but no processes and no ports. `exec`, `attach` and `portforward` check
//! the pod as a kubelet does and then report that. `logs` reads the options of a log, `streams`
//! makes the messages of the other three, and `websocket` sends them.

mod logs;
mod streams;

use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::Timestamp;
use kinds::Tree;
use kinds::status::Status;
use registry::request::{Refusal, Reply};

use crate::body::Body;
use crate::query::Query;
use crate::respond;
use crate::websocket::Message;

pub use logs::{PodLogOptions, PodLogs};
pub(crate) use streams::{PROTOCOLS, no_websocket};

/// Returns whether a subresource is one of those that need the kubelet.
pub(crate) fn is_kubelet_subresource(group: &str, resource: &str, subresource: &str) -> bool {
    group.is_empty()
        && resource == "pods"
        && matches!(subresource, "log" | "exec" | "attach" | "portforward")
}

/// The outcome of a request to the kubelet.
pub(crate) enum KubeletReply {
    /// An ordinary HTTP response.
    Response(Box<Response<Body>>),
    /// Messages for a WebSocket, which the client must have opened.
    Messages(Vec<Message>),
}

/// Answers a request for `subresource` of a pod that the registry has returned.
///
/// # Errors
/// 400 for a container that does not exist, for an ambiguous one, and for a pod without a node, 404
/// for a container that does not run, 422 for invalid log options, 501 if no logs are kept.
pub(crate) fn answer(
    pod: Reply,
    subresource: &str,
    query: &Query<'_>,
    logs: Option<&Arc<dyn PodLogs>>,
    now: Timestamp,
) -> Result<KubeletReply, Refusal> {
    let Reply::Object { json, .. } = pod else {
        return Err(Status::internal("a pod was expected").into());
    };
    let pod: Tree = serde_json::from_slice(&json).map_err(Status::internal)?;
    if subresource == "portforward" {
        check_has_node(&pod)?;
        return Ok(KubeletReply::Messages(streams::portforward(&pod, query)));
    }
    // Upstream validates the log options before it looks at the container.
    let options = if subresource == "log" {
        Some(logs::options(&pod, query, now)?)
    } else {
        None
    };
    let container = container(&pod, query.get("container").unwrap_or_default())?;
    let Some(options) = options else {
        check_has_node(&pod)?;
        check_running(&pod, &container)?;
        return Ok(KubeletReply::Messages(match subresource {
            "attach" => streams::attach(&pod, &container, logs),
            _ => streams::exec(&pod, &container),
        }));
    };
    if node(&pod).is_empty() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(KubeletReply::Response(Box::new(response)));
    }
    let options = PodLogOptions {
        container,
        ..options
    };
    let logs = logs.ok_or_else(|| {
        Status::failure(
            501,
            "NotImplemented",
            "this server keeps no container logs",
            None,
        )
    })?;
    let mut text = logs.read(&pod, &options).map_err(Status::bad_request)?;
    // The limit counts bytes. A character that it would split is left out.
    if let Some(limit) = options.limit_bytes {
        text.truncate(text.floor_char_boundary(limit));
    }
    Ok(KubeletReply::Response(Box::new(respond::plain_text(text))))
}

fn check_has_node(pod: &Tree) -> Result<(), Status> {
    if node(pod).is_empty() {
        Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            name(pod)
        )))
    } else {
        Ok(())
    }
}

/// Refuses a container that does not run, in the kubelet's words.
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

fn names<'a>(pod: &'a Tree, member: &str) -> Vec<&'a str> {
    pod["spec"][member]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect()
}

/// Returns the name of the requested container. Without a requested name, that is the pod's default
/// container or its only one.
fn container(pod: &Tree, requested: &str) -> Result<String, Status> {
    let (regular, init) = (names(pod, "containers"), names(pod, "initContainers"));
    if requested.is_empty() {
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
    let exists = regular
        .iter()
        .chain(&init)
        .chain(&names(pod, "ephemeralContainers"))
        .any(|name| *name == requested);
    if exists {
        Ok(requested.to_owned())
    } else {
        Err(Status::bad_request(format!(
            "container {requested} is not valid for pod {}",
            name(pod)
        )))
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    struct EchoedOptions;

    impl PodLogs for EchoedOptions {
        fn read(&self, _pod: &Tree, options: &PodLogOptions) -> Result<String, String> {
            Ok(format!("{} {:?}\n", options.container, options.tail_lines))
        }
    }

    fn check(query: &str, pod: &Tree, subresource: &str) -> (u16, String) {
        let logs: Arc<dyn PodLogs> = Arc::new(EchoedOptions);
        let reply = Reply::Object {
            code: 200,
            json: pod.to_string().into(),
            warnings: Vec::new(),
        };
        match answer(
            reply,
            subresource,
            &Query::parse(Some(query)),
            Some(&logs),
            Timestamp::UNIX_EPOCH,
        ) {
            Ok(KubeletReply::Response(response)) => (response.status().as_u16(), String::new()),
            Ok(KubeletReply::Messages(messages)) => (101, shown(messages)),
            Err(refusal) => (refusal.status.code, refusal.status.message),
        }
    }

    fn shown(messages: Vec<Message>) -> String {
        let show = |message: Message| {
            let bytes = message.into_data();
            let content = String::from_utf8_lossy(&bytes[1..]);
            format!("{}:{}", bytes[0], content.escape_default())
        };
        messages.into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn containers_are_chosen_and_options_are_validated_as_upstream_does() {
        let waiting = json!({"metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
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
    fn streams_into_a_simulated_container_report_what_it_lacks() {
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
