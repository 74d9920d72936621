//! The rules for workloads, autoscalers and webhooks.

use k8s_openapi::api::core::v1::PodSpec;

use super::context::LintContext;
use super::{ObjectRef, RuleHit};
use crate::cluster::SnapshotOrigin;
use crate::format::{NounPhrase, plural, span};
use crate::pods::{self, DEFAULT_GRACE_SECONDS};
use crate::webhooks;
use crate::workloads::{Autoscaler, PodCount, Workload};

fn hit(workload: &Workload<'_>, message: String) -> RuleHit {
    let object = ObjectRef {
        namespace: workload.namespace.to_owned(),
        kind: workload.kind.to_owned(),
        name: workload.name.to_owned(),
    };
    RuleHit::of(object, workload.annotations, message)
}

fn each<'a>(
    context: &LintContext<'a>,
    check: impl Fn(&Workload<'a>) -> Option<String>,
) -> Vec<RuleHit> {
    let hits = context
        .workloads
        .iter()
        .filter_map(|workload| Some(hit(workload, check(workload)?)));
    hits.collect()
}

/// Returns a finding about an autoscaler.
pub(super) fn of_autoscaler(scaler: &Autoscaler<'_>, message: String) -> RuleHit {
    let object = ObjectRef {
        namespace: scaler.namespace.to_owned(),
        kind: scaler.kind.to_owned(),
        name: scaler.name.to_owned(),
    };
    RuleHit::of(object, scaler.annotations, message)
}

fn grace(spec: &PodSpec) -> i64 {
    spec.termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE_SECONDS)
}

pub(super) fn autoscaler_one(context: &LintContext<'_>) -> Vec<RuleHit> {
    let low = context
        .autoscalers
        .iter()
        .filter(|scaler| scaler.least <= 1);
    let hits = low.map(|scaler| {
        let message = format!(
            "it may scale {} {} down to {}",
            scaler.target_kind,
            scaler.target_name,
            plural(scaler.least, "replica")
        );
        of_autoscaler(scaler, message)
    });
    hits.collect()
}

pub(super) fn single_replica(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |workload| {
        let what = match workload.count {
            PodCount::Existing(_) => "pod",
            PodCount::Replicas {
                by_default: true, ..
            } => "replica (the default: spec.replicas is not set)",
            _ => "replica",
        };
        workload
            .is_single()
            .then(|| format!("it has a single {what}, so its eviction is an outage"))
    })
}

pub(super) fn no_budget(context: &LintContext<'_>) -> Vec<RuleHit> {
    // Other files, or a list that failed, may contain the budget.
    let unread = context.snapshot.unread("poddisruptionbudgets.policy");
    if unread.is_some() && context.snapshot.origin != SnapshotOrigin::Manifests {
        return Vec::new();
    }
    let hits = context
        .workloads
        .iter()
        .enumerate()
        .filter(|(index, one)| one.is_replicated() && !context.protected.contains(index));
    let hits = hits.map(|(_, workload)| {
        let pods = match workload.count {
            PodCount::Replicas { least, most, .. } if least != most => {
                format!("{least} to {most} replicas")
            }
            PodCount::Replicas { most, .. } => plural(most, "replica"),
            PodCount::Existing(pods) => plural(pods, "pod"),
            PodCount::WithoutScale | PodCount::OnePod => "several pods".to_owned(),
        };
        hit(
            workload,
            format!("it has {pods}, and no budget selects them"),
        )
    });
    hits.collect()
}

pub(super) fn bare_pod(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |workload| {
        (workload.kind == "Pod").then(|| "no controller replaces it after an eviction".to_owned())
    })
}

pub(super) fn no_pre_stop(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |workload| {
        if pods::has_pre_stop(workload.spec)
            || workload.spec.host_network == Some(true)
            || (workload.count == PodCount::WithoutScale && workload.kind != "DaemonSet")
        {
            return None;
        }
        let services = NounPhrase::new("Service", context.services_of(workload), 3);
        let verb = services.agree("sends", "send");
        (!services.is_empty()).then(|| {
            format!("{services} {verb} its pods requests, and no container has a preStop hook")
        })
    })
}

pub(super) fn pre_stop_beyond_grace(context: &LintContext<'_>) -> Vec<RuleHit> {
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

pub(super) fn no_grace(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |workload| {
        (grace(workload.spec) == 0).then(|| "terminationGracePeriodSeconds is 0".to_owned())
    })
}

pub(super) fn long_grace(context: &LintContext<'_>) -> Vec<RuleHit> {
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

pub(super) fn tolerates_cordon(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |workload| {
        let tolerates = ::rules::nodes::tolerates(
            workload.spec.tolerations.as_ref(),
            &::rules::fit::cordon_taint(),
        );
        (tolerates && workload.kind != "DaemonSet")
            .then(|| "its pods tolerate node.kubernetes.io/unschedulable".to_owned())
    })
}

pub(super) fn spread_counts_cordoned(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |workload| {
        let constraints = workload.spec.topology_spread_constraints.iter().flatten();
        let mut counting = constraints.filter(|constraint| {
            constraint.when_unsatisfiable == "DoNotSchedule"
                && constraint.node_taints_policy.as_deref() != Some("Honor")
        });
        // A workload that runs on every node, or has one pod, is not spread.
        let spreads =
            workload.kind != "DaemonSet" && workload.kind != "Pod" && workload.most() != Some(1);
        let first = counting.next().filter(|_| spreads)?;
        Some(format!(
            "its topology spread over {} (maxSkew {}) counts cordoned nodes",
            first.topology_key, first.max_skew
        ))
    })
}

pub(super) fn eviction_webhook(context: &LintContext<'_>) -> Vec<RuleHit> {
    let closed = webhooks::of_evictions(context.snapshot).filter(|hook| hook.fails_closed);
    let hits = closed.map(|hook| {
        let message = format!(
            "the server calls webhook {} for every eviction, and it fails closed",
            hook.name
        );
        RuleHit::new(hook.kind, hook.meta, message)
    });
    hits.collect()
}
