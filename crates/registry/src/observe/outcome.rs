//! The outcome of an eviction, as metrics and log lines name it. This module is pure.

use kinds::status::Status;

use super::EvictionObservation;
use crate::facts::BudgetFacts;
use crate::record;
use crate::resource::ResourceRef;

/// The outcome of an eviction. The order of the variants is that of [`EvictionOutcome::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvictionOutcome {
    /// The eviction was granted: the pod is deleted.
    Allowed,
    /// The budget allows no disruption, or its status is invalid.
    Budget,
    /// The budget's status has not observed its spec yet.
    Processing,
    /// The disruption controller failed to sync the budget.
    SyncFailed,
    /// More than one budget selects the pod.
    MultiplePdb,
    /// A precondition does not hold, or a concurrent write conflicted.
    Conflict,
    /// The request was a dry run, whether it was granted or refused.
    DryRun,
    /// The pod was not found.
    NotFound,
    /// The request is invalid: a malformed body, for example, or a terminating namespace.
    Invalid,
    /// The server failed or was overloaded.
    Failed,
}

impl EvictionOutcome {
    /// All variants, in their order.
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

    /// Returns the value of the label `outcome` in metrics and of the field in log lines.
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

    /// Returns true if budgets refused the eviction.
    pub(super) fn is_blocked(self) -> bool {
        matches!(
            self,
            Self::Budget | Self::Processing | Self::SyncFailed | Self::MultiplePdb
        )
    }
}

/// Returns the outcome of an eviction that read these objects. `refused` is the status of the
/// refusal, or `None` if the eviction was granted.
pub(super) fn of(observation: &EvictionObservation, refused: Option<&Status>) -> EvictionOutcome {
    let Some(refused) = refused else {
        return if observation.dry_run {
            EvictionOutcome::DryRun
        } else {
            EvictionOutcome::Allowed
        };
    };
    if observation.dry_run {
        return EvictionOutcome::DryRun;
    }
    match (refused.code, observation.budgets.len()) {
        (404, _) => EvictionOutcome::NotFound,
        (409, _) => EvictionOutcome::Conflict,
        (429, _) => of_budget(observation, refused),
        (403, 1) => EvictionOutcome::Budget,
        (500, 2..) if refused.reason.is_empty() => EvictionOutcome::MultiplePdb,
        (400..=499, _) => EvictionOutcome::Invalid,
        _ => EvictionOutcome::Failed,
    }
}

/// Returns the outcome of an eviction that was refused with code 429.
fn of_budget(observation: &EvictionObservation, refused: &Status) -> EvictionOutcome {
    let Some(details) = refused.details.as_ref().filter(|details| {
        details
            .causes
            .iter()
            .any(|cause| cause.reason == "DisruptionBudget")
    }) else {
        // Without this cause, the 429 comes from an overloaded store, not from a budget.
        return EvictionOutcome::Failed;
    };
    if details.retry_after_seconds > 0 {
        return EvictionOutcome::Processing;
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
        EvictionOutcome::SyncFailed
    } else {
        EvictionOutcome::Budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_the_variants_in_their_order() {
        for (index, outcome) in EvictionOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index, "{outcome:?}");
        }
    }

    #[test]
    fn answers_without_a_budget_map_to_outcomes() {
        let dry = EvictionObservation {
            dry_run: true,
            ..EvictionObservation::default()
        };
        let busy = Status::too_many_requests("busy", Vec::new(), 1);
        for (observation, refused, expected) in [
            (EvictionObservation::default(), None, "allowed"),
            (dry, Some(busy.clone()), "dry_run"),
            (EvictionObservation::default(), Some(busy), "failed"),
            (
                EvictionObservation::default(),
                Some(Status::bad_request("no")),
                "invalid",
            ),
            (
                EvictionObservation::default(),
                Some(Status::untyped("no")),
                "failed",
            ),
            (
                EvictionObservation::default(),
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
