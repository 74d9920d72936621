//! What to do about a refused eviction or a tight budget, as commands to copy.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Problem, Remedy, Risk, contention};
use crate::budget::{self, BudgetCount, CoveredPod, Owner, PodHealth};
use crate::cluster::ClusterSnapshot;
use crate::format::{plural, resource};
use crate::pdb::{self, DisruptionLimit};
use crate::pods;
use crate::prediction::RefusalReason;
use crate::readiness::UnreadyReason;
use crate::surge::WorkloadKind;

/// Returns what to do about a refused eviction. `of_budget` returns what to do about a budget.
pub(super) fn of_refusal<'a>(
    pod: &Pod,
    reason: &RefusalReason<'a>,
    of_budget: impl FnOnce(&'a PodDisruptionBudget) -> Vec<Remedy>,
) -> Vec<Remedy> {
    let (name, space) = (pods::name(pod), pods::namespace(pod));
    let mut remedies = match (reason, reason.budget()) {
        (RefusalReason::SeveralBudgets(budgets), _) => overlap(budgets, space),
        (_, Some(found)) => of_budget(found),
        (_, None) => {
            return vec![Remedy::new(
                Risk::Safe,
                "Wait: the namespace deletes all its pods",
                [format!("kubectl get pods -n {space} -w")],
            )];
        }
    };
    remedies.push(Remedy::new(
        Risk::Downtime,
        "Only if its service may be interrupted, delete the pod: a deletion ignores budgets",
        [format!("kubectl delete pod {name} -n {space}")],
    ));
    remedies
}

fn overlap(budgets: &[&PodDisruptionBudget], space: &str) -> Vec<Remedy> {
    let names: Vec<&str> = budgets.iter().map(|found| pdb::name(found)).collect();
    let edits = names
        .iter()
        .map(|name| format!("kubectl edit pdb {name} -n {space}"));
    let spare = names.last().copied().unwrap_or_default();
    vec![
        Remedy::new(
            Risk::Protection,
            "Narrow the selectors of all budgets but one",
            edits,
        ),
        Remedy::new(
            Risk::Protection,
            "Or keep only one of them, for example by deleting the last",
            [format!("kubectl delete pdb {spare} -n {space}")],
        ),
    ]
}

/// Returns what to do about a budget that allows no disruption, by its problems.
pub(super) fn of_budget(
    snapshot: &ClusterSnapshot,
    count: &BudgetCount<'_>,
    problems: &[Problem],
) -> Vec<Remedy> {
    let has = |id: &str| problems.iter().any(|problem| problem.id == id);
    let (name, space) = (pdb::name(count.budget), pdb::namespace(count.budget));
    let mut remedies = Vec::new();
    if has("overlap") {
        let others = budget::overlaps(snapshot, count)
            .into_iter()
            .map(|(other, _)| other);
        let all: Vec<_> = std::iter::once(count.budget).chain(others).collect();
        return overlap(&all, space);
    }
    if count.reported.allowed <= 0 && !has("selects-nothing") {
        remedies.extend(uncordon(snapshot));
    }
    if has("never-synced") {
        remedies.push(Remedy::new(
            Risk::Safe,
            "Start the disruption controller again: check that the controller manager runs and renews its lease",
            [
                "kubectl get lease kube-controller-manager -n kube-system".to_owned(),
                "kubectl get pods -n kube-system -l component=kube-controller-manager".to_owned(),
            ],
        ));
    }
    if (has("stale") || has("drift")) && !has("sync-failed") {
        remedies.push(Remedy::new(
            Risk::Safe,
            "Retry in 10 s; if nothing changes, check that the controller manager renews its lease",
            ["kubectl get lease kube-controller-manager -n kube-system".to_owned()],
        ));
    }
    if has("sync-failed") || has("unmanaged") {
        remedies.push(countable(count));
    }
    if has("contended") {
        remedies.extend(contention::remedies(snapshot, count));
    }
    if count.reported.allowed > 0 || has("selects-nothing") {
        return remedies;
    }
    let is_permanent = has("single-replica") || has("never-allows");
    if is_permanent || count.is_tight() {
        remedies.extend(scale_up(snapshot, count));
    }
    if !is_permanent {
        remedies.extend(repair(count, space));
        let is_broken = [
            "no-rule",
            "unmanaged",
            "sync-failed",
            "stale",
            "never-synced",
            "drift",
        ]
        .into_iter()
        .any(has);
        if !is_broken && may_recover(count) {
            remedies.push(Remedy::new(
                Risk::Safe,
                "Wait until the budget allows a disruption again",
                [format!("kubectl get pdb {name} -n {space} -w")],
            ));
        }
    }
    if has("replacement-pending") && uncordon(snapshot).is_none() {
        remedies.push(add_capacity(snapshot));
    }
    if has("policy") {
        remedies.push(Remedy::new(
            Risk::Protection,
            "Allow evictions of unready pods at any time: they serve no requests",
            [patch(
                count,
                r#"{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}"#,
            )],
        ));
    }
    if !["stale", "never-synced", "drift", "sync-failed", "unmanaged"]
        .into_iter()
        .any(has)
    {
        remedies.push(relax(count, has("operator-budget")));
    }
    remedies
}

