//! A runtime that computes its containers instead of running them.
//!
//! A simulated container consists of the requests that were made for it, with their times, and of
//! the behavior that its pod asks for ([`settings`]). Its state at any moment follows from these
//! ([`timeline`]). It needs no task and no timer, so an idle pod costs only its few bytes, and the
//! simulation works under a paused clock.
//!
//! preStop hooks of the kind `sleep` take their time; `exec` and `httpGet` succeed at once.

mod settings;
mod timeline;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use self::settings::Settings;
use self::timeline::Timeline;
use super::{
    ContainerExit, ContainerObservation, ContainerState, PodObservation, Runtime, RuntimeRequest,
};
use crate::wire::status::ContainerStatus;
use crate::wire::view::PodView;

pub use self::settings::ANNOTATION_PREFIX;

/// The simulated runtime. The annotations of a pod, which begin with [`ANNOTATION_PREFIX`], set the
/// behavior of its containers.
#[derive(Debug, Default)]
pub struct Simulated {
    pods: Mutex<HashMap<Arc<str>, Vec<SimulatedContainer>>>,
}

/// A container with its current attempt; without one, it is absent.
#[derive(Debug)]
struct SimulatedContainer {
    name: Box<str>,
    image: Box<str>,
    settings: Settings,
    timeline: Option<Timeline>,
}

impl Simulated {
    /// Creates a runtime without containers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<SimulatedContainer>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime for Simulated {
    fn update(&self, pod: &PodView, now: Timestamp) -> Vec<String> {
        let (settings, warnings) = settings::of_pod(pod);
        let mut pods = self.pods();
        let containers = pods.entry(pod.uid().into()).or_default();
        for (index, (wanted, settings)) in pod.all_containers().zip(settings).enumerate() {
            match containers.get_mut(index) {
                None => containers.push(SimulatedContainer {
                    name: wanted.name.as_str().into(),
                    image: wanted.image.as_str().into(),
                    settings,
                    timeline: None,
                }),
                Some(known) if known.settings != settings => {
                    if let Some(timeline) = &mut known.timeline {
                        timeline.change_settings(&known.settings, now);
                    }
                    known.settings = settings;
                }
                Some(_) => {}
            }
        }
        warnings
    }

    fn restore(&self, pod: &PodView, now: Timestamp) {
        let mut pods = self.pods();
        for container in pods.get_mut(pod.uid()).into_iter().flatten() {
            container.timeline = pod
                .status
                .of_container(&container.name)
                .and_then(|status| resume(status, now));
        }
    }

    fn request(&self, uid: &str, request: RuntimeRequest, now: Timestamp) {
        let mut pods = self.pods();
        let containers = pods.get_mut(uid).map(Vec::as_mut_slice).unwrap_or_default();
        match request {
            RuntimeRequest::StartContainer { container, attempt } => {
                if let Some(container) = containers.get_mut(container) {
                    container.timeline = Some(Timeline::requested(attempt, now));
                }
            }
            RuntimeRequest::RunPreStopHook { container } => {
                if let Some(SimulatedContainer {
                    timeline: Some(timeline),
                    ..
                }) = containers.get_mut(container)
                {
                    timeline.run_hook(now);
                }
            }
            RuntimeRequest::StopContainer { container, timeout } => {
                let Some(container) = containers.get_mut(container) else {
                    return;
                };
                let Some(timeline) = &mut container.timeline else {
                    return;
                };
                if timeline.has_started(&container.settings, now) {
                    timeline.signal(
                        now,
                        SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX),
                    );
                } else {
                    // Its creation is canceled, so there never was a container.
                    container.timeline = None;
                }
            }
            RuntimeRequest::RemovePod => {
                pods.remove(uid);
            }
        }
    }

    fn observe(&self, uid: &str, now: Timestamp) -> PodObservation {
        let mut observed = PodObservation::default();
        for (index, container) in self.pods().get_mut(uid).into_iter().flatten().enumerate() {
            let Some(timeline) = &mut container.timeline else {
                observed.containers.push(ContainerObservation::default());
                continue;
            };
            let (mut seen, next) = timeline.at(&container.settings, now);
            seen.id = container_id(uid, index, seen.attempt);
            seen.image_id = image_id(&container.image);
            if let ContainerState::Exited(exit) = &mut seen.state
                && exit.id.is_empty()
            {
                exit.id.clone_from(&seen.id);
            }
            observed.containers.push(seen);
            observed.next_change = [observed.next_change, next].into_iter().flatten().min();
        }
        observed
    }
}

/// Restores a container that an earlier agent started from its published status.
fn resume(status: &ContainerStatus, now: Timestamp) -> Option<Timeline> {
    // Other writers can publish any number here, and none must stop the agent.
    let attempt = u32::try_from(status.restart_count).unwrap_or_default();
    if let Some(running) = &status.state.running {
        return Some(Timeline::resumed(
            attempt,
            running.started_at.unwrap_or(now),
        ));
    }
    let terminated = status.state.terminated.as_ref()?;
    let finished_at = terminated.finished_at.unwrap_or(now);
    Some(Timeline::finished(
        attempt,
        ContainerExit {
            started_at: terminated.started_at.unwrap_or(finished_at),
            finished_at,
            exit_code: terminated.exit_code,
            reason: terminated.reason.clone(),
            message: terminated.message.clone(),
            id: terminated.container_id.clone(),
        },
    ))
}

/// Returns the id of an attempt. It is the same after a restart of the agent.
fn container_id(uid: &str, container: usize, attempt: u32) -> String {
    format!("simulated://{}", digest(&(uid, container, attempt)))
}

fn image_id(image: &str) -> String {
    format!("simulated://sha256:{}", digest(&image))
}

/// Returns 64 hexadecimal digits, like the ids of real runtimes. They are not cryptographic.
fn digest(of: &impl std::hash::Hash) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let part = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, of).hash(&mut hasher);
        hasher.finish()
    };
    format!(
        "{:016x}{:016x}{:016x}{:016x}",
        part(0),
        part(1),
        part(2),
        part(3)
    )
}
