//! The server's part of an eviction's decision: the rule of [`rules::eviction`], the client's
//! preconditions, and the answer in upstream's words.
//!
//! Pure. Upstream decides and writes in several steps and retries when they collide; here the
//! decision is taken inside the commit that carries it out, so a conflict that upstream has to
//! retry cannot arise.

use kinds::status::{GroupResource, Status, StatusCause};
use rules::eviction::{self, BudgetState, Outcome, RETRY_AFTER_SECONDS};

use crate::facts::{BudgetFacts, NotAllowed, PodFacts};
use crate::request::Refusal;

/// The kind as refused preconditions name it.
const POD: GroupResource<'static> = GroupResource {
    group: "",
    resource: "Pod",
};

/// The client's part of an eviction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Preconditions<'a> {
    /// Name of the pod, for the answer.
    pub pod: &'a str,
    /// `preconditions.uid`
    pub uid: Option<&'a str>,
    /// `preconditions.resourceVersion`
    pub resource_version: Option<&'a str>,
}

/// What the server does.
#[derive(Debug)]
pub enum Decision {
    /// Sets `DisruptionTarget` and deletes the pod; no budget pays.
    Evict,
    /// Evicts the pod, and the one budget that selects it pays.
    Charge,
    /// Writes nothing and answers with this.
    Refuse(Refusal),
}

/// Decides about a pod at `resource_version`, given the budgets that select it.
///
/// With `always_allow_counts` false (the feature gate `PDBUnhealthyPodEvictionPolicy` is off) the
/// policy `AlwaysAllow` has no effect.
#[must_use]
pub fn decide(
    pod: &PodFacts,
    resource_version: &str,
    budgets: &[&BudgetFacts],
    asked: &Preconditions<'_>,
    always_allow_counts: bool,
) -> Decision {
    let states = budgets.iter().map(|budget| BudgetState {
        always_allow: budget.state.always_allow && always_allow_counts,
        ..budget.state
    });
    let outcome = eviction::decide(&pod.state, states);
    // Upstream pins the deletion of an exempt unready pod to the version at which it was seen
    // unready. That pin replaces the client's own, so only the uid can fail here.
    let granted = match outcome {
        Outcome::Refused(refusal) => Err(refused(refusal, budgets.first().copied())),
        Outcome::Uncharged(_) => check_exempt(pod, budgets.first().copied(), asked),
        Outcome::Bypassed(_) | Outcome::Unprotected | Outcome::Charged => {
            check_preconditions(pod, resource_version, asked)
        }
    };
    match granted {
        Err(refusal) => Decision::Refuse(refusal),
        Ok(()) if outcome == Outcome::Charged => Decision::Charge,
        Ok(()) => Decision::Evict,
    }
}

/// Checks the uid of an unready pod that its budget exempts.
///
/// Upstream reports a failure as a budget that is still being processed, unless the client named a
/// version itself.
fn check_exempt(
    pod: &PodFacts,
    budget: Option<&BudgetFacts>,
    asked: &Preconditions<'_>,
) -> Result<(), Refusal> {
    check_uid(pod, asked).map_err(|conflict| {
        if asked.resource_version.is_some() {
            conflict
        } else {
            still_processed(budget.map_or("", |budget| &budget.name))
        }
    })
}

fn check_preconditions(
    pod: &PodFacts,
    resource_version: &str,
    asked: &Preconditions<'_>,
) -> Result<(), Refusal> {
    check_uid(pod, asked)?;
    match asked.resource_version {
        Some(version) if !version.is_empty() && version != resource_version => Err(
            crate::delete::version_conflict(POD, asked.pod, version, resource_version),
        ),
        _ => Ok(()),
    }
}

fn check_uid(pod: &PodFacts, asked: &Preconditions<'_>) -> Result<(), Refusal> {
    match asked.uid {
        Some(uid) if uid != pod.uid => {
            Err(crate::delete::uid_conflict(POD, asked.pod, uid, &pod.uid))
        }
        _ => Ok(()),
    }
}

/// The answer to a refused eviction.
fn refused(refusal: eviction::RuleRefusal, budget: Option<&BudgetFacts>) -> Refusal {
    let name = budget.map_or("", |budget| &budget.name);
    match refusal {
        eviction::RuleRefusal::MultipleBudgets => Status::untyped(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does \
             not support.",
        )
        .into(),
        eviction::RuleRefusal::NotObserved => still_processed(name),
        eviction::RuleRefusal::NegativeAllowance => {
            forbidden(name, "pdb disruptions allowed is negative")
        }
        eviction::RuleRefusal::TooManyDisruptedPods => forbidden(
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ),
        eviction::RuleRefusal::NoneAllowed => {
            too_many_requests(budget.map(none_allowed).unwrap_or_default(), 0)
        }
    }
}

