//! The output of `kubectl logs` for a simulated container.
//!
//! No process has written anything, so the lines are made from the status of the pod. [`logs`] is a
//! pure function and works on any pod.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

/// The options of a request for logs, after `v1.PodLogOptions`.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// The name of the container; optional when the pod has one main container.
    pub container: Option<String>,
    /// True for the attempt before the current one.
    pub previous: bool,
    /// True to begin each line with its time.
    pub timestamps: bool,
    /// Omits the lines before this time.
    pub since: Option<Timestamp>,
    /// Omits all but this number of lines at the end.
    pub tail_lines: Option<usize>,
}

/// The errors of [`logs`]. Their messages are those of the Kubernetes API.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogsError {
    /// No container was named, and the pod has several.
    #[error("a container name must be specified for pod {pod}, choose one of: [{containers}]")]
    WhichContainer {
        /// The name of the pod.
        pod: String,
        /// The names of its containers, separated by spaces.
        containers: String,
    },
    /// The pod has no container of this name.
    #[error("container {container} is not valid for pod {pod}")]
    UnknownContainer {
        /// The name of the pod.
        pod: String,
        /// The requested name.
        container: String,
    },
    /// The container has not started.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    Waiting {
        /// The name of the pod.
        pod: String,
        /// The name of the container.
        container: String,
        /// The reason for waiting, from the status.
        reason: String,
    },
    /// The container was never restarted.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// The name of the pod.
        pod: String,
        /// The name of the container.
        container: String,
    },
}

/// Returns the lines of a container, each ended by a newline.
///
/// # Errors
///
/// Fails when the container is ambiguous or unknown, and when the requested attempt does not exist.
pub fn logs(pod: &Pod, options: &LogOptions) -> Result<String, LogsError> {
    let name = || pod.metadata.name.clone().unwrap_or_default();
    let container = select_container(pod, options)?;
    let status = status_of(pod, &container);
    let attempt = if options.previous {
        let number = status.map_or(0, |status| status.restart_count - 1);
        status
            .and_then(|status| status.last_state.as_ref())
            .and_then(|state| attempt_of(state, number))
    } else {
        status.and_then(|status| {
            attempt_of(status.state.as_ref()?, status.restart_count)
                .or_else(|| last_attempt(status))
        })
    };
    let Some(attempt) = attempt else {
        return Err(if options.previous {
            LogsError::NoPrevious {
                pod: name(),
                container,
            }
        } else {
            let waiting =
                status.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
            LogsError::Waiting {
                pod: name(),
                container,
                reason: waiting.unwrap_or_else(|| "ContainerCreating".to_owned()),
            }
        });
    };
    let lines: Vec<(Timestamp, String)> = lines(pod, status, &attempt)
        .into_iter()
        .filter(|(at, _)| options.since.is_none_or(|since| *at >= since))
        .collect();
    let skipped = options
        .tail_lines
        .map_or(0, |tail| lines.len().saturating_sub(tail));
    let render = |(at, line): &(Timestamp, String)| {
        if options.timestamps {
            format!("{at} {line}\n")
        } else {
            format!("{line}\n")
        }
    };
    Ok(lines.iter().skip(skipped).map(render).collect())
}

fn select_container(pod: &Pod, options: &LogOptions) -> Result<String, LogsError> {
    let spec = pod.spec.as_ref();
    let mains: Vec<&str> = spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| container.name.as_str())
        .collect();
    let inits = spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .map(|container| container.name.as_str());
    let ephemeral = spec
        .iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
        .map(|container| container.name.as_str());
    let pod = pod.metadata.name.clone().unwrap_or_default();
    match (&options.container, mains.as_slice()) {
        (Some(wanted), _)
            if mains.contains(&wanted.as_str())
                || inits.chain(ephemeral).any(|name| name == wanted) =>
        {
            Ok(wanted.clone())
        }
        (Some(wanted), _) => Err(LogsError::UnknownContainer {
            pod,
            container: wanted.clone(),
        }),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(LogsError::WhichContainer {
            pod,
            containers: mains.join(" "),
        }),
    }
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let inits = status.init_container_statuses.iter().flatten();
    let ephemeral = status.ephemeral_container_statuses.iter().flatten();
    inits
        .chain(status.container_statuses.iter().flatten())
        .chain(ephemeral)
        .find(|status| status.name == container)
}

/// One attempt of a container, from its status.
struct Attempt {
    number: i32,
    started_at: Timestamp,
    ended: Option<(Timestamp, i32, String)>,
}

fn attempt_of(state: &ContainerState, number: i32) -> Option<Attempt> {
    if let Some(running) = &state.running {
        return Some(Attempt {
            number,
            started_at: running.started_at.as_ref()?.0,
            ended: None,
        });
    }
    let terminated = state.terminated.as_ref()?;
    let finished_at = terminated.finished_at.as_ref()?.0;
    Some(Attempt {
        number,
        started_at: terminated
            .started_at
            .as_ref()
            .map_or(finished_at, |time| time.0),
        ended: Some((
            finished_at,
            terminated.exit_code,
            terminated.reason.clone().unwrap_or_default(),
        )),
    })
}

