//! The progress of one pod through a drain, and the decision about its next step. Pure.
//!
//! ```text
//! Queued ──► Surging ──► Queued ──► Requesting ──► Terminating ──► Done
//!                                   ▲    │ refused or failed
//!                                   └────┴─ Refused, Retrying
//! ```
//!
//! [`next`] reads no clock and never waits: it returns what to do now, or the time until which only
//! an event can change that.

use jiff::Timestamp;

use crate::evict::{EvictionRefusal, FaultClass};

/// The progress of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodProgress {
    /// No request was sent yet: an earlier tier is not finished, or too many requests are in
    /// flight.
    Queued,
    /// The pod's workload is being scaled up. Returns to `Queued` when the new replica is ready.
    Surging,
    /// An eviction, or after a deadline a deletion, was sent and not answered.
    Requesting,
    /// The server refused the eviction. Left when a budget allows it again, at the latest at
    /// `retry_at`.
    Refused {
        /// The server's answer.
        why: EvictionRefusal,
        /// The budgets that refuse (`NAMESPACE/NAME`).
        budgets: Vec<String>,
        /// When the eviction is retried at the latest.
        retry_at: Timestamp,
    },
    /// The request failed for another reason. Left at `retry_at`.
    Retrying {
        /// The class of the failure.
        class: FaultClass,
        /// The server's message, or that of the transport.
        message: String,
        /// When the request is sent again.
        retry_at: Timestamp,
    },
    /// The server accepted the request. Left when the pod no longer exists.
    Terminating,
    /// Final.
    Done {
        /// The outcome.
        outcome: PodOutcome,
    },
}

/// The outcome of one pod's drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodOutcome {
    /// The pod no longer exists, or another pod has its name.
    Gone,
    /// The drain stopped waiting for the pod, whose deletion is long overdue.
    Skipped,
    /// In a dry run: the server would grant the eviction.
    WouldEvict,
    /// The pod stays because a deadline has passed, or in a dry run because the server would
    /// refuse: the reason.
    NotEvicted(String),
    /// The eviction failed: the reason.
    Failed(String),
}

/// What to do when a deadline has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadlineAction {
    /// Report it once and keep waiting.
    Wait,
    /// Give the pod up and report it.
    #[default]
    Report,
    /// Delete the pod in spite of its budget, unless it is terminating already.
    Delete,
}

/// The input of [`next`] beside the progress.
#[derive(Clone, Copy, Debug)]
pub struct ProgressInputs {
    /// The current time.
    pub now: Timestamp,
    /// The pod's tier has begun, and fewer requests than the limit are in flight.
    pub may_request: bool,
    /// A budget or the pod has changed so that the server may answer differently now.
    pub retry_now: bool,
    /// The pod is being deleted already, and no other grace period is requested.
    pub terminating: bool,
    /// The workload is to be scaled up before the eviction.
    pub wants_surge: bool,
    /// When the command gives up (`--timeout`).
    pub timeout_at: Option<Timestamp>,
    /// When the earlier of the deadlines of pod and node passes, `None` once that was reported.
    pub deadline_at: Option<Timestamp>,
    /// What to do then.
    pub on_deadline: DeadlineAction,
    /// When the drain stops waiting for the termination.
    pub skip_at: Option<Timestamp>,
}

/// The next step for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Send the eviction.
    Request,
    /// Delete the pod in spite of its budget.
    Delete,
    /// Scale the workload up.
    Surge,
    /// Send nothing: the pod is being deleted already.
    AwaitDeletion,
    /// Report once that the deadline has passed.
    ReportDeadline,
    /// End the drain of the pod with this outcome.
    Stop(PodOutcome),
    /// Do nothing until this time, or until an event when there is none.
    Wait(Option<Timestamp>),
}

