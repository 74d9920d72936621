//! Takes back `DisruptionTarget` of pods that nobody deletes.
//!
//! Whoever sets the condition announces a deletion. When two minutes later none has come, the
//! announcement is wrong and would mislead those who count pods, so it is turned to False.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};

use crate::caches::Caches;
use crate::context::Context;
use crate::error::{Error, unless_gone};
use crate::meta::{Key, after_seconds, on_wire, until};
use crate::pods::{condition, is_finished, is_terminating};
use crate::queue::{Outcome, Queue};
use rules::budgets::DELETION_SECONDS;

const CONDITION: &str = "DisruptionTarget";
const WORKERS: usize = 4;

pub(super) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let (wake, clock) = (queue.clone(), context.clock.clone());
    caches.pods.subscribe(move |change| {
        if let Some(pod) = &change.new
            && let Some(pause) = due(pod, clock.now())
        {
            wake.add_after(Key::of(&**pod), pause);
        }
    });
    let (context_, pods) = (context.clone(), Arc::clone(&caches.pods.cache));
    context.work(
        "stale disruption marks",
        queue,
        WORKERS,
        vec![caches.pods.cache.synced()],
        move |key| {
            let (context, known) = (context_.clone(), pods.get(&key));
            async move {
                match known {
                    Some(pod) => reconcile(&context, &key, &pod).await,
                    None => Ok(Outcome::Done),
                }
            }
        },
    );
}

async fn reconcile(context: &Context, key: &Key, known: &Pod) -> Result<Outcome, Error> {
    match due(known, context.now()) {
        None => return Ok(Outcome::Done),
        Some(pause) if !pause.is_zero() => return Ok(Outcome::After(pause)),
        Some(_) => {}
    }
    let api = context.namespaced::<Pod>(&key.namespace);
    unless_gone(
        api.patch_status(
            &key.name,
            &PatchParams::default(),
            &Patch::Strategic(&taken_back(known, context.now())),
        )
        .await,
    )?;
    Ok(Outcome::Done)
}

/// How long the announcement may still stand; none when there is nothing to take back.
fn due(pod: &Pod, now: Timestamp) -> Option<Duration> {
    if is_terminating(pod) || is_finished(pod) {
        return None;
    }
    let mark = condition(pod, CONDITION)?;
    if mark.status != "True" || mark.reason.as_deref() == Some("TerminationByKubelet") {
        return None;
    }
    let since = mark
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some(until(now, after_seconds(since, DELETION_SECONDS)))
}

/// The change that turns the mark to False, if the pod is still the one that is known.
fn taken_back(pod: &Pod, now: Timestamp) -> serde_json::Value {
    let mark = serde_json::json!({
        "type": CONDITION, "status": "False", "reason": null, "message": null, "lastProbeTime": null,
        "observedGeneration": pod.metadata.generation, "lastTransitionTime": on_wire(now),
    });
    let metadata = serde_json::json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
    serde_json::json!({"metadata": metadata, "status": {"conditions": [mark]}})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::tests::pod;

    fn marked(extra: serde_json::Value, reason: &str) -> Pod {
        let mut tree = json!({"metadata": {"name": "p", "generation": 3}, "status": {"phase": "Running", "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        if let (Some(meta), Some(extra)) = (tree["metadata"].as_object_mut(), extra.as_object()) {
            meta.extend(extra.clone());
        }
        pod(tree)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_mark_stands_for_two_minutes_unless_the_pod_leaves() {
        let cases = [
            (
                marked(json!({}), "EvictionByEvictionAPI"),
                "2026-01-01T00:01:59Z",
                Some(Duration::from_secs(1)),
            ),
            (
                marked(json!({}), "EvictionByEvictionAPI"),
                "2026-01-01T00:02:01Z",
                Some(Duration::ZERO),
            ),
            (
                marked(
                    json!({"deletionTimestamp": "2026-01-01T00:01:00Z"}),
                    "EvictionByEvictionAPI",
                ),
                "2026-01-01T00:02:01Z",
                None,
            ),
            (
                marked(json!({}), "TerminationByKubelet"),
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
    fn a_mark_that_is_taken_back_has_no_reason_left() {
        let pod = marked(json!({"resourceVersion": "7"}), "EvictionByEvictionAPI");
        let patch = taken_back(&pod, at("2026-01-01T00:02:01Z"));
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let mark = &patch["status"]["conditions"][0];
        assert_eq!(
            (
                &mark["status"],
                &mark["reason"],
                &mark["observedGeneration"]
            ),
            (&json!("False"), &json!(null), &json!(3))
        );
    }
}
