//! Predicts the server's decision about an eviction from a snapshot, by the rule that the server
//! applies ([`rules::eviction`]).

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use rules::eviction::{self, Bypass, Outcome, RuleRefusal, Unhealthy};

use crate::cluster::ClusterSnapshot;
use crate::{pdb, pods};

/// What the server would do with an eviction.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction<'a> {
    /// Granted without reading budgets, because the pod does not run or is being deleted.
    Bypassed(Bypass),
    /// Granted: no budget selects the pod.
    NoBudget,
    /// Granted without charging the budget: the pod is not ready, and the budget's policy allows
    /// the eviction of unready pods now.
    Uncharged(&'a PodDisruptionBudget, Unhealthy),
    /// Granted and charged to the budget.
    Charged(&'a PodDisruptionBudget),
    /// Refused.
    Refused(RefusalReason<'a>),
}

/// Why the server would refuse an eviction.
#[derive(Clone, Debug, PartialEq)]
pub enum RefusalReason<'a> {
    /// 403: the namespace is being deleted.
    NamespaceTerminating,
    /// 500: more than one budget selects the pod.
    SeveralBudgets(Vec<&'a PodDisruptionBudget>),
    /// 429: the disruption controller has not processed the budget's newest spec.
    Stale(&'a PodDisruptionBudget),
    /// 403: `disruptionsAllowed` is negative.
    NegativeAllowance(&'a PodDisruptionBudget),
    /// 403: `disruptedPods` has more entries than [`eviction::MAX_DISRUPTED_PODS`].
    TooManyDisruptedPods(&'a PodDisruptionBudget),
    /// 429: the disruption controller cannot count the budget's pods; its message.
    SyncFailed(&'a PodDisruptionBudget, String),
    /// 429: the budget allows no disruption.
    NoDisruptionsAllowed(&'a PodDisruptionBudget),
}

impl<'a> Prediction<'a> {
    /// Returns the one budget that decides, `None` when none or several select the pod.
    #[must_use]
    pub fn budget(&self) -> Option<&'a PodDisruptionBudget> {
        match self {
            Self::Uncharged(budget, _) | Self::Charged(budget) => Some(budget),
            Self::Refused(reason) => reason.budget(),
            Self::Bypassed(_) | Self::NoBudget => None,
        }
    }
}

impl<'a> RefusalReason<'a> {
    /// The message about a failed sync is part of the answer to [`RuleRefusal::NoneAllowed`].
    fn of(refusal: RuleRefusal, budget: &'a PodDisruptionBudget) -> Self {
        match refusal {
            RuleRefusal::MultipleBudgets => Self::SeveralBudgets(vec![budget]),
            RuleRefusal::NotObserved => Self::Stale(budget),
            RuleRefusal::NegativeAllowance => Self::NegativeAllowance(budget),
            RuleRefusal::TooManyDisruptedPods => Self::TooManyDisruptedPods(budget),
            RuleRefusal::NoneAllowed => match pdb::reported(budget).sync_failed {
                Some(why) => Self::SyncFailed(budget, why),
                None => Self::NoDisruptionsAllowed(budget),
            },
        }
    }

    /// Returns the one budget that refuses, `None` when the reason is not a single budget.
    #[must_use]
    pub fn budget(&self) -> Option<&'a PodDisruptionBudget> {
        match self {
            Self::Stale(budget)
            | Self::NegativeAllowance(budget)
            | Self::TooManyDisruptedPods(budget)
            | Self::SyncFailed(budget, _)
            | Self::NoDisruptionsAllowed(budget) => Some(budget),
            Self::NamespaceTerminating | Self::SeveralBudgets(_) => None,
        }
    }
}

/// Predicts the server's decision about the pod's eviction.
#[must_use]
pub fn predict<'a>(snapshot: &'a ClusterSnapshot, pod: &Pod) -> Prediction<'a> {
    // Admission refuses evictions in a terminating namespace before the rule is applied.
    if snapshot.is_namespace_terminating(pods::namespace(pod)) {
        return Prediction::Refused(RefusalReason::NamespaceTerminating);
    }
    let budgets = snapshot.budgets_selecting(pod);
    let states = budgets.iter().map(|budget| pdb::eviction_state(budget));
    let outcome = eviction::decide(&pods::eviction_state(pod), states);
    match (outcome, budgets.as_slice()) {
        (Outcome::Bypassed(bypass), _) => Prediction::Bypassed(bypass),
        (Outcome::Refused(RuleRefusal::MultipleBudgets), _) => {
            Prediction::Refused(RefusalReason::SeveralBudgets(budgets))
        }
        (Outcome::Uncharged(why), [budget]) => Prediction::Uncharged(budget, why),
        (Outcome::Charged, [budget]) => Prediction::Charged(budget),
        (Outcome::Refused(refusal), [budget]) => {
            Prediction::Refused(RefusalReason::of(refusal, budget))
        }
        // The other outcomes are about one budget, so only `Unprotected` is left.
        (_, _) => Prediction::NoBudget,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(pod: Value, budgets: &[Value]) -> ClusterSnapshot {
        let mut snapshot = ClusterSnapshot::empty(jiff::Timestamp::UNIX_EPOCH);
        snapshot
            .pods
            .push(serde_json::from_value(pod).expect("a pod"));
        snapshot.budgets = budgets
            .iter()
            .map(|budget| serde_json::from_value(budget.clone()).expect("a budget"))
            .collect();
        snapshot
    }

    fn pod(phase: &str, ready: &str) -> Value {
        json!({"metadata": {"name": "p"},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn budget(
        policy: Option<&str>,
        observed: i64,
        allowed: i32,
        healthy: i32,
        desired: i32,
    ) -> Value {
        json!({"metadata": {"name": "b", "generation": 1},
            "spec": {"minAvailable": desired, "selector": {}, "unhealthyPodEvictionPolicy": policy},
            "status": {"observedGeneration": observed, "disruptionsAllowed": allowed,
                "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": 3}})
    }

    fn check(pod: Value, budgets: &[Value], expected: fn(&Prediction<'_>) -> bool) {
        let snapshot = snapshot(pod.clone(), budgets);
        let prediction = predict(&snapshot, &snapshot.pods[0]);
        assert!(
            expected(&prediction),
            "{pod} under {budgets:?}: {prediction:?}"
        );
    }

    #[test]
    fn the_prediction_is_the_decision_of_the_server() {
        let running = || pod("Running", "True");
        let unready = || pod("Running", "False");
        let spent = || budget(None, 1, 0, 2, 2);
        check(pod("Pending", "False"), &[spent(), spent()], |found| {
            matches!(found, Prediction::Bypassed(_))
        });
        check(running(), &[], |found| *found == Prediction::NoBudget);
        check(running(), &[spent(), spent()], |found| {
            matches!(found,
                Prediction::Refused(RefusalReason::SeveralBudgets(both)) if both.len() == 2)
        });
        check(running(), &[spent()], |found| {
            matches!(
                found,
                Prediction::Refused(RefusalReason::NoDisruptionsAllowed(_))
            )
        });
        check(running(), &[budget(None, 1, 1, 3, 2)], |found| {
            matches!(found, Prediction::Charged(_))
        });
        check(running(), &[budget(None, 0, 1, 3, 2)], |found| {
            matches!(found, Prediction::Refused(RefusalReason::Stale(_)))
        });
        check(running(), &[budget(None, 1, -1, 3, 2)], |found| {
            matches!(
                found,
                Prediction::Refused(RefusalReason::NegativeAllowance(_))
            )
        });
        check(unready(), &[budget(None, 0, 0, 2, 2)], |found| {
            matches!(found, Prediction::Uncharged(..))
        });
        check(unready(), &[budget(None, 1, 0, 1, 2)], |found| {
            matches!(
                found,
                Prediction::Refused(RefusalReason::NoDisruptionsAllowed(_))
            )
        });
        check(
            unready(),
            &[budget(Some("AlwaysAllow"), 1, 0, 0, 2)],
            |found| matches!(found, Prediction::Uncharged(..)),
        );
        check(unready(), &[budget(None, 1, 0, 0, 0)], |found| {
            matches!(
                found,
                Prediction::Refused(RefusalReason::NoDisruptionsAllowed(_))
            )
        });
    }
}
