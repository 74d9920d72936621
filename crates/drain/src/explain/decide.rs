//! What the server would do with an eviction, in its order, by what the snapshot shows.
//!
//! The same rules as `registry/pod/eviction/decide.rs`, over the typed objects that a client sees.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::cluster::Snapshot;
use crate::{budget, health};

/// Granted evictions that a budget may note before the server refuses to add more.
const MOST_GRANTED: usize = 2000;

/// What becomes of an eviction.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<'a> {
    /// Granted, whatever budgets say: the pod does not run, or leaves already. Why.
    Bypasses(&'static str),
    /// Granted: no budget selects the pod.
    Unprotected,
    /// Granted and not charged: the pod is not ready, and this budget lets such pods go.
    Free(&'a PodDisruptionBudget),
    /// Granted and charged.
    Charged(&'a PodDisruptionBudget),
    /// Refused.
    Refused(Refusal<'a>),
}

/// Why an eviction is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal<'a> {
    /// 403: the namespace is being deleted.
    Namespace,
    /// 500: more than one budget selects the pod.
    Overlap(Vec<&'a PodDisruptionBudget>),
    /// 429: the controller has not seen the budget's newest spec.
    Stale(&'a PodDisruptionBudget),
    /// 403: the figures are impossible.
    Impossible(&'a PodDisruptionBudget, &'static str),
    /// 429: the controller cannot count; its words.
    SyncFailed(&'a PodDisruptionBudget, String),
    /// 429: nothing is allowed.
    Spent(&'a PodDisruptionBudget),
}

/// True for the policy that lets unready pods go always.
#[must_use]
pub fn always_allows(budget: &PodDisruptionBudget) -> bool {
    budget
        .spec
        .as_ref()
        .and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref())
        == Some("AlwaysAllow")
}

/// Decides about one pod.
#[must_use]
pub fn decide<'a>(snapshot: &'a Snapshot, pod: &Pod) -> Decision<'a> {
    if is_ending(snapshot, health::namespace(pod)) {
        return Decision::Refused(Refusal::Namespace);
    }
    if let Some(why) = bypasses(pod) {
        return Decision::Bypasses(why);
    }
    let budgets = budget::selecting(snapshot, pod);
    let budget = match budgets.as_slice() {
        [] => return Decision::Unprotected,
        [budget] => *budget,
        _ => return Decision::Refused(Refusal::Overlap(budgets)),
    };
    let reported = budget::reported(budget);
    let enough = reported.desired > 0 && reported.healthy >= reported.desired;
    if !health::is_ready(pod) && (enough || always_allows(budget)) {
        return Decision::Free(budget);
    }
    Decision::Refused(match reported {
        _ if reported.stale => Refusal::Stale(budget),
        _ if reported.allowed < 0 => {
            Refusal::Impossible(budget, "its disruptionsAllowed is negative")
        }
        _ if reported.granted > MOST_GRANTED => Refusal::Impossible(
            budget,
            "it notes more than 2000 granted evictions that nobody confirmed",
        ),
        _ if reported.allowed > 0 => return Decision::Charged(budget),
        budget::Reported {
            sync_failed: Some(why),
            ..
        } => Refusal::SyncFailed(budget, why),
        _ => Refusal::Spent(budget),
    })
}

/// Whether the namespace is being deleted.
pub(super) fn is_ending(snapshot: &Snapshot, namespace: &str) -> bool {
    let space = snapshot
        .namespaces
        .iter()
        .find(|space| space.metadata.name.as_deref() == Some(namespace));
    space.is_some_and(|space| space.metadata.deletion_timestamp.is_some())
}

fn bypasses(pod: &Pod) -> Option<&'static str> {
    match health::phase(pod) {
        _ if health::is_terminating(pod) => Some("it is being deleted already"),
        "Pending" => Some("it does not run yet"),
        "Succeeded" | "Failed" => Some("it has run to its end"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(pod: Value, budgets: &[Value]) -> Snapshot {
        let mut snapshot = Snapshot::empty(jiff::Timestamp::UNIX_EPOCH);
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
        json!({"metadata": {"name": "p"}, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn budget(
        policy: Option<&str>,
        observed: i64,
        allowed: i32,
        healthy: i32,
        desired: i32,
    ) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "spec": {"minAvailable": desired, "selector": {}, "unhealthyPodEvictionPolicy": policy},
            "status": {"observedGeneration": observed, "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": 3}})
    }

    fn check(pod: Value, budgets: &[Value], expected: fn(&Decision<'_>) -> bool) {
        let snapshot = snapshot(pod.clone(), budgets);
        let decision = decide(&snapshot, &snapshot.pods[0]);
        assert!(expected(&decision), "{pod} under {budgets:?}: {decision:?}");
    }

    #[test]
    fn it_decides_as_the_server_does() {
        let running = || pod("Running", "True");
        let spent = || budget(None, 1, 0, 2, 2);
        check(pod("Pending", "False"), &[spent(), spent()], |found| {
            matches!(found, Decision::Bypasses(_))
        });
        check(running(), &[], |found| *found == Decision::Unprotected);
        check(
            running(),
            &[spent(), spent()],
            |found| matches!(found, Decision::Refused(Refusal::Overlap(both)) if both.len() == 2),
        );
        check(running(), &[spent()], |found| {
            matches!(found, Decision::Refused(Refusal::Spent(_)))
        });
        check(running(), &[budget(None, 1, 1, 3, 2)], |found| {
            matches!(found, Decision::Charged(_))
        });
        check(running(), &[budget(None, 0, 1, 3, 2)], |found| {
            matches!(found, Decision::Refused(Refusal::Stale(_)))
        });
        check(running(), &[budget(None, 1, -1, 3, 2)], |found| {
            matches!(found, Decision::Refused(Refusal::Impossible(..)))
        });
        check(
            pod("Running", "False"),
            &[budget(None, 0, 0, 2, 2)],
            |found| matches!(found, Decision::Free(_)),
        );
        check(
            pod("Running", "False"),
            &[budget(None, 1, 0, 1, 2)],
            |found| matches!(found, Decision::Refused(Refusal::Spent(_))),
        );
        check(
            pod("Running", "False"),
            &[budget(Some("AlwaysAllow"), 1, 0, 0, 2)],
            |found| matches!(found, Decision::Free(_)),
        );
        check(
            pod("Running", "False"),
            &[budget(None, 1, 0, 0, 0)],
            |found| matches!(found, Decision::Refused(Refusal::Spent(_))),
        );
    }
}
