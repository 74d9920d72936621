//! The rules of an eviction, pure: a pod, the budgets that select it, and what the client asked
//! for go in; what is to be done comes out. The store, the clock and the wire are elsewhere.
//!
//! The rules are those of `pods/eviction` in Kubernetes 1.36. Upstream decides and writes in
//! several steps and retries when they collide; here the decision is taken inside the commit that
//! carries it out, so a condition that upstream has to guard against by retrying cannot arise.

use kinds::status::{Cause, GroupResource, Status};

use crate::request::Refusal;

/// More evicted and unconfirmed pods than this close a budget.
const MAX_DISRUPTED_PODS: usize = 2000;
/// What a client should wait for a budget whose status is behind its spec.
const RETRY_AFTER_SECONDS: u32 = 10;

/// What an eviction asks of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// `status.phase`; empty when nobody has set it.
    pub phase: String,
    /// True when the condition `Ready` is `True`.
    pub ready: bool,
    /// True when the pod has a deletion time.
    pub terminating: bool,
    /// Its uid.
    pub uid: String,
}

/// What an eviction asks of a budget.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Its name.
    pub name: String,
    /// Its compiled selector; none when it does not compile or selects nothing.
    pub selector: Option<kinds::selector::LabelSelector>,
    /// `metadata.generation`
    pub generation: i64,
    /// `status.observedGeneration`
    pub observed_generation: i64,
    /// `status.disruptionsAllowed`
    pub disruptions_allowed: i64,
    /// `status.currentHealthy`
    pub current_healthy: i64,
    /// `status.desiredHealthy`
    pub desired_healthy: i64,
    /// How many pods `status.disruptedPods` names.
    pub disrupted_pods: usize,
    /// True for `unhealthyPodEvictionPolicy: AlwaysAllow`.
    pub always_allow: bool,
    /// The condition `DisruptionAllowed` when its status is `False` and it says why.
    pub closed: Option<Closed>,
}

/// Why a budget's own condition says that nothing may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// The condition's reason.
    pub reason: String,
    /// The condition's message, never empty.
    pub message: String,
}

/// What the client asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Name of the pod.
    pub pod: &'a str,
    /// `preconditions.uid`
    pub uid: Option<&'a str>,
    /// `preconditions.resourceVersion`
    pub resource_version: Option<&'a str>,
    /// The feature gate `PDBUnhealthyPodEvictionPolicy` is off: `AlwaysAllow` does not count.
    pub ignore_always_allow: bool,
}

/// What is to be done.
#[derive(Debug)]
pub enum Decision {
    /// Mark and delete the pod; no budget pays.
    Delete,
    /// The same, and the budget at this place of the list pays.
    Charge(usize),
    /// Nothing; this is the answer.
    Refuse(Refusal),
}

/// Decides about a pod at `resource_version`, given the budgets that select it.
#[must_use]
pub fn decide(
    pod: &PodFacts,
    resource_version: &str,
    budgets: &[&Budget],
    ask: &Ask<'_>,
) -> Decision {
    match judge(pod, resource_version, budgets, ask) {
        Ok(decision) => decision,
        Err(refusal) => Decision::Refuse(refusal),
    }
}

fn judge(
    pod: &PodFacts,
    resource_version: &str,
    budgets: &[&Budget],
    ask: &Ask<'_>,
) -> Result<Decision, Refusal> {
    if bypasses(pod) {
        check_preconditions(pod, resource_version, ask)?;
        return Ok(Decision::Delete);
    }
    let budget = match budgets {
        [] => {
            check_preconditions(pod, resource_version, ask)?;
            return Ok(Decision::Delete);
        }
        [budget] => *budget,
        _ => {
            let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::untyped(text).into());
        }
    };
    if !pod.ready && lets_unhealthy_go(budget, ask) {
        return guarded(pod, budget, ask);
    }
    check_budget(budget)?;
    check_preconditions(pod, resource_version, ask)?;
    Ok(Decision::Charge(0))
}

/// A pod that does not run yet, or no more, disrupts nobody when it goes.
fn bypasses(pod: &PodFacts) -> bool {
    pod.terminating || matches!(pod.phase.as_str(), "Pending" | "Succeeded" | "Failed")
}