/// Decides the next step for a pod.
#[must_use]
pub fn next(progress: &PodProgress, inputs: &ProgressInputs) -> NextStep {
    let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= inputs.now);
    if matches!(progress, PodProgress::Done { .. }) {
        return NextStep::Wait(None);
    }
    if due(inputs.timeout_at) {
        return NextStep::Stop(PodOutcome::Failed(timed_out(progress).to_owned()));
    }
    if due(inputs.deadline_at) {
        return past_deadline(progress, inputs.on_deadline);
    }
    let step = match progress {
        PodProgress::Queued if !inputs.may_request => NextStep::Wait(None),
        PodProgress::Queued if inputs.terminating => NextStep::AwaitDeletion,
        PodProgress::Queued if inputs.wants_surge => NextStep::Surge,
        PodProgress::Queued => NextStep::Request,
        PodProgress::Refused { .. } | PodProgress::Retrying { .. } if inputs.terminating => {
            NextStep::AwaitDeletion
        }
        PodProgress::Refused { retry_at, .. }
            if !(inputs.may_request && (inputs.retry_now || *retry_at <= inputs.now)) =>
        {
            NextStep::Wait(Some(*retry_at))
        }
        PodProgress::Retrying { retry_at, .. }
            if !(inputs.may_request && *retry_at <= inputs.now) =>
        {
            NextStep::Wait(Some(*retry_at))
        }
        PodProgress::Refused { .. } | PodProgress::Retrying { .. } => NextStep::Request,
        PodProgress::Terminating if due(inputs.skip_at) => NextStep::Stop(PodOutcome::Skipped),
        PodProgress::Terminating => NextStep::Wait(inputs.skip_at),
        PodProgress::Surging | PodProgress::Requesting | PodProgress::Done { .. } => {
            NextStep::Wait(None)
        }
    };
    match step {
        NextStep::Wait(at) => NextStep::Wait(
            [at, inputs.timeout_at, inputs.deadline_at]
                .into_iter()
                .flatten()
                .filter(|at| *at > inputs.now)
                .min(),
        ),
        step => step,
    }
}

fn timed_out(progress: &PodProgress) -> &'static str {
    if *progress == PodProgress::Terminating {
        "context deadline exceeded"
    } else {
        "global timeout reached"
    }
}

