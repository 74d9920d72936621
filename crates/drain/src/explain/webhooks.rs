//! Problems and remedies for admission webhooks that are called for evictions: they may refuse
//! evictions, and fail them all when they are down.

use super::{Problem, Remedy, Risk};
use crate::cluster::ClusterSnapshot;
use crate::webhooks::{EvictionWebhook, of_evictions_in};

/// Describes each webhook that is called for evictions in the namespace.
pub(super) fn problems(snapshot: &ClusterSnapshot, namespace: &str) -> Vec<Problem> {
    of_evictions_in(snapshot, namespace)
        .map(|hook| problem(&hook, snapshot))
        .collect()
}

/// Returns what to do about webhooks that fail every eviction.
pub(super) fn remedies(snapshot: &ClusterSnapshot, namespace: &str) -> Vec<Remedy> {
    let down = of_evictions_in(snapshot, namespace)
        .filter(|hook| hook.fails_closed && hook.missing_service(snapshot).is_some());
    let remedies = down.flat_map(|hook| {
        let (kind, configuration) = (hook.kind.to_lowercase(), hook.configuration());
        [
            Remedy::new(
                Risk::Safe,
                "Restore the Service behind the webhook",
                [format!("kubectl get {kind} {configuration} -o yaml")],
            ),
            Remedy::new(
                Risk::Protection,
                "If the software that installed the webhook is gone, delete its configuration",
                [format!("kubectl delete {kind} {configuration}")],
            ),
        ]
    });
    remedies.collect()
}

fn problem(hook: &EvictionWebhook<'_>, snapshot: &ClusterSnapshot) -> Problem {
    let (name, kind, configuration) = (hook.name, hook.kind, hook.configuration());
    if hook.fails_closed
        && let Some(service) = hook.missing_service(snapshot)
    {
        return Problem::blocking(
            "webhook-down",
            format!(
                "the server calls webhook {name} ({kind} {configuration}) for every eviction, and its Service {service} does not exist: every eviction fails"
            ),
        );
    }
    let effect = if hook.fails_closed {
        format!(
            "an eviction is refused when the webhook denies it, fails, or does not answer within {} s",
            hook.timeout_seconds
        )
    } else {
        "an eviction is refused only when the webhook denies it (failurePolicy: Ignore)".to_owned()
    };
    Problem::new(
        "webhook",
        format!("the server calls webhook {name} ({kind} {configuration}) for evictions: {effect}"),
    )
}
