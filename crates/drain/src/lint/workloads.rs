//! The rules about workloads, autoscalers and webhooks.

use k8s_openapi::api::core::v1::PodSpec;

use super::Hit;
use super::scene::{Scene, Workload};
use crate::explain::{prepares_to_stop, serving, webhooks_of_evictions};
use crate::words::{listed, span};

/// What the API gives to pods that say nothing.
const DEFAULT_GRACE_SECONDS: i64 = 30;

fn each<'a>(scene: &Scene<'a>, check: impl Fn(&Workload<'a>) -> Option<String>) -> Vec<Hit<'a>> {
    let hits = scene.workloads.iter().filter_map(|workload| {
        Some(Hit {
            kind: workload.kind,
            meta: workload.meta,
            message: check(workload)?,
        })
    });
    hits.collect()
}

fn grace(spec: &PodSpec) -> i64 {
    spec.termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE_SECONDS)
}

pub(super) fn autoscaler_one<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    let low = scene
        .snapshot
        .autoscalers
        .iter()
        .filter(|scaler| scaler.spec.min_replicas.unwrap_or(1) <= 1);
    let hits = low.map(|scaler| {
        let target = &scaler.spec.scale_target_ref;
        Hit {
            kind: "HorizontalPodAutoscaler",
            meta: &scaler.metadata,
            message: format!(
                "it may shrink {} {} to one replica",
                target.kind, target.name
            ),
        }
    });
    hits.collect()
}

pub(super) fn single_replica<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |workload| {
        (workload.replicas == Some(1))
            .then(|| "it runs a single replica: its eviction is an outage".to_owned())
    })
}

pub(super) fn bare_pod<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |workload| {
        (workload.kind == "Pod").then(|| "no controller replaces it when it is evicted".to_owned())
    })
}

pub(super) fn no_pre_stop<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |workload| {
        if prepares_to_stop(workload.spec)
            || workload.spec.host_network == Some(true)
            || workload.kind == "Job"
        {
            return None;
        }
        let services: Vec<&str> = serving(
            &scene.snapshot.services,
            workload.namespace(),
            workload.labels,
        )
        .collect();
        (!services.is_empty()).then(|| {
            format!(
                "service {} sends its pods requests, and no container has a preStop hook",
                listed(services, 3)
            )
        })
    })
}

pub(super) fn pre_stop_beyond_grace<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |workload| {
        let grace = grace(workload.spec);
        let sleeps = workload.spec.containers.iter().filter_map(|container| {
            let sleep = container
                .lifecycle
                .as_ref()?
                .pre_stop
                .as_ref()?
                .sleep
                .as_ref()?
                .seconds;
            (sleep >= grace).then(|| {
                format!(
                    "container {} sleeps {sleep} s before it stops, of a grace of {grace} s",
                    container.name
                )
            })
        });
        sleeps.reduce(|all, one| format!("{all}; {one}"))
    })
}

pub(super) fn no_grace<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |workload| {
        (grace(workload.spec) == 0).then(|| "terminationGracePeriodSeconds is 0".to_owned())
    })
}

pub(super) fn long_grace<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    let limit = i64::try_from(scene.options.max_grace.as_secs()).unwrap_or(i64::MAX);
    each(scene, |workload| {
        let long = grace(workload.spec);
        let text = |seconds| span(jiff::SignedDuration::from_secs(seconds));
        (long > limit).then(|| {
            format!(
                "its pods may take {} to go, and the limit is {}",
                text(long),
                text(limit)
            )
        })
    })
}

pub(super) fn tolerates_cordon<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |workload| {
        let returns = ::rules::nodes::tolerates(
            workload.spec.tolerations.as_ref(),
            &::rules::fit::cordon_taint(),
        );
        (returns && workload.kind != "DaemonSet")
            .then(|| "its pods tolerate node.kubernetes.io/unschedulable".to_owned())
    })
}

pub(super) fn spread_counts_cordoned<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |workload| {
        let constraints = workload.spec.topology_spread_constraints.iter().flatten();
        let mut trap = constraints.filter(|constraint| {
            constraint.when_unsatisfiable == "DoNotSchedule"
                && constraint.node_taints_policy.as_deref() != Some("Honor")
        });
        // What runs on every node anyway, or once, has nothing to spread.
        let spreads =
            workload.kind != "DaemonSet" && workload.kind != "Pod" && workload.replicas != Some(1);
        let first = trap.next().filter(|_| spreads)?;
        Some(format!(
            "its spread over {} (maxSkew {}) counts cordoned nodes",
            first.topology_key, first.max_skew
        ))
    })
}

pub(super) fn eviction_webhook<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    let closed = webhooks_of_evictions(scene.snapshot).filter(|hook| hook.fails);
    let hits = closed.map(|hook| Hit {
        kind: hook.kind,
        meta: hook.meta,
        message: format!(
            "webhook {} is asked about every eviction and fails closed",
            hook.name
        ),
    });
    hits.collect()
}
