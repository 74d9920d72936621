//! What `kubectl logs` shows of a simulated container.
//!
//! There is no process that could have written anything, so the lines are made from what the pod's
//! status says of the container's life. A pure function: it works on any pod, whoever runs it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

/// Which lines, and how.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Name of the container; may be left out when there is only one.
    pub container: Option<String>,
    /// The attempt before the present one.
    pub previous: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only lines from this moment on.
    pub since: Option<Timestamp>,
    /// Only so many lines at the end.
    pub tail_lines: Option<usize>,
}

/// Why there are no lines. The texts are those of the API.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogsError {
    /// Nobody can tell which container is meant.
    #[error("a container name must be specified for pod {pod}, choose one of: [{containers}]")]
    WhichContainer {
        /// Name of the pod.
        pod: String,
        /// Names of its containers, separated by spaces.
        containers: String,
    },
    /// There is no such container.
    #[error("container {container} is not valid for pod {pod}")]
    UnknownContainer {
        /// Name of the pod.
        pod: String,
        /// The name that was asked for.
        container: String,
    },
    /// It has not started.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    Waiting {
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
        /// Why it waits.
        reason: String,
    },
    /// It was never started again.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
    },
}

/// The lines of a container, each ended by a newline.
///
/// # Errors
/// When the container does not exist or has nothing to show.
pub fn logs(pod: &Pod, options: &LogOptions) -> Result<String, LogsError> {
    let name = || pod.metadata.name.clone().unwrap_or_default();
    let container = chosen(pod, options)?;
    let status = status_of(pod, &container);
    let life = if options.previous {
        let attempt = status.map_or(0, |status| status.restart_count - 1);
        status
            .and_then(|status| status.last_state.as_ref())
            .and_then(|state| life(state, attempt))
    } else {
        status.and_then(|status| {
            life(status.state.as_ref()?, status.restart_count).or_else(|| last_life(status))
        })
    };
    let Some(life) = life else {
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
    let lines: Vec<(Timestamp, String)> = lines(pod, status, &life)
        .into_iter()
        .filter(|(at, _)| options.since.is_none_or(|since| *at >= since))
        .collect();
    let skipped = options
        .tail_lines
        .map_or(0, |tail| lines.len().saturating_sub(tail));
    let render = |(at, text): &(Timestamp, String)| {
        if options.timestamps {
            format!("{at} {text}\n")
        } else {
            format!("{text}\n")
        }
    };
    Ok(lines.iter().skip(skipped).map(render).collect())
}

fn chosen(pod: &Pod, options: &LogOptions) -> Result<String, LogsError> {
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

/// One attempt as the status tells it.
struct Life {
    attempt: i32,
    started_at: Timestamp,
    ended: Option<(Timestamp, i32, String)>,
}

fn life(state: &ContainerState, attempt: i32) -> Option<Life> {
    if let Some(running) = &state.running {
        return Some(Life {
            attempt,
            started_at: running.started_at.as_ref()?.0,
            ended: None,
        });
    }
    let terminated = state.terminated.as_ref()?;
    let finished_at = terminated.finished_at.as_ref()?.0;
    Some(Life {
        attempt,
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

/// Between two attempts the one that has ended is shown.
fn last_life(status: &ContainerStatus) -> Option<Life> {
    life(status.last_state.as_ref()?, status.restart_count)
}

fn lines(pod: &Pod, status: Option<&ContainerStatus>, life: &Life) -> Vec<(Timestamp, String)> {
    let (name, image) = status
        .map(|status| (status.name.as_str(), status.image.as_str()))
        .unwrap_or_default();
    let mut lines = vec![(
        life.started_at,
        format!(
            "simulated container {name} started from image {image}, attempt {}",
            life.attempt
        ),
    )];
    if status.is_some_and(|status| status.ready) && life.ended.is_none() {
        let ready = pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let since = ready
            .clone()
            .find(|condition| condition.type_ == "ContainersReady" && condition.status == "True");
        let since = since
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map_or(life.started_at, |time| time.0);
        lines.push((since.max(life.started_at), "ready".to_owned()));
    }
    let alive_until = life.ended.as_ref().map_or(Timestamp::MAX, |(at, ..)| *at);
    if let Some(deleted_at) =
        deleted_at(pod).filter(|at| (life.started_at..=alive_until).contains(at))
    {
        lines.push((deleted_at, "asked to stop".to_owned()));
    }
    if let Some((at, code, reason)) = &life.ended {
        lines.push((*at, format!("exited with code {code} ({reason})")));
    }
    lines
}

/// When the deletion was asked for: the API stores when its grace ends.
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
        let status = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 1, "state": status["state"], "lastState": status["lastState"]});
        serde_json::from_value(json!({
            "metadata": {"name": "p", "deletionTimestamp": "2027-01-01T00:00:40Z", "deletionGracePeriodSeconds": 30},
            "spec": {"containers": containers},
            "status": {"containerStatuses": [status]},
        }))
        .unwrap()
    }

    fn ended(from: u8, to: u8, code: i32) -> Value {
        let time = |second: u8| format!("2027-01-01T00:00:{second:02}Z");
        json!({"terminated": {"startedAt": time(from), "finishedAt": time(to), "exitCode": code, "reason": "Error"}})
    }

    #[test]
    fn the_life_of_a_container_is_told_in_lines() {
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
    fn what_cannot_be_shown_is_said_in_the_words_of_the_api() {
        let told = |state: Value, options: LogOptions| {
            logs(&pod(state), &options).unwrap_err().to_string()
        };
        let waiting = || json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
        assert_eq!(
            told(waiting(), LogOptions::default()),
            "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"
        );
        let previous = LogOptions {
            previous: true,
            ..LogOptions::default()
        };
        assert_eq!(
            told(waiting(), previous),
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        let other = LogOptions {
            container: Some("x".into()),
            ..LogOptions::default()
        };
        assert_eq!(told(waiting(), other), "container x is not valid for pod p");
    }
}