fn forbidden(budget: &str, why: &str) -> Refusal {
    const BUDGET: GroupResource<'static> = GroupResource {
        group: "policy",
        resource: "poddisruptionbudget",
    };
    Status::forbidden(BUDGET, budget, why).into()
}

fn still_processed(budget: &str) -> Refusal {
    too_many_requests(
        format!("The disruption budget {budget} is still being processed by the server."),
        RETRY_AFTER_SECONDS,
    )
}

/// Why a budget allows no disruption, as exactly as its status says.
fn none_allowed(budget: &BudgetFacts) -> String {
    let BudgetFacts { name, state, .. } = budget;
    let (healthy, desired) = (state.current_healthy, state.desired_healthy);
    let sentence = format!("The disruption budget {name} does not allow evicting pods currently");
    match &budget.not_allowed {
        Some(NotAllowed { reason, message }) if reason == "SyncFailed" => {
            format!("{sentence} because it failed sync: {message}")
        }
        _ if healthy <= desired => format!(
            "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        ),
        Some(NotAllowed { reason, message }) => format!("{sentence} ({reason}): {message}"),
        None => sentence,
    }
}

fn too_many_requests(why: String, retry_after_seconds: u32) -> Refusal {
    let cause = StatusCause {
        reason: "DisruptionBudget".to_owned(),
        message: why,
        field: String::new(),
    };
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::too_many_requests(message, vec![cause], retry_after_seconds).into()
}

#[cfg(test)]
mod tests {
    use rules::eviction::{Phase, PodState};

    use super::*;

    const NEEDS_TWO: &str = "429: The disruption budget b needs 2 healthy pods and has 2 currently";
    const STILL_PROCESSED: &str =
        "429: The disruption budget b is still being processed by the server., 10 s";
    const WRONG_UID: &str = "409: Operation cannot be fulfilled on Pod \"p\": the UID in the \
        precondition (x) does not match the UID in record (u). The object might have been deleted \
        and then recreated";
    const WRONG_VERSION: &str = "409: Operation cannot be fulfilled on Pod \"p\": the \
        ResourceVersion in the precondition (1) does not match the ResourceVersion in record (7). \
        The object might have been modified";

    fn pod(phase: Phase, ready: bool) -> PodFacts {
        PodFacts {
            state: PodState {
                phase,
                ready,
                terminating: false,
            },
            uid: "u".to_owned(),
        }
    }

    fn ready() -> PodFacts {
        pod(Phase::Running, true)
    }

    fn unready() -> PodFacts {
        pod(Phase::Running, false)
    }

    fn state(allowed: i64, healthy: i64, desired: i64) -> BudgetState {
        BudgetState {
            observed: true,
            disruptions_allowed: allowed,
            current_healthy: healthy,
            desired_healthy: desired,
            ..BudgetState::default()
        }
    }

    fn named(state: BudgetState) -> BudgetFacts {
        BudgetFacts {
            name: "b".to_owned(),
            state,
            ..BudgetFacts::default()
        }
    }

    fn budget(allowed: i64, healthy: i64, desired: i64) -> BudgetFacts {
        named(state(allowed, healthy, desired))
    }

    fn asked<'a>(uid: Option<&'a str>, resource_version: Option<&'a str>) -> Preconditions<'a> {
        Preconditions {
            pod: "p",
            uid,
            resource_version,
        }
    }

    /// Compares with `evict`, `charge`, or the code with the cause (the message if there is none).
    fn check_asked(
        pod: &PodFacts,
        budgets: &[BudgetFacts],
        asked: &Preconditions<'_>,
        expected: &str,
    ) {
        let found = decide(pod, "7", &budgets.iter().collect::<Vec<_>>(), asked, true);
        assert_eq!(render(found), expected, "{pod:?} under {budgets:?}");
    }

    fn check(pod: &PodFacts, budgets: &[BudgetFacts], expected: &str) {
        check_asked(pod, budgets, &asked(None, None), expected);
    }

    fn render(decision: Decision) -> String {
        let refusal = match decision {
            Decision::Evict => return "evict".to_owned(),
            Decision::Charge => return "charge".to_owned(),
            Decision::Refuse(refusal) => refusal,
        };
        let status = *refusal.status;
        let details = status.details.unwrap_or_default();
        let cause = details.causes.first().map(|cause| cause.message.clone());
        let why = cause.unwrap_or(status.message);
        let retry = match details.retry_after_seconds {
            0 => String::new(),
            seconds => format!(", {seconds} s"),
        };
        format!("{}: {why}{retry}", status.code)
    }

    #[test]
    fn every_outcome_becomes_a_decision() {
        check(&pod(Phase::Pending, false), &[budget(0, 0, 1)], "evict");
        check(&ready(), &[], "evict");
        check(&unready(), &[budget(0, 2, 2)], "evict");
        check(&ready(), &[budget(1, 3, 2)], "charge");
        check(&ready(), &[budget(0, 2, 2)], NEEDS_TWO);
    }

    #[test]
    fn two_budgets_are_an_error_of_the_server() {
        let text = "500: This pod has more than one PodDisruptionBudget, which the eviction \
            subresource does not support.";
        check(&ready(), &[budget(1, 2, 1), budget(1, 2, 1)], text);
    }

    #[test]
    fn always_allow_has_no_effect_while_its_gate_is_off() {
        let always = named(BudgetState {
            always_allow: true,
            ..state(0, 0, 2)
        });
        let verdict = |gate| {
            render(decide(
                &unready(),
                "7",
                &[&always],
                &asked(None, None),
                gate,
            ))
        };
        assert_eq!(verdict(true), "evict");
        assert_eq!(
            verdict(false),
            "429: The disruption budget b needs 2 healthy pods and has 0 currently"
        );
    }

    #[test]
    fn a_budget_that_was_not_observed_asks_to_come_back() {
        let stale = named(BudgetState {
            observed: false,
            ..state(5, 3, 2)
        });
        check(&ready(), &[stale], STILL_PROCESSED);
    }

    #[test]
    fn the_cause_says_as_much_as_the_status() {
        let with_reason = |reason: &str, state| BudgetFacts {
            not_allowed: Some(NotAllowed {
                reason: reason.to_owned(),
                message: "m".to_owned(),
            }),
            ..named(state)
        };
        let sentence = "429: The disruption budget b does not allow evicting pods currently";
        check(
            &ready(),
            &[with_reason("SyncFailed", state(0, 2, 2))],
            &format!("{sentence} because it failed sync: m"),
        );
        check(&ready(), &[with_reason("Other", state(0, 2, 2))], NEEDS_TWO);
        check(
            &ready(),
            &[with_reason("Other", state(0, 3, 2))],
            &format!("{sentence} (Other): m"),
        );
        check(&ready(), &[budget(0, 3, 2)], sentence);
    }

    #[test]
    fn an_impossible_status_is_forbidden() {
        let forbidden = "403: poddisruptionbudget.policy \"b\" is forbidden:";
        check(
            &ready(),
            &[budget(-1, 3, 2)],
            &format!("{forbidden} pdb disruptions allowed is negative"),
        );
        let over = named(BudgetState {
            disrupted_pods: 2001,
            ..state(1, 3, 2)
        });
        check(
            &ready(),
            &[over],
            &format!(
                "{forbidden} DisruptedPods map too big - too many evictions not confirmed by PDB \
                 controller"
            ),
        );
    }

    #[test]
    fn preconditions_are_checked_after_the_budget() {
        for pod in [pod(Phase::Pending, false), ready()] {
            let allows = [budget(1, 3, 2)];
            check_asked(&pod, &allows, &asked(Some("x"), None), WRONG_UID);
            check_asked(&pod, &allows, &asked(None, Some("1")), WRONG_VERSION);
        }
        let wrong_uid = asked(Some("x"), None);
        check_asked(&ready(), &[], &wrong_uid, WRONG_UID);
        check_asked(&ready(), &[budget(0, 2, 2)], &wrong_uid, NEEDS_TWO);
        let allows = [budget(1, 3, 2)];
        check_asked(&ready(), &allows, &asked(Some("u"), Some("7")), "charge");
        check_asked(&ready(), &allows, &asked(None, Some("")), "charge");
    }

    #[test]
    fn an_exempt_pod_ignores_the_clients_version_and_hides_a_wrong_uid() {
        let satisfied = [budget(0, 2, 2)];
        check_asked(&unready(), &satisfied, &asked(None, Some("1")), "evict");
        check_asked(
            &unready(),
            &satisfied,
            &asked(Some("x"), None),
            STILL_PROCESSED,
        );
        check_asked(
            &unready(),
            &satisfied,
            &asked(Some("x"), Some("1")),
            WRONG_UID,
        );
    }
}
