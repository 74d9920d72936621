//! The rules for workloads, autoscalers and webhooks.

use k8s_openapi::api::core::v1::PodSpec;

use super::RuleHit;
use super::context::{LintContext, Workload};
use crate::format::{listed, span};
use crate::pods::{self, DEFAULT_GRACE_SECONDS};
use crate::webhooks;

fn each<'a>(
    context: &LintContext<'a>,
    check: impl Fn(&Workload<'a>) -> Option<String>,
) -> Vec<RuleHit<'a>> {
    let hits = context.workloads.iter().filter_map(|workload| {
        Some(RuleHit {
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

pub(super) fn autoscaler_one<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    let low = context
        .snapshot
        .autoscalers
        .iter()
        .filter(|scaler| scaler.spec.min_replicas.unwrap_or(1) <= 1);
    let hits = low.map(|scaler| {
        let target = &scaler.spec.scale_target_ref;
        RuleHit {
            kind: "HorizontalPodAutoscaler",
            meta: &scaler.metadata,
            message: format!(
                "it may scale {} {} down to one replica",
                target.kind, target.name
            ),
        }
    });
    hits.collect()
}

pub(super) fn single_replica<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |workload| {
        (workload.replicas == Some(1))
            .then(|| "it has a single replica, so its eviction is an outage".to_owned())
    })
}

pub(super) fn bare_pod<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |workload| {
        (workload.kind == "Pod").then(|| "no controller replaces it after an eviction".to_owned())
    })
}

pub(super) fn no_pre_stop<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |workload| {
        if pods::has_pre_stop(workload.spec)
            || workload.spec.host_network == Some(true)
            || workload.kind == "Job"
        {
            return None;
        }
        let services: Vec<&str> = context
            .snapshot
            .services_selecting(workload.namespace(), workload.labels)
            .collect();
        (!services.is_empty()).then(|| {
            format!(
                "Service {} sends its pods requests, and no container has a preStop hook",
                listed(services, 3)
            )
        })
    })
}

pub(super) fn pre_stop_beyond_grace<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |workload| {
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
                    "container {} has a preStop sleep of {sleep} s and a grace period of {grace} s",
                    container.name
                )
            })
        });
        sleeps.reduce(|all, one| format!("{all}; {one}"))
    })
}

pub(super) fn no_grace<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |workload| {
        (grace(workload.spec) == 0).then(|| "terminationGracePeriodSeconds is 0".to_owned())
    })
}

pub(super) fn long_grace<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    let limit = i64::try_from(context.options.max_grace.as_secs()).unwrap_or(i64::MAX);
    each(context, |workload| {
        let long = grace(workload.spec);
        let text = |seconds| span(jiff::SignedDuration::from_secs(seconds));
        (long > limit).then(|| {
            format!(
                "its pods may take {} to terminate, and the limit is {}",
                text(long),
                text(limit)
            )
        })
    })
}

pub(super) fn tolerates_cordon<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |workload| {
        let tolerates = ::rules::nodes::tolerates(
            workload.spec.tolerations.as_ref(),
            &::rules::fit::cordon_taint(),
        );
        (tolerates && workload.kind != "DaemonSet")
            .then(|| "its pods tolerate node.kubernetes.io/unschedulable".to_owned())
    })
}

pub(super) fn spread_counts_cordoned<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |workload| {
        let constraints = workload.spec.topology_spread_constraints.iter().flatten();
        let mut counting = constraints.filter(|constraint| {
            constraint.when_unsatisfiable == "DoNotSchedule"
                && constraint.node_taints_policy.as_deref() != Some("Honor")
        });
        // A workload that runs on every node, or has one pod, is not spread.
        let spreads =
            workload.kind != "DaemonSet" && workload.kind != "Pod" && workload.replicas != Some(1);
        let first = counting.next().filter(|_| spreads)?;
        Some(format!(
            "its topology spread over {} (maxSkew {}) counts cordoned nodes",
            first.topology_key, first.max_skew
        ))
    })
}

pub(super) fn eviction_webhook<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    let closed = webhooks::of_evictions(context.snapshot).filter(|hook| hook.fails_closed);
    let hits = closed.map(|hook| RuleHit {
        kind: hook.kind,
        meta: hook.meta,
        message: format!(
            "the server calls webhook {} for every eviction, and it fails closed",
            hook.name
        ),
    });
    hits.collect()
}
