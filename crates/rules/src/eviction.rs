//! The rule of an eviction: may this pod be evicted now, and does a budget pay for it?
//!
//! The API server decides by it, and `drain`, `explain` and `plan` predict with it. It follows the
//! `pods/eviction` subresource of Kubernetes 1.36. [`decide`] sees plain values: the caller reads
//! them from a tree, a typed object or a simulation, and turns the [`Outcome`] into a `Status`,
//! into words or into the next step of a simulation.
//!
//! Preconditions of the client (uid, resource version) and the namespace's own state are no part
//! of the rule: only the server knows them, and where they fail depends on the outcome.

/// A budget whose `status.disruptedPods` holds more entries than this refuses every eviction.
///
/// Upstream: `MaxDisruptedPodSize`.
pub const MAX_DISRUPTED_PODS: usize = 2000;

/// Seconds after which a client should ask again when a budget's status is behind its spec.
pub const RETRY_AFTER_SECONDS: u32 = 10;

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepted; not all containers have started.
    Pending,
    /// Bound to a node; at least one container has started.
    Running,
    /// All containers have ended with success.
    Succeeded,
    /// All containers have ended, at least one with a failure.
    Failed,
    /// Anything else, also no phase at all. Such a pod is subject to its budgets.
    #[default]
    Unknown,
}

impl Phase {
    /// Parses the value of `status.phase`; a value that the API does not know is [`Self::Unknown`].
    #[must_use]
    pub fn parse(phase: &str) -> Self {
        match phase {
            "Pending" => Self::Pending,
            "Running" => Self::Running,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// What the rule reads of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodState {
    /// `status.phase`
    pub phase: Phase,
    /// True when the condition `Ready` is `True`.
    pub ready: bool,
    /// True when `metadata.deletionTimestamp` is set.
    pub terminating: bool,
}

/// What the rule reads of a budget that selects the pod. Counts are those of its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetState {
    /// True when `status.observedGeneration` is at least `metadata.generation`.
    pub observed: bool,
    /// `status.disruptionsAllowed`
    pub disruptions_allowed: i64,
    /// `status.currentHealthy`
    pub current_healthy: i64,
    /// `status.desiredHealthy`
    pub desired_healthy: i64,
    /// Number of entries in `status.disruptedPods`.
    pub disrupted_pods: usize,
    /// True for `unhealthyPodEvictionPolicy: AlwaysAllow`, unless the server's feature gate
    /// `PDBUnhealthyPodEvictionPolicy` is off.
    pub always_allow: bool,
}

impl BudgetState {
    /// Returns true when the budget has all the healthy pods that it wants, and wants some.
    ///
    /// Under the policy `IfHealthyBudget`, the default, unready pods may then be evicted.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        self.desired_healthy > 0 && self.current_healthy >= self.desired_healthy
    }
}

/// What becomes of an eviction. All variants but [`Self::Refused`] grant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted without a look at the budgets: the pod serves nobody.
    Bypassed(Bypass),
    /// Granted: no budget selects the pod.
    Unprotected,
    /// Granted without a charge: the pod is not ready, and its budget lets such pods go.
    ///
    /// Upstream pins the deletion to the resource version at which the pod was seen unready.
    Uncharged(Unhealthy),
    /// Granted, and the budget pays: `disruptionsAllowed` falls by one, and the pod gets an entry
    /// in `disruptedPods`.
    Charged,
    /// Refused; nothing is written.
    Refused(RuleRefusal),
}

/// Why budgets have no say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The pod is being deleted.
    Terminating,
    /// The pod is pending: it has not started.
    NotStarted,
    /// The pod has succeeded or failed.
    Finished,
}

/// Why an unready pod is evicted at no charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unhealthy {
    /// The budget has enough healthy pods without this one (`IfHealthyBudget`).
    BudgetSatisfied,
    /// The budget's policy is `AlwaysAllow`.
    AlwaysAllowed,
}