/// Whether an unready pod may go without the budget paying for it.
fn lets_unhealthy_go(budget: &Budget, ask: &Ask<'_>) -> bool {
    let healthy = budget.current_healthy >= budget.desired_healthy && budget.desired_healthy > 0;
    healthy || (budget.always_allow && !ask.ignore_always_allow)
}

/// Upstream pins the deletion of such a pod to the version at which it was seen unready, and that
/// pin replaces the client's; what fails then is told as a budget in motion, unless the client had
/// given a version itself.
fn guarded(pod: &PodFacts, budget: &Budget, ask: &Ask<'_>) -> Result<Decision, Refusal> {
    match check_uid(pod, ask) {
        Ok(()) => Ok(Decision::Delete),
        Err(conflict) if ask.resource_version.is_some() => Err(conflict),
        Err(_) => Err(unsettled(budget)),
    }
}

fn check_budget(budget: &Budget) -> Result<(), Refusal> {
    const BUDGET: GroupResource<'static> = GroupResource {
        group: "policy",
        resource: "poddisruptionbudget",
    };
    if budget.observed_generation < budget.generation {
        return Err(unsettled(budget));
    }
    if budget.disruptions_allowed < 0 {
        return Err(
            Status::forbidden(BUDGET, &budget.name, "pdb disruptions allowed is negative").into(),
        );
    }
    if budget.disrupted_pods > MAX_DISRUPTED_PODS {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(BUDGET, &budget.name, why).into());
    }
    if budget.disruptions_allowed == 0 {
        return Err(refuse(spent(budget), 0));
    }
    Ok(())
}

fn check_preconditions(
    pod: &PodFacts,
    resource_version: &str,
    ask: &Ask<'_>,
) -> Result<(), Refusal> {
    check_uid(pod, ask)?;
    match ask.resource_version {
        Some(asked) if !asked.is_empty() && asked != resource_version => Err(
            crate::delete::version_conflict("Pod", ask.pod, asked, resource_version),
        ),
        _ => Ok(()),
    }
}

fn check_uid(pod: &PodFacts, ask: &Ask<'_>) -> Result<(), Refusal> {
    match ask.uid {
        Some(asked) if asked != pod.uid => {
            Err(crate::delete::uid_conflict("Pod", ask.pod, asked, &pod.uid))
        }
        _ => Ok(()),
    }
}

fn unsettled(budget: &Budget) -> Refusal {
    refuse(
        format!(
            "The disruption budget {} is still being processed by the server.",
            budget.name
        ),
        RETRY_AFTER_SECONDS,
    )
}

/// Why a budget without allowance has none, as well as its status can tell.
fn spent(budget: &Budget) -> String {
    let Budget {
        name,
        current_healthy,
        desired_healthy,
        closed,
        ..
    } = budget;
    let sentence = format!("The disruption budget {name} does not allow evicting pods currently");
    match closed {
        Some(Closed { reason, message }) if reason == "SyncFailed" => {
            format!("{sentence} because it failed sync: {message}")
        }
        _ if current_healthy <= desired_healthy => {
            format!(
                "The disruption budget {name} needs {desired_healthy} healthy pods and has {current_healthy} currently"
            )
        }
        Some(Closed { reason, message }) => format!("{sentence} ({reason}): {message}"),
        None => sentence,
    }
}

