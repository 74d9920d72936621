//! Where one pod stands in a drain, and what is to be done next: a pure decision.
//!
//! ```text
//! Queued ──► Surging ──► Queued ──► Asking ──► Leaving ──► Done
//!                                   ▲    │ refused, or a fault
//!                                   └────┴─ Refused, Faulty
//! ```
//!
//! [`next`] never looks at a clock and never waits: it says what to do now, or until when nothing
//! can happen by itself.

use jiff::Timestamp;
use serde::Serialize;

use crate::evict::{Class, Refused};

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "stage")]
pub enum Stage {
    /// Its turn has not come: an earlier tier is not gone, or too many requests are under way.
    Queued,
    /// Another replica is being started first.
    Surging,
    /// The eviction, or past a deadline the deletion, is asked for and not answered.
    Asking,
    /// The server refused; asked again when a budget frees, or at the latest then.
    Refused {
        /// In the server's words.
        #[serde(flatten)]
        why: Refused,
        /// The budgets that refuse.
        budgets: Vec<String>,
        /// When it is asked again at the latest.
        retry_at: Timestamp,
    },
    /// Something else went wrong; asked again then.
    Faulty {
        /// Of what class.
        class: Class,
        /// In the server's words.
        message: String,
        /// When it is asked again.
        retry_at: Timestamp,
    },
    /// Accepted and not gone.
    Leaving,
    /// Nothing more is done about it.
    Done {
        /// How it ended.
        end: End,
    },
}

/// How the drain of one pod ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "end", content = "why")]
pub enum End {
    /// It is gone, or another pod has its name.
    Gone,
    /// It should have been gone for long, and was not waited for.
    Skipped,
    /// A dry run: it would be accepted.
    Would,
    /// A deadline passed and the pod was left where it is.
    Left(String),
    /// It could not be evicted.
    Failed(String),
}

impl End {
    /// Whether the node counts as drained of this pod.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Gone | Self::Skipped | Self::Would)
    }
}

/// What to do when a deadline has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeadline {
    /// Say so, and go on waiting.
    Wait,
    /// Leave the pod.
    #[default]
    Report,
    /// Delete it past its budget, unless it is leaving already.
    Delete,
}

/// What the decision needs to know beside the stage.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The present time.
    pub now: Timestamp,
    /// Its tier has begun, and there is room for a request.
    pub may_ask: bool,
    /// A budget, or the pod itself, has changed so that the answer may be another one.
    pub chance: bool,
    /// It is being deleted already, and nobody asks for another grace period.
    pub terminating: bool,
    /// Another replica is to be started before it goes.
    pub wants_surge: bool,
    /// When the whole command gives up.
    pub timeout_at: Option<Timestamp>,
    /// When its deadline, or its node's, passes; none when it has passed and that was told.
    pub deadline_at: Option<Timestamp>,
    /// What is done then.
    pub on_deadline: OnDeadline,
    /// When it is left alone although it is not gone.
    pub skip_at: Option<Timestamp>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for the eviction.
    Ask,
    /// Delete it past its budget.
    Delete,
    /// Start another replica.
    Surge,
    /// It is leaving already.
    Await,
    /// Its deadline has passed: tell it once and go on.
    TellOverdue,
    /// Nothing more.
    Stop(End),
    /// Nothing now; something can happen by itself at this time.
    Wait(Option<Timestamp>),
}

/// What is to be done about a pod.
#[must_use]
pub fn next(stage: &Stage, facts: &Facts) -> Step {
    let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= facts.now);
    if matches!(stage, Stage::Done { .. }) {
        return Step::Wait(None);
    }
    if due(facts.timeout_at) {
        return Step::Stop(End::Failed(timed_out(stage).to_owned()));
    }
    if due(facts.deadline_at) {
        return past_deadline(stage, facts.on_deadline);
    }
    let step = match stage {
        Stage::Queued if !facts.may_ask => Step::Wait(None),
        Stage::Queued if facts.terminating => Step::Await,
        Stage::Queued if facts.wants_surge => Step::Surge,
        Stage::Queued => Step::Ask,
        Stage::Refused { .. } | Stage::Faulty { .. } if facts.terminating => Step::Await,
        Stage::Refused { retry_at, .. }
            if !(facts.may_ask && (facts.chance || *retry_at <= facts.now)) =>
        {
            Step::Wait(Some(*retry_at))
        }
        Stage::Faulty { retry_at, .. } if !(facts.may_ask && *retry_at <= facts.now) => {
            Step::Wait(Some(*retry_at))
        }
        Stage::Refused { .. } | Stage::Faulty { .. } => Step::Ask,
        Stage::Leaving if due(facts.skip_at) => Step::Stop(End::Skipped),
        Stage::Leaving => Step::Wait(facts.skip_at),
        Stage::Surging | Stage::Asking | Stage::Done { .. } => Step::Wait(None),
    };
    match step {
        Step::Wait(at) => Step::Wait(
            [at, facts.timeout_at, facts.deadline_at]
                .into_iter()
                .flatten()
                .filter(|at| *at > facts.now)
                .min(),
        ),
        step => step,
    }
}