/// Returns the attempt that has ended. It is shown between two attempts.
fn last_attempt(status: &ContainerStatus) -> Option<Attempt> {
    attempt_of(status.last_state.as_ref()?, status.restart_count)
}

fn lines(
    pod: &Pod,
    status: Option<&ContainerStatus>,
    attempt: &Attempt,
) -> Vec<(Timestamp, String)> {
    let (name, image) = status
        .map(|status| (status.name.as_str(), status.image.as_str()))
        .unwrap_or_default();
    let mut lines = vec![(
        attempt.started_at,
        format!(
            "simulated container {name} started from image {image}, attempt {}",
            attempt.number
        ),
    )];
    if status.is_some_and(|status| status.ready) && attempt.ended.is_none() {
        let ready = pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let since = ready
            .clone()
            .find(|condition| condition.type_ == "ContainersReady" && condition.status == "True");
        let since = since
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map_or(attempt.started_at, |time| time.0);
        lines.push((since.max(attempt.started_at), "ready".to_owned()));
    }
    let alive_until = attempt
        .ended
        .as_ref()
        .map_or(Timestamp::MAX, |(at, ..)| *at);
    if let Some(deleted_at) =
        deleted_at(pod).filter(|at| (attempt.started_at..=alive_until).contains(at))
    {
        lines.push((deleted_at, "asked to stop".to_owned()));
    }
    if let Some((at, code, reason)) = &attempt.ended {
        lines.push((*at, format!("exited with code {code} ({reason})")));
    }
    lines
}

/// Returns the time of the deletion request. The API stores the end of the grace period.
fn deleted_at(pod: &Pod) -> Option<Timestamp> {
    let ends = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = SignedDuration::from_secs(
        pod.metadata
            .deletion_grace_period_seconds
            .unwrap_or_default(),
    );
    ends.checked_sub(grace).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        let containers = json!([{"name": "c", "image": "i"}]);
        let status = json!({
            "name": "c",
            "image": "i",
            "imageID": "",
            "ready": false,
            "restartCount": 1,
            "state": status["state"],
            "lastState": status["lastState"],
        });
        serde_json::from_value(json!({
            "metadata": {
                "name": "p",
                "deletionTimestamp": "2027-01-01T00:00:40Z",
                "deletionGracePeriodSeconds": 30,
            },
            "spec": {"containers": containers},
            "status": {"containerStatuses": [status]},
        }))
        .unwrap()
    }

    fn ended(from: u8, to: u8, code: i32) -> Value {
        let time = |second: u8| format!("2027-01-01T00:00:{second:02}Z");
        json!({"terminated": {
            "startedAt": time(from), "finishedAt": time(to), "exitCode": code, "reason": "Error",
        }})
    }

    #[test]
    fn lines_follow_from_the_status_of_the_container() {
        let pod = pod(json!({"state": ended(5, 12, 137), "lastState": ended(0, 4, 1)}));
        let shown = |options: LogOptions| logs(&pod, &options).unwrap();
        assert_eq!(
            shown(LogOptions {
                timestamps: true,
                ..LogOptions::default()
            }),
            "2027-01-01T00:00:05Z simulated container c started from image i, attempt 1\n\
             2027-01-01T00:00:10Z asked to stop\n\
             2027-01-01T00:00:12Z exited with code 137 (Error)\n"
        );
        let previous = LogOptions {
            previous: true,
            ..LogOptions::default()
        };
        assert_eq!(
            shown(previous),
            "simulated container c started from image i, attempt 0\nexited with code 1 (Error)\n"
        );
        let tail = LogOptions {
            tail_lines: Some(1),
            container: Some("c".into()),
            ..LogOptions::default()
        };
        assert_eq!(shown(tail), "exited with code 137 (Error)\n");
        let since = LogOptions {
            since: "2027-01-01T00:00:11Z".parse().ok(),
            ..LogOptions::default()
        };
        assert_eq!(shown(since), "exited with code 137 (Error)\n");
    }

    #[test]
    fn errors_have_the_messages_of_the_api() {
        let error = |state: Value, options: LogOptions| {
            logs(&pod(state), &options).unwrap_err().to_string()
        };
        let waiting = || json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
        assert_eq!(
            error(waiting(), LogOptions::default()),
            "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"
        );
        let previous = LogOptions {
            previous: true,
            ..LogOptions::default()
        };
        assert_eq!(
            error(waiting(), previous),
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        let other = LogOptions {
            container: Some("x".into()),
            ..LogOptions::default()
        };
        assert_eq!(
            error(waiting(), other),
            "container x is not valid for pod p"
        );
    }
}