fn past_deadline(progress: &PodProgress, on_deadline: DeadlineAction) -> NextStep {
    match (on_deadline, progress) {
        (DeadlineAction::Wait, _) => NextStep::ReportDeadline,
        // A second deletion changes nothing, and a forced one would hide processes that still run.
        (_, PodProgress::Terminating) => NextStep::Stop(PodOutcome::NotEvicted(
            "accepted, but not deleted before its deadline".to_owned(),
        )),
        (DeadlineAction::Delete, PodProgress::Requesting) => NextStep::Wait(None),
        (DeadlineAction::Delete, _) => NextStep::Delete,
        (DeadlineAction::Report, PodProgress::Refused { why, .. }) => {
            NextStep::Stop(PodOutcome::NotEvicted(format!(
                "refused until its deadline: {}",
                why.causes.first().unwrap_or(&why.message)
            )))
        }
        (DeadlineAction::Report, PodProgress::Retrying { message, .. }) => NextStep::Stop(
            PodOutcome::NotEvicted(format!("failed until its deadline: {message}")),
        ),
        (DeadlineAction::Report, _) => NextStep::Stop(PodOutcome::NotEvicted(
            "no eviction was sent before its deadline".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::constant(seconds, 0)
    }

    fn inputs() -> ProgressInputs {
        ProgressInputs {
            now: at(100),
            may_request: true,
            retry_now: false,
            terminating: false,
            wants_surge: false,
            timeout_at: None,
            deadline_at: None,
            on_deadline: DeadlineAction::Report,
            skip_at: None,
        }
    }

    fn refused(retry: i64) -> PodProgress {
        let why = EvictionRefusal {
            message: "no".into(),
            causes: vec!["because".into()],
            retry_after_seconds: 0,
        };
        PodProgress::Refused {
            why,
            budgets: vec!["b".into()],
            retry_at: at(retry),
        }
    }

    fn faulty(retry: i64) -> PodProgress {
        PodProgress::Retrying {
            class: FaultClass::ServerError,
            message: "EOF".into(),
            retry_at: at(retry),
        }
    }

    #[test]
    fn an_eviction_is_sent_when_the_tier_begins_and_when_a_budget_frees() {
        let check = |progress: PodProgress, inputs: ProgressInputs, step: NextStep| {
            assert_eq!(next(&progress, &inputs), step, "{progress:?}")
        };
        check(PodProgress::Queued, inputs(), NextStep::Request);
        check(
            PodProgress::Queued,
            ProgressInputs {
                may_request: false,
                ..inputs()
            },
            NextStep::Wait(None),
        );
        check(
            PodProgress::Queued,
            ProgressInputs {
                wants_surge: true,
                ..inputs()
            },
            NextStep::Surge,
        );
        check(
            PodProgress::Queued,
            ProgressInputs {
                terminating: true,
                wants_surge: true,
                ..inputs()
            },
            NextStep::AwaitDeletion,
        );
        check(refused(105), inputs(), NextStep::Wait(Some(at(105))));
        check(
            refused(105),
            ProgressInputs {
                retry_now: true,
                ..inputs()
            },
            NextStep::Request,
        );
        check(refused(100), inputs(), NextStep::Request);
        check(
            refused(105),
            ProgressInputs {
                terminating: true,
                ..inputs()
            },
            NextStep::AwaitDeletion,
        );
        check(
            faulty(105),
            ProgressInputs {
                retry_now: true,
                ..inputs()
            },
            NextStep::Wait(Some(at(105))),
        );
        check(faulty(99), inputs(), NextStep::Request);
        check(
            PodProgress::Terminating,
            ProgressInputs {
                skip_at: Some(at(120)),
                ..inputs()
            },
            NextStep::Wait(Some(at(120))),
        );
        check(
            PodProgress::Terminating,
            ProgressInputs {
                skip_at: Some(at(100)),
                ..inputs()
            },
            NextStep::Stop(PodOutcome::Skipped),
        );
    }

    #[test]
    fn a_deadline_never_deletes_by_default_and_never_by_force() {
        let late = |on_deadline| ProgressInputs {
            deadline_at: Some(at(100)),
            on_deadline,
            ..inputs()
        };
        let left = |why: &str| NextStep::Stop(PodOutcome::NotEvicted(why.to_owned()));
        assert_eq!(
            next(&refused(105), &late(DeadlineAction::Report)),
            left("refused until its deadline: because")
        );
        assert_eq!(
            next(&refused(105), &late(DeadlineAction::Wait)),
            NextStep::ReportDeadline
        );
        assert_eq!(
            next(&refused(105), &late(DeadlineAction::Delete)),
            NextStep::Delete
        );
        for on_deadline in [DeadlineAction::Report, DeadlineAction::Delete] {
            assert_eq!(
                next(&PodProgress::Terminating, &late(on_deadline)),
                left("accepted, but not deleted before its deadline")
            );
        }
    }

    #[test]
    fn a_wait_ends_at_the_earliest_of_all_limits() {
        let inputs = ProgressInputs {
            timeout_at: Some(at(103)),
            deadline_at: Some(at(102)),
            ..inputs()
        };
        assert_eq!(next(&refused(105), &inputs), NextStep::Wait(Some(at(102))));
        assert_eq!(next(&refused(101), &inputs), NextStep::Wait(Some(at(101))));
        let late = ProgressInputs {
            timeout_at: Some(at(100)),
            ..inputs
        };
        assert_eq!(
            next(&refused(105), &late),
            NextStep::Stop(PodOutcome::Failed("global timeout reached".into()))
        );
        assert_eq!(
            next(&PodProgress::Terminating, &late),
            NextStep::Stop(PodOutcome::Failed("context deadline exceeded".into()))
        );
    }
}
