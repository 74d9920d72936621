//! `pods/exec`, `pods/attach` and `pods/portforward`, as messages of the `channel.k8s.io`
//! protocols. All three end at once, because a simulated container has no processes and no ports.

use std::sync::Arc;

use kinds::Tree;
use kinds::status::Status;

use super::logs::{PodLogOptions, PodLogs};
use super::{name, node};
use crate::query::Query;
use crate::websocket::{Message, channel_message};

/// The protocols that are served, the newest first. In both, the first byte of a message is the
/// number of its channel, and the last message is a `Status` on the error channel.
pub(crate) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;

/// Returns the 501 for a client that opened no WebSocket in one of [`PROTOCOLS`].
pub(crate) fn no_websocket(pod: &str, subresource: &str) -> Status {
    let message = format!(
        "{subresource} requires a WebSocket ({}); pod {pod} runs on a simulated node, its containers have no processes and no ports",
        PROTOCOLS.join(" or ")
    );
    Status::failure(501, "NotImplemented", message, None)
}

/// Reports that a simulated container cannot run a command.
pub(super) fn exec(pod: &Tree, container: &str) -> Vec<Message> {
    let message = format!(
        "cannot run a command in container {container} of pod {}: node {} is simulated, its containers have no processes",
        name(pod),
        node(pod)
    );
    vec![last(&Status::failure(501, "NotImplemented", message, None))]
}

/// Sends the log of a simulated container so far, which is all that the container will write.
pub(super) fn attach(pod: &Tree, container: &str, logs: Option<&Arc<dyn PodLogs>>) -> Vec<Message> {
    let options = PodLogOptions {
        container: container.to_owned(),
        ..PodLogOptions::default()
    };
    let log = logs
        .and_then(|logs| logs.read(pod, &options).ok())
        .unwrap_or_default();
    let note = format!(
        "container {container} is simulated: this is its log so far; there is no process to attach to\n"
    );
    let success = Status {
        status: "Success".to_owned(),
        code: 0,
        ..Status::success(0)
    };
    vec![
        channel_message(STDOUT, log.as_bytes()),
        channel_message(STDERR, note.as_bytes()),
        last(&success),
    ]
}

/// Reports for each requested port that nothing listens on it.
///
/// Each port has a channel for data and one for errors. The first message of both is the number of
/// the port, as a little-endian `u16`.
pub(super) fn portforward(pod: &Tree, query: &Query<'_>) -> Vec<Message> {
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
        messages.push(channel_message(channel, &port.to_le_bytes()));
        messages.push(channel_message(channel + 1, &port.to_le_bytes()));
        messages.push(channel_message(channel + 1, error.as_bytes()));
    }
    messages
}

fn last(status: &Status) -> Message {
    channel_message(
        ERROR,
        serde_json::to_string(status).unwrap_or_default().as_bytes(),
    )
}
