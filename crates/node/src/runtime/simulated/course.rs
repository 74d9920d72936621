//! The course of one attempt of a simulated container: a function of time.

use std::cmp::min;

use jiff::{SignedDuration, Timestamp};

use super::settings::Settings;
use crate::runtime::{ContainerState, Ended, Seen};

/// Exit code of a process that was killed (128 + SIGKILL).
const KILLED: i32 = 137;
/// Exit code of a process that breaks down and does not say how.
const BROKEN: i32 = 1;

/// One attempt.
#[derive(Debug)]
pub(super) struct Course {
    attempt: u32,
    /// When it starts or started.
    starts_at: Start,
    /// Settings that change while it runs cannot end it in the past.
    not_before: Timestamp,
    hook_since: Option<Timestamp>,
    /// When the stop signal came, and when the kill comes.
    signal: Option<(Timestamp, Timestamp)>,
    /// Once it has ended, nothing changes that any more.
    ended: Option<Box<Ended>>,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    /// Ordered at this time: the start-up delay counts from here.
    Ordered(Timestamp),
    /// Has run since.
    Known(Timestamp),
}

impl Course {
    /// Begins with the order to start.
    pub(super) fn ordered(attempt: u32, now: Timestamp) -> Self {
        Self {
            attempt,
            starts_at: Start::Ordered(now),
            not_before: now,
            hook_since: None,
            signal: None,
            ended: None,
        }
    }

    /// Goes on with a container that has run since `started_at`.
    pub(super) fn resumed(attempt: u32, started_at: Timestamp) -> Self {
        Self {
            starts_at: Start::Known(started_at),
            ..Self::ordered(attempt, started_at)
        }
    }

    /// One that is over.
    pub(super) fn finished(attempt: u32, ended: Ended) -> Self {
        Self {
            ended: Some(Box::new(ended)),
            ..Self::ordered(attempt, Timestamp::UNIX_EPOCH)
        }
    }

    /// The preStop hook begins.
    pub(super) fn hook(&mut self, now: Timestamp) {
        self.hook_since.get_or_insert(now);
    }

    /// The stop signal comes, or the kill comes earlier than was said before.
    pub(super) fn signal(&mut self, now: Timestamp, timeout: SignedDuration) {
        let kill_at = later(now, timeout);
        self.signal = Some(match self.signal {
            None => (now, kill_at),
            Some((since, former)) => (since, min(former, kill_at)),
        });
    }

    /// Whether it has started by now.
    pub(super) fn has_started(&self, settings: &Settings, now: Timestamp) -> bool {
        self.ended.is_some() || self.started_at(settings) <= now
    }

    /// Pins what the former settings have decided already.
    pub(super) fn settings_change(&mut self, former: &Settings, now: Timestamp) {
        let _ = self.at(former, now);
        if self.has_started(former, now) {
            self.starts_at = Start::Known(self.started_at(former));
        }
        self.not_before = now;
    }

    fn started_at(&self, settings: &Settings) -> Timestamp {
        match self.starts_at {
            Start::Ordered(at) => later(at, settings.startup),
            Start::Known(at) => at,
        }
    }

    /// What it does at `now`, and when that changes by itself.
    pub(super) fn at(&mut self, settings: &Settings, now: Timestamp) -> (Seen, Option<Timestamp>) {
        let started_at = self.started_at(settings);
        let mut next = None;
        if self.ended.is_none()
            && let Some((finished_at, exit_code)) = self.end(settings, started_at)
        {
            if finished_at <= now {
                self.ended = Some(Box::new(ended(started_at, finished_at, exit_code)));
            } else {
                next = Some(finished_at);
            }
        }
        let state = if let Some(ended) = &self.ended {
            ContainerState::Exited((**ended).clone())
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
            Seen {
                attempt: self.attempt,
                state,
                hook_done,
                ..Seen::default()
            },
            next,
        )
    }

    /// When and how it ends, as things stand.
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
            by_itself(settings.crash, BROKEN),
            stopped,
        ];
        ends.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

fn ended(started_at: Timestamp, finished_at: Timestamp, exit_code: i32) -> Ended {
    Ended {
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