fn timed_out(stage: &Stage) -> &'static str {
    if *stage == Stage::Leaving {
        "context deadline exceeded"
    } else {
        "global timeout reached"
    }
}

fn past_deadline(stage: &Stage, on_deadline: OnDeadline) -> Step {
    match (on_deadline, stage) {
        (OnDeadline::Wait, _) => Step::TellOverdue,
        // What has been accepted needs no second order, and force would hide a process that still
        // runs.
        (_, Stage::Leaving) => Step::Stop(End::Left(
            "accepted, but not gone at its deadline".to_owned(),
        )),
        (OnDeadline::Delete, Stage::Asking) => Step::Wait(None),
        (OnDeadline::Delete, _) => Step::Delete,
        (OnDeadline::Report, Stage::Refused { why, .. }) => Step::Stop(End::Left(format!(
            "refused until its deadline: {}",
            why.causes.first().unwrap_or(&why.message)
        ))),
        (OnDeadline::Report, Stage::Faulty { message, .. }) => {
            Step::Stop(End::Left(format!("failed until its deadline: {message}")))
        }
        (OnDeadline::Report, _) => Step::Stop(End::Left(
            "its turn did not come before its deadline".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::constant(seconds, 0)
    }

    fn facts() -> Facts {
        Facts {
            now: at(100),
            may_ask: true,
            chance: false,
            terminating: false,
            wants_surge: false,
            timeout_at: None,
            deadline_at: None,
            on_deadline: OnDeadline::Report,
            skip_at: None,
        }
    }

    fn refused(retry: i64) -> Stage {
        let why = Refused {
            message: "no".into(),
            causes: vec!["because".into()],
            retry_after_seconds: 0,
        };
        Stage::Refused {
            why,
            budgets: vec!["b".into()],
            retry_at: at(retry),
        }
    }

    fn faulty(retry: i64) -> Stage {
        Stage::Faulty {
            class: Class::Broken,
            message: "EOF".into(),
            retry_at: at(retry),
        }
    }

    #[test]
    fn a_pod_is_asked_for_when_its_turn_or_its_chance_comes() {
        let check = |stage: Stage, facts: Facts, step: Step| {
            assert_eq!(next(&stage, &facts), step, "{stage:?}")
        };
        check(Stage::Queued, facts(), Step::Ask);
        check(
            Stage::Queued,
            Facts {
                may_ask: false,
                ..facts()
            },
            Step::Wait(None),
        );
        check(
            Stage::Queued,
            Facts {
                wants_surge: true,
                ..facts()
            },
            Step::Surge,
        );
        check(
            Stage::Queued,
            Facts {
                terminating: true,
                wants_surge: true,
                ..facts()
            },
            Step::Await,
        );
        check(refused(105), facts(), Step::Wait(Some(at(105))));
        check(
            refused(105),
            Facts {
                chance: true,
                ..facts()
            },
            Step::Ask,
        );
        check(refused(100), facts(), Step::Ask);
        check(
            refused(105),
            Facts {
                terminating: true,
                ..facts()
            },
            Step::Await,
        );
        check(
            faulty(105),
            Facts {
                chance: true,
                ..facts()
            },
            Step::Wait(Some(at(105))),
        );
        check(faulty(99), facts(), Step::Ask);
        check(
            Stage::Leaving,
            Facts {
                skip_at: Some(at(120)),
                ..facts()
            },
            Step::Wait(Some(at(120))),
        );
        check(
            Stage::Leaving,
            Facts {
                skip_at: Some(at(100)),
                ..facts()
            },
            Step::Stop(End::Skipped),
        );
    }

    #[test]
    fn a_deadline_never_deletes_by_default_and_never_by_force() {
        let late = |on_deadline| Facts {
            deadline_at: Some(at(100)),
            on_deadline,
            ..facts()
        };
        let left = |why: &str| Step::Stop(End::Left(why.to_owned()));
        assert_eq!(
            next(&refused(105), &late(OnDeadline::Report)),
            left("refused until its deadline: because")
        );
        assert_eq!(
            next(&refused(105), &late(OnDeadline::Wait)),
            Step::TellOverdue
        );
        assert_eq!(next(&refused(105), &late(OnDeadline::Delete)), Step::Delete);
        for on_deadline in [OnDeadline::Report, OnDeadline::Delete] {
            assert_eq!(
                next(&Stage::Leaving, &late(on_deadline)),
                left("accepted, but not gone at its deadline")
            );
        }
    }

    #[test]
    fn a_wait_ends_at_the_earliest_of_all_limits() {
        let facts = Facts {
            timeout_at: Some(at(103)),
            deadline_at: Some(at(102)),
            ..facts()
        };
        assert_eq!(next(&refused(105), &facts), Step::Wait(Some(at(102))));
        assert_eq!(next(&refused(101), &facts), Step::Wait(Some(at(101))));
        let late = Facts {
            timeout_at: Some(at(100)),
            ..facts
        };
        assert_eq!(
            next(&refused(105), &late),
            Step::Stop(End::Failed("global timeout reached".into()))
        );
        assert_eq!(
            next(&Stage::Leaving, &late),
            Step::Stop(End::Failed("context deadline exceeded".into()))
        );
    }
}
