//! What came of an eviction, as figures and log lines name it. Pure.

use kinds::status::Status;

use super::Observation;
use crate::facts::BudgetFacts;
use crate::record;
use crate::resource::ResourceRef;

/// See the module. The order is that of [`Outcome::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The pod goes.
    Allowed,
    /// The budget has nothing to give, or impossible figures.
    Budget,
    /// The budget's status is behind its spec.
    Processing,
    /// The disruption controller could not work the budget out.
    SyncFailed,
    /// More than one budget selects the pod.
    MultiplePdb,
    /// A precondition does not hold.
    Conflict,
    /// Nothing was to be done, whatever the answer was.
    DryRun,
    /// There is no such pod.
    NotFound,
    /// The request itself cannot be done: a bad body, a namespace that ends.
    Invalid,
    /// The server could not do it.
    Failed,
}

impl Outcome {
    pub(super) const ALL: [Self; 10] = [
        Self::Allowed,
        Self::Budget,
        Self::Processing,
        Self::SyncFailed,
        Self::MultiplePdb,
        Self::Conflict,
        Self::DryRun,
        Self::NotFound,
        Self::Invalid,
        Self::Failed,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Budget => "budget",
            Self::Processing => "processing",
            Self::SyncFailed => "sync_failed",
            Self::MultiplePdb => "multiple_pdb",
            Self::Conflict => "conflict",
            Self::DryRun => "dry_run",
            Self::NotFound => "not_found",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }

    /// True when budgets stood in the way.
    pub(super) fn is_blocked(self) -> bool {
        matches!(
            self,
            Self::Budget | Self::Processing | Self::SyncFailed | Self::MultiplePdb
        )
    }
}

/// The outcome of an eviction that saw this and was refused with that, or granted.
pub(super) fn of(observation: &Observation, refused: Option<&Status>) -> Outcome {
    let Some(refused) = refused else {
        return if observation.dry_run {
            Outcome::DryRun
        } else {
            Outcome::Allowed
        };
    };
    if observation.dry_run {
        return Outcome::DryRun;
    }
    match (refused.code, observation.budgets.len()) {
        (404, _) => Outcome::NotFound,
        (409, _) => Outcome::Conflict,
        (429, _) => of_budget(observation, refused),
        (403, 1) => Outcome::Budget,
        (500, 2..) if refused.reason.is_empty() => Outcome::MultiplePdb,
        (400..=499, _) => Outcome::Invalid,
        _ => Outcome::Failed,
    }
}

fn of_budget(observation: &Observation, refused: &Status) -> Outcome {
    let Some(details) = refused.details.as_ref().filter(|details| {
        details
            .causes
            .iter()
            .any(|cause| cause.reason == "DisruptionBudget")
    }) else {
        // Not the budget's 429 but that of a store which does not keep up.
        return Outcome::Failed;
    };
    if details.retry_after_seconds > 0 {
        return Outcome::Processing;
    }
    let budgets = ResourceRef::built_in("policy", "v1", "poddisruptionbudgets");
    let failed = observation.budgets.iter().any(|budget| {
        let facts: Option<&BudgetFacts> = budgets
            .as_ref()
            .and_then(|resource| record::facts(resource, budget).of_kind());
        facts
            .and_then(|budget| budget.not_allowed.as_ref())
            .is_some_and(|found| found.reason == "SyncFailed")
    });
    if failed {
        Outcome::SyncFailed
    } else {
        Outcome::Budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_all_is_that_of_the_variants() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{outcome:?}");
        }
    }

    #[test]
    fn answers_without_a_budget_have_their_outcomes() {
        let dry = Observation {
            dry_run: true,
            ..Observation::default()
        };
        let busy = Status::too_many_requests("busy", Vec::new(), 1);
        for (observation, refused, expected) in [
            (Observation::default(), None, "allowed"),
            (dry, Some(busy.clone()), "dry_run"),
            (Observation::default(), Some(busy), "failed"),
            (
                Observation::default(),
                Some(Status::bad_request("no")),
                "invalid",
            ),
            (
                Observation::default(),
                Some(Status::untyped("no")),
                "failed",
            ),
            (
                Observation::default(),
                Some(Status::unavailable("no")),
                "failed",
            ),
        ] {
            assert_eq!(
                of(&observation, refused.as_ref()).name(),
                expected,
                "{refused:?}"
            );
        }
    }
}
