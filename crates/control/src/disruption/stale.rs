//! Resets the `DisruptionTarget` condition of pods that are not deleted.
//!
//! The condition announces a deletion. When none follows within two minutes, the condition is wrong
//! and would mislead controllers that count pods, so it is set to False, as upstream does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};

use crate::context::ControllerContext;
use crate::error::{ReconcileError, ignore_not_found};
use crate::informers::Informers;
use crate::meta::{ObjectKey, after_seconds, on_wire, until};
use crate::pods::{condition, is_finished, is_terminating};
use crate::queue::{Requeue, WorkQueue};
use rules::budgets::DELETION_SECONDS;

const CONDITION: &str = "DisruptionTarget";
const WORKERS: usize = 4;

pub(super) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let (wake, clock) = (queue.clone(), context.clock.clone());
    informers.pods.subscribe(move |change| {
        if let Some(pod) = &change.new
            && let Some(pause) = due(pod, clock.now())
        {
            wake.add_after(ObjectKey::of(&**pod), pause);
        }
    });
    let (context_, pods) = (context.clone(), Arc::clone(&informers.pods.cache));
    context.work(
        "stale disruption",
        queue,
        WORKERS,
        vec![informers.pods.cache.synced()],
        move |key| {
            let (context, known) = (context_.clone(), pods.get(&key));
            async move {
                match known {
                    Some(pod) => reconcile(&context, &key, &pod).await,
                    None => Ok(Requeue::OnChange),
                }
            }
        },
    );
}

async fn reconcile(
    context: &ControllerContext,
    key: &ObjectKey,
    known: &Pod,
) -> Result<Requeue, ReconcileError> {
    match due(known, context.now()) {
        None => return Ok(Requeue::OnChange),
        Some(pause) if !pause.is_zero() => return Ok(Requeue::After(pause)),
        Some(_) => {}
    }
    let api = context.namespaced::<Pod>(&key.namespace);
    ignore_not_found(
        api.patch_status(
            &key.name,
            &PatchParams::default(),
            &Patch::Strategic(&reset(known, context.now())),
        )
        .await,
    )?;
    Ok(Requeue::OnChange)
}

/// The time until the condition is stale; none when there is nothing to reset.
fn due(pod: &Pod, now: Timestamp) -> Option<Duration> {
    if is_terminating(pod) || is_finished(pod) {
        return None;
    }
    let target = condition(pod, CONDITION)?;
    if target.status != "True" || target.reason.as_deref() == Some("TerminationByKubelet") {
        return None;
    }
    let since = target
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some(until(now, after_seconds(since, DELETION_SECONDS)))
}

/// The patch that sets the condition to False, if the pod has not changed.
fn reset(pod: &Pod, now: Timestamp) -> serde_json::Value {
    let target = serde_json::json!({
        "type": CONDITION, "status": "False", "reason": null, "message": null,
            "lastProbeTime": null,
        "observedGeneration": pod.metadata.generation, "lastTransitionTime": on_wire(now),
    });
    let metadata = serde_json::json!({"uid": pod.metadata.uid,
        "resourceVersion": pod.metadata.resource_version});
    serde_json::json!({"metadata": metadata, "status": {"conditions": [target]}})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::tests::pod;

    fn disrupted(extra: serde_json::Value, reason: &str) -> Pod {
        let mut tree = json!({"metadata": {"name": "p", "generation": 3},
            "status": {"phase": "Running", "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        if let (Some(meta), Some(extra)) = (tree["metadata"].as_object_mut(), extra.as_object()) {
            meta.extend(extra.clone());
        }
        pod(tree)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_disruption_target_is_stale_after_two_minutes_unless_the_pod_terminates() {
        let cases = [
            (
                disrupted(json!({}), "EvictionByEvictionAPI"),
                "2026-01-01T00:01:59Z",
                Some(Duration::from_secs(1)),
            ),
            (
                disrupted(json!({}), "EvictionByEvictionAPI"),
                "2026-01-01T00:02:01Z",
                Some(Duration::ZERO),
            ),
            (
                disrupted(
                    json!({"deletionTimestamp": "2026-01-01T00:01:00Z"}),
                    "EvictionByEvictionAPI",
                ),
                "2026-01-01T00:02:01Z",
                None,
            ),
            (
                disrupted(json!({}), "TerminationByKubelet"),
                "2026-01-01T00:02:01Z",
                None,
            ),
            (pod(json!({})), "2026-01-01T00:02:01Z", None),
        ];
        for (pod, now, expected) in cases {
            assert_eq!(due(&pod, at(now)), expected, "{now}");
        }
    }

    #[test]
    fn a_reset_disruption_target_has_no_reason() {
        let pod = disrupted(json!({"resourceVersion": "7"}), "EvictionByEvictionAPI");
        let patch = reset(&pod, at("2026-01-01T00:02:01Z"));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let target = &patch["status"]["conditions"][0];
        assert_eq!(
            (
                &target["status"],
                &target["reason"],
                &target["observedGeneration"]
            ),
            (&json!("False"), &json!(null), &json!(3))
        );
    }
}