fn patch(count: &BudgetCount<'_>, body: &str) -> String {
    let (name, space) = (pdb::name(count.budget), pdb::namespace(count.budget));
    format!("kubectl patch pdb {name} -n {space} --type=merge -p '{body}'")
}

/// Returns true when waiting may give the budget more healthy pods than it needs: pods that start,
/// terminate, or may pass their probes again. Crashes, missing images and nodes need somebody.
fn may_recover(count: &BudgetCount<'_>) -> bool {
    let Ok(demand) = &count.demand else {
        return true;
    };
    let may_be_healthy = |covered: &&CoveredPod<'_>| match &covered.health {
        PodHealth::Healthy | PodHealth::Granted { .. } | PodHealth::Terminating => true,
        PodHealth::Unready(unready) => unready.reason.may_pass(),
    };
    let able = count.pods.iter().filter(may_be_healthy).count();
    // Pods that do not exist yet are created.
    let missing = usize::try_from(demand.expected).unwrap_or_default();
    let able = able.saturating_add(missing.saturating_sub(count.pods.len()));
    i32::try_from(able).unwrap_or(i32::MAX) > demand.desired
}

/// Without a node that takes pods no replacement starts, whatever else is done.
pub(super) fn uncordon(snapshot: &ClusterSnapshot) -> Option<Remedy> {
    let nodes = snapshot.all_cordoned()?;
    let first = nodes.first().copied().unwrap_or_default();
    Some(Remedy::new(
        Risk::Safe,
        match nodes.len() {
            1 => "Uncordon the node first: no other node can take a replacement".to_owned(),
            _ => "Uncordon a node first: all of them are cordoned, so no replacement finds a node"
                .to_owned(),
        },
        [format!("kubectl uncordon {first}")],
    ))
}

fn add_capacity(snapshot: &ClusterSnapshot) -> Remedy {
    let cordoned = snapshot
        .nodes
        .iter()
        .filter(|node| rules::nodes::is_cordoned(node));
    let commands: Vec<String> = cordoned
        .map(|node| format!("kubectl uncordon {}", rules::nodes::name(node)))
        .collect();
    let text = if commands.is_empty() {
        "Add a node, or free capacity for the pending pod"
    } else {
        "Add a node, or uncordon one for the pending pod"
    };
    Remedy::new(Risk::Safe, text, commands)
}

