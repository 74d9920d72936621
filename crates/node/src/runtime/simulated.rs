//! A runtime whose containers are arithmetic.
//!
//! A simulated container is what was ordered, when, and how its author wants it to behave
//! ([`settings`]); what it does at any moment follows from these ([`course`]). No task and no timer
//! stands behind it: an idle pod costs its few bytes, and a paused clock costs nothing.
//!
//! Its hooks: `sleep` takes its time, `exec` and `httpGet` succeed at once.

mod course;
mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use self::course::Course;
use self::settings::Settings;
use super::{Ended, Observed, Order, Runtime};
use crate::pod::status::ContainerStatus;
use crate::pod::view::PodView;

pub use self::settings::ANNOTATION_PREFIX;

/// The simulated runtime.
#[derive(Debug, Default)]
pub struct Simulated {
    pods: Mutex<HashMap<Arc<str>, Vec<Container>>>,
}

/// One simulated container.
#[derive(Debug)]
struct Container {
    name: Box<str>,
    image: Box<str>,
    settings: Settings,
    course: Option<Course>,
}

impl Simulated {
    /// A runtime in which nothing runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Container>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime for Simulated {
    fn admit(&self, pod: &PodView, now: Timestamp) -> Vec<String> {
        let (settings, complaints) = settings::of_pod(pod);
        let mut pods = self.pods();
        let containers = pods.entry(pod.uid().into()).or_default();
        for (index, (wanted, settings)) in pod.all_containers().zip(settings).enumerate() {
            match containers.get_mut(index) {
                None => containers.push(Container {
                    name: wanted.name.as_str().into(),
                    image: wanted.image.as_str().into(),
                    settings,
                    course: None,
                }),
                Some(known) if known.settings != settings => {
                    if let Some(course) = &mut known.course {
                        course.settings_change(&known.settings, now);
                    }
                    known.settings = settings;
                }
                Some(_) => {}
            }
        }
        complaints
    }

    fn adopt(&self, pod: &PodView, now: Timestamp) {
        let mut pods = self.pods();
        for container in pods.get_mut(pod.uid()).into_iter().flatten() {
            container.course = pod
                .status
                .of_container(&container.name)
                .and_then(|status| resume(status, now));
        }
    }

    fn order(&self, uid: &str, order: Order, now: Timestamp) {
        let mut pods = self.pods();
        let containers = pods.get_mut(uid).map(Vec::as_mut_slice).unwrap_or_default();
        match order {
            Order::Start { container, attempt } => {
                if let Some(container) = containers.get_mut(container) {
                    container.course = Some(Course::ordered(attempt, now));
                }
            }
            Order::PreStop { container } => {
                if let Some(Container {
                    course: Some(course),
                    ..
                }) = containers.get_mut(container)
                {
                    course.hook(now);
                }
            }
            Order::Stop { container, timeout } => {
                let Some(container) = containers.get_mut(container) else {
                    return;
                };
                let Some(course) = &mut container.course else {
                    return;
                };
                if course.has_started(&container.settings, now) {
                    course.signal(
                        now,
                        SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX),
                    );
                } else {
                    // Stopped before it was started: there never was a container.
                    container.course = None;
                }
            }
            Order::Remove => {
                pods.remove(uid);
            }
        }
    }

    fn observe(&self, uid: &str, now: Timestamp) -> Observed {
        let mut observed = Observed::default();
        for (index, container) in self.pods().get_mut(uid).into_iter().flatten().enumerate() {
            let Some(course) = &mut container.course else {
                observed.containers.push(super::Seen::default());
                continue;
            };
            let (mut seen, next) = course.at(&container.settings, now);
            seen.id = container_id(uid, index, seen.attempt);
            seen.image_id = image_id(&container.image);
            if let super::ContainerState::Exited(ended) = &mut seen.state
                && ended.id.is_empty()
            {
                ended.id.clone_from(&seen.id);
            }
            observed.containers.push(seen);
            observed.next_change = [observed.next_change, next].into_iter().flatten().min();
        }
        observed
    }
}

/// Goes on with a container that an earlier agent started, as far as the API knows it.
fn resume(status: &ContainerStatus, now: Timestamp) -> Option<Course> {
    // Whatever somebody else wrote there must not stop the agent.
    let attempt = u32::try_from(status.restart_count).unwrap_or_default();
    if let Some(running) = &status.state.running {
        return Some(Course::resumed(attempt, running.started_at.unwrap_or(now)));
    }
    let terminated = status.state.terminated.as_ref()?;
    let finished_at = terminated.finished_at.unwrap_or(now);
    Some(Course::finished(
        attempt,
        Ended {
            started_at: terminated.started_at.unwrap_or(finished_at),
            finished_at,
            exit_code: terminated.exit_code,
            reason: terminated.reason.clone(),
            message: terminated.message.clone(),
            id: terminated.container_id.clone(),
        },
    ))
}

/// The id that this attempt always has, so that an agent that starts again reports the same one.
fn container_id(uid: &str, container: usize, attempt: u32) -> String {
    format!("simulated://{}", digest(&(uid, container, attempt)))
}

fn image_id(image: &str) -> String {
    format!("simulated://sha256:{}", digest(&image))
}

/// 64 hexadecimal digits that look like the ids of real runtimes. Nothing relies on them being
/// unguessable.
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