fn refuse(why: String, retry_after_seconds: u32) -> Refusal {
    let cause = Cause {
        reason: "DisruptionBudget".to_owned(),
        message: why,
        field: String::new(),
    };
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::too_many_requests(message, vec![cause], retry_after_seconds).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS_TWO: &str = "The disruption budget b needs 2 healthy pods and has 2 currently";
    const UNSETTLED: &str = "The disruption budget b is still being processed by the server.";

    fn pod(phase: &str, ready: bool) -> PodFacts {
        PodFacts {
            phase: phase.to_owned(),
            ready,
            terminating: false,
            uid: "u".to_owned(),
        }
    }

    fn budget(allowed: i64, healthy: i64, desired: i64) -> Budget {
        Budget {
            name: "b".to_owned(),
            generation: 1,
            observed_generation: 1,
            disruptions_allowed: allowed,
            current_healthy: healthy,
            desired_healthy: desired,
            ..Budget::default()
        }
    }

    fn ask() -> Ask<'static> {
        Ask {
            pod: "p",
            ..Ask::default()
        }
    }

    /// `delete`, `charge`, or the code with the cause (or the message where there is none).
    fn check(pod: &PodFacts, budgets: &[Budget], ask: &Ask<'_>, expected: &str) {
        let budgets: Vec<&Budget> = budgets.iter().collect();
        let found = match decide(pod, "7", &budgets, ask) {
            Decision::Delete => "delete".to_owned(),
            Decision::Charge(_) => "charge".to_owned(),
            Decision::Refuse(refusal) => {
                let status = *refusal.status;
                let details = status.details.unwrap_or_default();
                let why = details
                    .causes
                    .first()
                    .map_or(status.message, |cause| cause.message.clone());
                let later = if details.retry_after_seconds > 0 {
                    format!(", {} s", details.retry_after_seconds)
                } else {
                    String::new()
                };
                format!("{}: {why}{later}", status.code)
            }
        };
        assert_eq!(found, expected, "{pod:?} under {budgets:?}");
    }

    #[test]
    fn a_pod_that_does_not_run_asks_no_budget() {
        for phase in ["Pending", "Succeeded", "Failed"] {
            check(&pod(phase, false), &[budget(0, 0, 1)], &ask(), "delete");
        }
        let terminating = PodFacts {
            terminating: true,
            ..pod("Running", true)
        };
        check(
            &terminating,
            &[budget(0, 0, 1), budget(0, 0, 1)],
            &ask(),
            "delete",
        );
    }

    #[test]
    fn a_pod_whose_phase_is_unknown_or_not_set_asks_its_budget() {
        for phase in ["Unknown", "", "Running"] {
            check(
                &pod(phase, true),
                &[budget(0, 2, 2)],
                &ask(),
                &format!("429: {NEEDS_TWO}"),
            );
        }
    }

    #[test]
    fn without_a_budget_it_goes() {
        check(&pod("Running", true), &[], &ask(), "delete");
        check(&pod("Running", false), &[], &ask(), "delete");
    }

    #[test]
    fn two_budgets_are_an_error_of_the_server() {
        let text = "500: This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        check(
            &pod("Running", true),
            &[budget(1, 2, 1), budget(1, 2, 1)],
            &ask(),
            text,
        );
    }

    #[test]
    fn an_allowance_is_charged_also_for_unready_pods_that_the_budget_does_not_let_go() {
        check(&pod("Running", true), &[budget(1, 3, 2)], &ask(), "charge");
        check(&pod("Running", false), &[budget(1, 1, 2)], &ask(), "charge");
    }

    #[test]
    fn unready_pod_goes_free_when_enough_others_are_healthy() {
        check(&pod("Running", false), &[budget(0, 2, 2)], &ask(), "delete");
        check(
            &pod("Running", false),
            &[budget(0, 1, 2)],
            &ask(),
            "429: The disruption budget b needs 2 healthy pods and has 1 currently",
        );
    }

    #[test]
    fn nothing_needed_is_not_the_same_as_enough_healthy() {
        check(
            &pod("Running", false),
            &[budget(0, 0, 0)],
            &ask(),
            "429: The disruption budget b needs 0 healthy pods and has 0 currently",
        );
    }

    #[test]
    fn unready_pod_is_evicted_when_policy_is_always_allow() {
        let always = Budget {
            always_allow: true,
            ..budget(0, 0, 2)
        };
        check(
            &pod("Running", false),
            std::slice::from_ref(&always),
            &ask(),
            "delete",
        );
        check(
            &pod("Running", true),
            &[Budget {
                current_healthy: 2,
                ..always.clone()
            }],
            &ask(),
            &format!("429: {NEEDS_TWO}"),
        );
        let gate_off = Ask {
            ignore_always_allow: true,
            ..ask()
        };
        check(
            &pod("Running", false),
            &[always],
            &gate_off,
            "429: The disruption budget b needs 2 healthy pods and has 0 currently",
        );
    }

    #[test]
    fn the_shortcuts_of_unready_pods_do_not_wait_for_the_controller() {
        let stale = Budget {
            observed_generation: 0,
            always_allow: true,
            ..budget(0, 0, 2)
        };
        check(&pod("Running", false), &[stale], &ask(), "delete");
        let stale = Budget {
            observed_generation: 0,
            ..budget(5, 2, 2)
        };
        check(&pod("Running", false), &[stale], &ask(), "delete");
    }

    #[test]
    fn a_budget_that_was_not_observed_asks_to_come_back() {
        let stale = Budget {
            observed_generation: 0,
            ..budget(5, 3, 2)
        };
        check(
            &pod("Running", true),
            &[stale],
            &ask(),
            &format!("429: {UNSETTLED}, 10 s"),
        );
    }

    #[test]
    fn the_cause_says_as_much_as_the_status_knows() {
        let closed = |reason: &str| {
            Some(Closed {
                reason: reason.to_owned(),
                message: "m".to_owned(),
            })
        };
        let failed = Budget {
            closed: closed("SyncFailed"),
            ..budget(0, 2, 2)
        };
        check(
            &pod("Running", true),
            &[failed],
            &ask(),
            "429: The disruption budget b does not allow evicting pods currently because it failed sync: m",
        );
        let closed_by_other = Budget {
            closed: closed("Other"),
            ..budget(0, 2, 2)
        };
        check(
            &pod("Running", true),
            &[closed_by_other],
            &ask(),
            &format!("429: {NEEDS_TWO}"),
        );
        let closed_by_other = Budget {
            closed: closed("Other"),
            ..budget(0, 3, 2)
        };
        check(
            &pod("Running", true),
            &[closed_by_other],
            &ask(),
            "429: The disruption budget b does not allow evicting pods currently (Other): m",
        );
        check(
            &pod("Running", true),
            &[budget(0, 3, 2)],
            &ask(),
            "429: The disruption budget b does not allow evicting pods currently",
        );
    }

    #[test]
    fn impossible_figures_close_a_budget() {
        let negative = "403: poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative";
        check(&pod("Running", true), &[budget(-1, 3, 2)], &ask(), negative);
        let full = Budget {
            disrupted_pods: 2000,
            ..budget(1, 3, 2)
        };
        check(
            &pod("Running", true),
            std::slice::from_ref(&full),
            &ask(),
            "charge",
        );
        let over = Budget {
            disrupted_pods: 2001,
            ..full
        };
        let text = "403: poddisruptionbudget.policy \"b\" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        check(&pod("Running", true), &[over], &ask(), text);
    }

    #[test]
    fn preconditions_are_checked_after_the_budget() {
        let uid = "409: Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (x) does not match the UID in record (u). The object might have been deleted and then recreated";
        let version = "409: Operation cannot be fulfilled on Pod \"p\": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (7). The object might have been modified";
        let wrong_uid = Ask {
            uid: Some("x"),
            ..ask()
        };
        let wrong_version = Ask {
            resource_version: Some("1"),
            ..ask()
        };
        for pod in [pod("Pending", false), pod("Running", true)] {
            check(&pod, &[budget(1, 3, 2)], &wrong_uid, uid);
            check(&pod, &[budget(1, 3, 2)], &wrong_version, version);
        }
        check(
            &pod("Running", true),
            &[budget(0, 2, 2)],
            &wrong_uid,
            &format!("429: {NEEDS_TWO}"),
        );
        let right = Ask {
            uid: Some("u"),
            resource_version: Some("7"),
            ..ask()
        };
        check(&pod("Running", true), &[budget(1, 3, 2)], &right, "charge");
        let empty = Ask {
            resource_version: Some(""),
            ..ask()
        };
        check(&pod("Running", true), &[budget(1, 3, 2)], &empty, "charge");
    }

    #[test]
    fn a_guarded_pod_forgets_the_clients_version_and_hides_a_wrong_uid() {
        let unready = pod("Running", false);
        check(
            &unready,
            &[budget(0, 2, 2)],
            &Ask {
                resource_version: Some("1"),
                ..ask()
            },
            "delete",
        );
        check(
            &unready,
            &[budget(0, 2, 2)],
            &Ask {
                uid: Some("x"),
                ..ask()
            },
            &format!("429: {UNSETTLED}, 10 s"),
        );
        let both = Ask {
            uid: Some("x"),
            resource_version: Some("1"),
            ..ask()
        };
        let uid = "409: Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (x) does not match the UID in record (u). The object might have been deleted and then recreated";
        check(&unready, &[budget(0, 2, 2)], &both, uid);
    }
}