/// Why an eviction is refused. The numbers are the HTTP codes of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleRefusal {
    /// 500: more than one budget selects the pod.
    MultipleBudgets,
    /// 429 with a time to come back: the disruption controller has not observed the budget's spec.
    NotObserved,
    /// 403: `disruptionsAllowed` is negative.
    NegativeAllowance,
    /// 403: `disruptedPods` has more than [`MAX_DISRUPTED_PODS`] entries.
    TooManyDisruptedPods,
    /// 429: `disruptionsAllowed` is zero.
    NoneAllowed,
}

/// Decides about the eviction of a pod that these budgets select.
///
/// The order of the checks is upstream's, and clients depend on it: the shortcut for unready pods
/// comes before the check whether the controller has observed the budget.
#[must_use]
pub fn decide(pod: &PodState, budgets: impl IntoIterator<Item = BudgetState>) -> Outcome {
    if let Some(bypass) = bypass(pod) {
        return Outcome::Bypassed(bypass);
    }
    let mut budgets = budgets.into_iter();
    let Some(budget) = budgets.next() else {
        return Outcome::Unprotected;
    };
    if budgets.next().is_some() {
        return Outcome::Refused(RuleRefusal::MultipleBudgets);
    }
    if !pod.ready {
        // An unready pod disrupts nobody who is served now, but a budget below its demand may be
        // waiting for exactly this pod to become ready.
        if budget.is_satisfied() {
            return Outcome::Uncharged(Unhealthy::BudgetSatisfied);
        }
        if budget.always_allow {
            return Outcome::Uncharged(Unhealthy::AlwaysAllowed);
        }
    }
    match refusal(&budget) {
        Some(refusal) => Outcome::Refused(refusal),
        None => Outcome::Charged,
    }
}

/// Returns why budgets have no say about this pod, if they have none.
fn bypass(pod: &PodState) -> Option<Bypass> {
    match pod.phase {
        _ if pod.terminating => Some(Bypass::Terminating),
        Phase::Pending => Some(Bypass::NotStarted),
        Phase::Succeeded | Phase::Failed => Some(Bypass::Finished),
        Phase::Running | Phase::Unknown => None,
    }
}