/// A limit that the disruption controller can count.
fn countable(count: &BudgetCount<'_>) -> Remedy {
    let least = count.pods.len().saturating_sub(1);
    Remedy::new(
        Risk::Protection,
        "Use an integer minAvailable, the only limit that does not depend on controllers",
        [patch(
            count,
            &format!(r#"{{"spec":{{"maxUnavailable":null,"minAvailable":{least}}}}}"#),
        )],
    )
}

/// Runs one replica more than the budget protects, for the time of the drain.
fn scale_up(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Vec<Remedy> {
    let space = pdb::namespace(count.budget);
    let mut remedies = Vec::new();
    for owner in &count.owners {
        let Ok(replicas) = owner.replicas else {
            continue;
        };
        let workload = format!("{}/{}", resource(owner.kind), owner.name);
        let wanted = replicas.saturating_add(1);
        let helps = pdb::desired_of(count.budget, wanted).is_some_and(|desired| desired < wanted);
        if helps {
            remedies.push(scale_owner(snapshot, space, owner, &workload, replicas));
        }
        if owner.kind == "Deployment" {
            remedies.push(Remedy::new(
                Risk::Safe,
                "Cordon the node and restart the Deployment: if its strategy has maxSurge, new pods start on other nodes before the old ones terminate",
                [format!("kubectl rollout restart {workload} -n {space}")],
            ));
        }
    }
    remedies
}

/// Scales the workload up by one and back, through its autoscaler when it has one.
fn scale_owner(
    snapshot: &ClusterSnapshot,
    space: &str,
    owner: &Owner<'_>,
    workload: &str,
    replicas: i32,
) -> Remedy {
    let wanted = replicas.saturating_add(1);
    let scaler = snapshot.autoscalers.iter().find(|scaler| {
        let target = &scaler.spec.scale_target_ref;
        pods::namespace_of(&scaler.metadata) == space
            && (target.kind.as_str(), target.name.as_str()) == (owner.kind, owner.name)
    });
    let scale = |replicas: i32| match scaler.and_then(|scaler| scaler.metadata.name.as_deref()) {
        Some(scaler) => format!(
            r#"kubectl patch hpa {scaler} -n {space} --type=merge -p '{{"spec":{{"minReplicas":{replicas}}}}}'"#
        ),
        None => format!("kubectl scale {workload} -n {space} --replicas={replicas}"),
    };
    let note = match (has_own_volumes(snapshot, space, owner), replicas) {
        (true, _) => " (the new member has its own, empty volumes)",
        // --surge changes spec.replicas, which an autoscaler would change back.
        (false, 1) if scaler.is_none() && WorkloadKind::named(owner.kind).is_some() => {
            " (exeunt drain --surge does this)"
        }
        (false, _) => "",
    };
    Remedy::new(
        Risk::Safe,
        format!(
            "Run {} during the drain, then scale back{note}",
            plural(wanted, "replica")
        ),
        [
            scale(wanted),
            format!("kubectl rollout status {workload} -n {space}"),
            scale(replicas),
        ],
    )
}

/// Returns true for a StatefulSet with volumeClaimTemplates.
fn has_own_volumes(snapshot: &ClusterSnapshot, space: &str, owner: &Owner<'_>) -> bool {
    let has_templates = |set: &StatefulSet| {
        set.spec
            .as_ref()
            .and_then(|spec| spec.volume_claim_templates.as_ref())
            .is_some_and(|templates| !templates.is_empty())
    };
    owner.kind == "StatefulSet"
        && snapshot.stateful_sets.iter().any(|set| {
            pods::namespace_of(&set.metadata) == space
                && set.metadata.name.as_deref() == Some(owner.name)
                && has_templates(set)
        })
}

/// Repairs one unready pod, preferably one that crashes.
fn repair(count: &BudgetCount<'_>, space: &str) -> Option<Remedy> {
    let unready = count
        .pods
        .iter()
        .filter_map(|covered| match &covered.health {
            PodHealth::Unready(unready) => Some((covered.pod, unready.reason)),
            _ => None,
        });
    // A pod that is starting needs time, not repair.
    let mut broken: Vec<(&Pod, UnreadyReason)> =
        unready.filter(|(_, reason)| !reason.is_early()).collect();
    broken.sort_by_key(|(_, reason)| *reason != UnreadyReason::Crashing);
    let (pod, reason) = broken.first()?;
    let name = pods::name(pod);
    let describe = format!("kubectl describe pod {name} -n {space}");
    let commands = match reason {
        UnreadyReason::Crashing => vec![
            format!("kubectl logs {name} -n {space} --all-containers --previous"),
            describe,
        ],
        UnreadyReason::NodeLost => vec![format!(
            "kubectl describe node {}",
            pods::node_of(pod).unwrap_or_default()
        )],
        _ => vec![describe],
    };
    Some(Remedy::new(
        Risk::Safe,
        format!(
            "Find out why {name} is not Ready and fix it: then the budget allows a disruption again"
        ),
        commands,
    ))
}

/// Weakens the budget for the time of the drain.
fn relax(count: &BudgetCount<'_>, has_operator: bool) -> Remedy {
    if has_operator {
        return Remedy::new(
            Risk::Safe,
            "Put the application into maintenance mode through the controller that owns the budget (see its documentation)",
            [],
        );
    }
    let body = match &count.limit {
        DisruptionLimit::Unset => {
            return Remedy::new(
                Risk::Protection,
                "Set the missing limit of the budget, for example",
                [patch(count, r#"{"spec":{"maxUnavailable":1}}"#)],
            );
        }
        DisruptionLimit::MinAvailable(IntOrString::Int(number)) if *number > 0 => {
            let least = count.healthy().min(*number).saturating_sub(1).max(0);
            format!(r#"{{"spec":{{"minAvailable":{least}}}}}"#)
        }
        _ => {
            // When the pods cannot be counted here, the status is the best estimate.
            let (expected, healthy) = match &count.demand {
                Ok(demand) => (demand.expected, count.healthy()),
                Err(_) => (count.reported.expected, count.reported.healthy),
            };
            let max = expected.saturating_sub(healthy).max(0).saturating_add(1);
            format!(r#"{{"spec":{{"minAvailable":null,"maxUnavailable":{max}}}}}"#)
        }
    };
    let is_healthy = pdb::always_allows_unready(count.budget)
        || count.reported.healthy >= count.reported.desired;
    let text = match is_healthy {
        true => "Allow one more disruption during the drain, then restore the budget",
        false => {
            "Lower the budget below the number of healthy pods during the drain, then restore it"
        }
    };
    Remedy::new(Risk::Protection, text, [patch(count, &body)])
}
