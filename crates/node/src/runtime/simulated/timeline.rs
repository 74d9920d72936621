//! The timeline of one attempt of a simulated container, as a function of time.

use std::cmp::min;

use jiff::{SignedDuration, Timestamp};

use super::settings::Settings;
use crate::runtime::{ContainerExit, ContainerObservation, ContainerState};

/// The exit code of a process that was killed: 128 + SIGKILL.
const KILLED: i32 = 137;
/// The default exit code of a process that crashes.
const CRASHED: i32 = 1;

/// The requests that were made for one attempt, with their times.
#[derive(Debug)]
pub(super) struct Timeline {
    attempt: u32,
    /// When the container starts or started.
    starts_at: Start,
    /// The earliest exit: settings that change while the container runs cannot end it in the past.
    not_before: Timestamp,
    hook_since: Option<Timestamp>,
    /// The times of the stop signal and of the kill.
    signal: Option<(Timestamp, Timestamp)>,
    /// The exit. Final, once it was observed.
    exit: Option<Box<ContainerExit>>,
}

/// The start of an attempt.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// The start was requested at this time, and follows after the start-up delay.
    Requested(Timestamp),
    /// The container started at this time.
    Known(Timestamp),
}

impl Timeline {
    /// Begins an attempt whose start is requested at `now`.
    pub(super) fn requested(attempt: u32, now: Timestamp) -> Self {
        Self {
            attempt,
            starts_at: Start::Requested(now),
            not_before: now,
            hook_since: None,
            signal: None,
            exit: None,
        }
    }

    /// Continues an attempt that has run since `started_at`.
    pub(super) fn resumed(attempt: u32, started_at: Timestamp) -> Self {
        Self {
            starts_at: Start::Known(started_at),
            ..Self::requested(attempt, started_at)
        }
    }

    /// Returns the timeline of an attempt that has exited.
    pub(super) fn finished(attempt: u32, exit: ContainerExit) -> Self {
        Self {
            exit: Some(Box::new(exit)),
            ..Self::requested(attempt, Timestamp::UNIX_EPOCH)
        }
    }

    /// Starts the preStop hook. Later calls have no effect.
    pub(super) fn run_hook(&mut self, now: Timestamp) {
        self.hook_since.get_or_insert(now);
    }

    /// Sends the stop signal, or moves the kill to an earlier time.
    pub(super) fn signal(&mut self, now: Timestamp, timeout: SignedDuration) {
        let kill_at = later(now, timeout);
        self.signal = Some(match self.signal {
            None => (now, kill_at),
            Some((since, former)) => (since, min(former, kill_at)),
        });
    }

    /// Returns true when the container has started by `now`.
    pub(super) fn has_started(&self, settings: &Settings, now: Timestamp) -> bool {
        self.exit.is_some() || self.started_at(settings) <= now
    }

    /// Prepares for other settings: what happened under the former ones does not change.
    pub(super) fn change_settings(&mut self, former: &Settings, now: Timestamp) {
        let _ = self.at(former, now);
        if self.has_started(former, now) {
            self.starts_at = Start::Known(self.started_at(former));
        }
        self.not_before = now;
    }

    fn started_at(&self, settings: &Settings) -> Timestamp {
        match self.starts_at {
            Start::Requested(at) => later(at, settings.startup),
            Start::Known(at) => at,
        }
    }

    /// Returns the state at `now`, and the time of the next change that needs no request.
    pub(super) fn at(
        &mut self,
        settings: &Settings,
        now: Timestamp,
    ) -> (ContainerObservation, Option<Timestamp>) {
        let started_at = self.started_at(settings);
        let mut next = None;
        if self.exit.is_none()
            && let Some((finished_at, exit_code)) = self.end(settings, started_at)
        {
            if finished_at <= now {
                self.exit = Some(Box::new(exit(started_at, finished_at, exit_code)));
            } else {
                next = Some(finished_at);
            }
        }
        let state = if let Some(exit) = &self.exit {
            ContainerState::Exited((**exit).clone())
        } else if started_at > now {
            next = Some(started_at);
            ContainerState::Creating
        } else {
            let ready_at = later(started_at, settings.ready_after);
            if ready_at > now && !settings.never_ready {
                next = Some(next.map_or(ready_at, |next| min(next, ready_at)));
            }
            ContainerState::Running {
                started_at,
                ready: ready_at <= now && !settings.never_ready,
                unhealthy: (settings.never_ready && ready_at <= now)
                    .then(|| "Readiness probe failed: simulated as never ready".to_owned()),
            }
        };
        let hook_ends = self.hook_since.map(|since| later(since, settings.hook));
        if let Some(hook_ends) = hook_ends.filter(|ends| *ends > now) {
            next = Some(next.map_or(hook_ends, |next| min(next, hook_ends)));
        }
        let hook_done = hook_ends.is_some_and(|ends| ends <= now);
        (
            ContainerObservation {
                attempt: self.attempt,
                state,
                hook_done,
                ..ContainerObservation::default()
            },
            next,
        )
    }

    /// Returns the time and the exit code of the exit, as far as it is determined.
    fn end(&self, settings: &Settings, started_at: Timestamp) -> Option<(Timestamp, i32)> {
        let by_itself = |after: Option<SignedDuration>, code: i32| {
            after.map(|after| {
                (
                    later(started_at, after).max(self.not_before),
                    settings.exit_code.unwrap_or(code),
                )
            })
        };
        let stopped = self.signal.map(|(since, kill_at)| {
            let leaves_at = later(since, settings.stop);
            if settings.ignores_stop || leaves_at > kill_at {
                (kill_at, KILLED)
            } else {
                (leaves_at, settings.exit_code.unwrap_or(0))
            }
        });
        let ends = [
            by_itself(settings.run, 0),
            by_itself(settings.crash, CRASHED),
            stopped,
        ];
        ends.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

fn exit(started_at: Timestamp, finished_at: Timestamp, exit_code: i32) -> ContainerExit {
    ContainerExit {
        started_at,
        finished_at,
        exit_code,
        reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: String::new(),
        id: String::new(),
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}