/// Returns why the budget cannot pay, if it cannot.
fn refusal(budget: &BudgetState) -> Option<RuleRefusal> {
    if !budget.observed {
        Some(RuleRefusal::NotObserved)
    } else if budget.disruptions_allowed < 0 {
        Some(RuleRefusal::NegativeAllowance)
    } else if budget.disrupted_pods > MAX_DISRUPTED_PODS {
        Some(RuleRefusal::TooManyDisruptedPods)
    } else if budget.disruptions_allowed == 0 {
        Some(RuleRefusal::NoneAllowed)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: PodState = PodState {
        phase: Phase::Running,
        ready: true,
        terminating: false,
    };
    const UNREADY: PodState = PodState {
        ready: false,
        ..READY
    };

    fn budget(allowed: i64, healthy: i64, desired: i64) -> BudgetState {
        BudgetState {
            observed: true,
            disruptions_allowed: allowed,
            current_healthy: healthy,
            desired_healthy: desired,
            ..BudgetState::default()
        }
    }

    fn check(pod: PodState, budgets: &[BudgetState], expected: Outcome) {
        let found = decide(&pod, budgets.iter().copied());
        assert_eq!(found, expected, "{pod:?} under {budgets:?}");
    }

    #[test]
    fn a_pod_that_serves_nobody_bypasses_even_overlapping_budgets() {
        let spent = [budget(0, 0, 1), budget(0, 0, 1)];
        let in_phase = |phase| PodState { phase, ..READY };
        check(
            in_phase(Phase::Pending),
            &spent,
            Outcome::Bypassed(Bypass::NotStarted),
        );
        check(
            in_phase(Phase::Succeeded),
            &spent,
            Outcome::Bypassed(Bypass::Finished),
        );
        check(
            in_phase(Phase::Failed),
            &spent,
            Outcome::Bypassed(Bypass::Finished),
        );
        let terminating = PodState {
            terminating: true,
            ..in_phase(Phase::Pending)
        };
        check(terminating, &spent, Outcome::Bypassed(Bypass::Terminating));
    }

    #[test]
    fn a_pod_of_unknown_phase_is_subject_to_its_budget() {
        for phase in ["Running", "Unknown", "", "pending"] {
            let pod = PodState {
                phase: Phase::parse(phase),
                ..READY
            };
            check(
                pod,
                &[budget(0, 2, 2)],
                Outcome::Refused(RuleRefusal::NoneAllowed),
            );
        }
    }

    #[test]
    fn phases_are_parsed_as_the_api_writes_them() {
        assert_eq!(Phase::parse("Pending"), Phase::Pending);
        assert_eq!(Phase::parse("Running"), Phase::Running);
        assert_eq!(Phase::parse("Succeeded"), Phase::Succeeded);
        assert_eq!(Phase::parse("Failed"), Phase::Failed);
    }

    #[test]
    fn without_a_budget_every_pod_may_go() {
        check(READY, &[], Outcome::Unprotected);
        check(UNREADY, &[], Outcome::Unprotected);
    }

    #[test]
    fn two_budgets_are_refused_whatever_they_allow() {
        let both = [budget(1, 2, 1), budget(1, 2, 1)];
        check(READY, &both, Outcome::Refused(RuleRefusal::MultipleBudgets));
        check(
            UNREADY,
            &both,
            Outcome::Refused(RuleRefusal::MultipleBudgets),
        );
    }

    #[test]
    fn the_budget_pays_also_for_an_unready_pod_that_it_does_not_exempt() {
        check(READY, &[budget(1, 3, 2)], Outcome::Charged);
        check(UNREADY, &[budget(1, 1, 2)], Outcome::Charged);
    }

    #[test]
    fn an_unready_pod_goes_free_when_enough_others_are_healthy() {
        let free = Outcome::Uncharged(Unhealthy::BudgetSatisfied);
        check(UNREADY, &[budget(0, 2, 2)], free);
        check(UNREADY, &[budget(0, 3, 2)], free);
        check(UNREADY, &[budget(0, 1, 1)], free);
        check(
            UNREADY,
            &[budget(0, 1, 2)],
            Outcome::Refused(RuleRefusal::NoneAllowed),
        );
        // A budget that wants nothing is not a satisfied one.
        check(
            UNREADY,
            &[budget(0, 0, 0)],
            Outcome::Refused(RuleRefusal::NoneAllowed),
        );
    }

    #[test]
    fn always_allow_exempts_unready_pods_only() {
        let always = BudgetState {
            always_allow: true,
            ..budget(0, 0, 2)
        };
        check(
            UNREADY,
            &[always],
            Outcome::Uncharged(Unhealthy::AlwaysAllowed),
        );
        check(READY, &[always], Outcome::Refused(RuleRefusal::NoneAllowed));
    }

    #[test]
    fn unready_pods_do_not_wait_for_the_controller() {
        let stale = BudgetState {
            observed: false,
            ..budget(5, 2, 2)
        };
        check(
            UNREADY,
            &[stale],
            Outcome::Uncharged(Unhealthy::BudgetSatisfied),
        );
        check(READY, &[stale], Outcome::Refused(RuleRefusal::NotObserved));
    }

    #[test]
    fn impossible_statuses_are_refused_in_upstreams_order() {
        let full = BudgetState {
            disrupted_pods: MAX_DISRUPTED_PODS + 1,
            ..budget(0, 3, 2)
        };
        check(
            READY,
            &[full],
            Outcome::Refused(RuleRefusal::TooManyDisruptedPods),
        );
        let negative = BudgetState {
            disruptions_allowed: -1,
            ..full
        };
        check(
            READY,
            &[negative],
            Outcome::Refused(RuleRefusal::NegativeAllowance),
        );
        let stale = BudgetState {
            observed: false,
            ..negative
        };
        check(READY, &[stale], Outcome::Refused(RuleRefusal::NotObserved));
        let just_fits = BudgetState {
            disrupted_pods: MAX_DISRUPTED_PODS,
            ..budget(1, 3, 2)
        };
        check(READY, &[just_fits], Outcome::Charged);
    }
}
