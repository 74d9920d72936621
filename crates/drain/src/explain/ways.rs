//! Ways out, as commands to copy.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::decide::{Refusal, always_allows};
use super::{Problem, Risk, Way};
use crate::budget::{self, Count, Owner, Rule, Standing};
use crate::cluster::Snapshot;
use crate::health::{self, Trouble};
use crate::surge::Kind;
use crate::words::resource;

fn way(risk: Risk, text: impl Into<String>, commands: impl IntoIterator<Item = String>) -> Way {
    Way {
        risk,
        text: text.into(),
        commands: commands.into_iter().collect(),
    }
}

/// For an eviction that is refused.
pub(super) fn of_refusal(
    snapshot: &Snapshot,
    pod: &Pod,
    refusal: &Refusal<'_>,
    problems: &[Problem],
) -> Vec<Way> {
    let (name, space) = (health::name(pod), health::namespace(pod));
    let mut ways = match refusal {
        Refusal::Namespace => {
            return vec![way(
                Risk::Safe,
                "Wait: all pods of the namespace are being deleted anyway",
                [format!("kubectl get pods -n {space} -w")],
            )];
        }
        Refusal::Overlap(budgets) => overlap(budgets, space),
        Refusal::Stale(found)
        | Refusal::Impossible(found, _)
        | Refusal::SyncFailed(found, _)
        | Refusal::Spent(found) => of_budget(snapshot, &budget::count(snapshot, found), problems),
    };
    // Deleting asks no budget: the last way, and it always works.
    let text = "Only if its service may be interrupted: delete the pod, which asks no budget";
    ways.push(way(
        Risk::Downtime,
        text,
        [format!("kubectl delete pod {name} -n {space}")],
    ));
    ways
}

fn overlap(
    budgets: &[&k8s_openapi::api::policy::v1::PodDisruptionBudget],
    space: &str,
) -> Vec<Way> {
    let names: Vec<&str> = budgets.iter().map(|found| budget::name(found)).collect();
    let edits = names
        .iter()
        .map(|name| format!("kubectl edit pdb {name} -n {space}"));
    let spare = names.last().copied().unwrap_or_default();
    vec![
        way(
            Risk::Protection,
            "Narrow the selector of all budgets but one",
            edits,
        ),
        way(
            Risk::Protection,
            "Keep only one of them, for example without the last",
            [format!("kubectl delete pdb {spare} -n {space}")],
        ),
    ]
}

/// For a budget that allows nothing, by what is wrong with it.
pub(super) fn of_budget(snapshot: &Snapshot, count: &Count<'_>, problems: &[Problem]) -> Vec<Way> {
    let has = |id: &str| problems.iter().any(|problem| problem.id == id);
    let (name, space) = (budget::name(count.budget), budget::namespace(count.budget));
    let mut ways = Vec::new();
    if has("overlap") {
        let others = budget::overlaps(snapshot, count)
            .into_iter()
            .map(|(other, _)| other);
        let all: Vec<_> = std::iter::once(count.budget).chain(others).collect();
        return overlap(&all, space);
    }
    if (has("stale") || has("drift")) && !has("sync-failed") {
        let lease = "kubectl get lease kube-controller-manager -n kube-system".to_owned();
        ways.push(way(
            Risk::Safe,
            "Try again in 10 s; if it stays so, see whether the controller manager lives (its lease is renewed)",
            [lease],
        ));
    }
    if has("sync-failed") || has("unmanaged") {
        ways.push(countable(count, name, space));
    }
    if has("contended") {
        ways.extend(super::contention::ways(snapshot, count));
    }
    if count.reported.allowed > 0 || has("selects-nothing") {
        return ways;
    }
    if has("single-replica") || has("never-allows") {
        ways.extend(make_room(snapshot, count));
    } else {
        ways.extend(mend(count, space));
        if !["no-rule", "unmanaged", "sync-failed", "stale", "drift"]
            .into_iter()
            .any(has)
        {
            ways.push(way(
                Risk::Safe,
                "Wait until the budget allows a disruption again",
                [format!("kubectl get pdb {name} -n {space} -w")],
            ));
        }
    }
    if has("replacement-pending") {
        let cordoned = snapshot
            .nodes
            .iter()
            .filter(|node| rules::nodes::is_cordoned(node));
        let commands: Vec<String> = cordoned
            .map(|node| format!("kubectl uncordon {}", rules::nodes::name(node)))
            .collect();
        let text = if commands.is_empty() {
            "Add a node, or free room for the waiting pod"
        } else {
            "Add a node, or let the waiting pod onto one that is cordoned"
        };
        ways.push(way(Risk::Safe, text, commands));
    }
    if has("policy") {
        let patch = r#"'{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}'"#;
        let text = "Let unready pods go whatever the budget says: nobody is served by them";
        ways.push(way(
            Risk::Protection,
            text,
            [format!(
                "kubectl patch pdb {name} -n {space} --type=merge -p {patch}"
            )],
        ));
    }
    if !["stale", "drift", "sync-failed", "unmanaged"]
        .into_iter()
        .any(has)
    {
        ways.extend(relax(count, name, space, has("operator-budget")));
    }
    ways
}

/// A form of the budget that the controller can count.
fn countable(count: &Count<'_>, name: &str, space: &str) -> Way {
    let least = count.pods.len().saturating_sub(1);
    let patch = format!(r#"'{{"spec":{{"maxUnavailable":null,"minAvailable":{least}}}}}'"#);
    let text = "Write the budget as an integer minAvailable, the only form that asks no controller";
    way(
        Risk::Protection,
        text,
        [format!(
            "kubectl patch pdb {name} -n {space} --type=merge -p {patch}"
        )],
    )
}

/// One replica more than the budget protects, for as long as the drain takes.
fn make_room(snapshot: &Snapshot, count: &Count<'_>) -> Vec<Way> {
    let space = budget::namespace(count.budget);
    let mut ways = Vec::new();
    for owner in &count.owners {
        let Ok(replicas) = owner.replicas else {
            continue;
        };
        let thing = format!("{}/{}", resource(owner.kind), owner.name);
        let wish = replicas.saturating_add(1);
        let helps = budget::desired_of(count.budget, wish).is_some_and(|desired| desired < wish);
        let scaler = snapshot.autoscalers.iter().find(|scaler| {
            let target = &scaler.spec.scale_target_ref;
            (target.kind.as_str(), target.name.as_str()) == (owner.kind, owner.name)
        });
        if helps {
            let (up, down) = match scaler.and_then(|scaler| scaler.metadata.name.as_deref()) {
                Some(scaler) => {
                    let set = |least: i32| {
                        format!(
                            r#"kubectl patch hpa {scaler} -n {space} --type=merge -p '{{"spec":{{"minReplicas":{least}}}}}'"#
                        )
                    };
                    (set(wish), set(replicas))
                }
                None => {
                    let set =
                        |wish: i32| format!("kubectl scale {thing} -n {space} --replicas={wish}");
                    (set(wish), set(replicas))
                }
            };
            let note = match (own_volumes(snapshot, space, owner), replicas) {
                (true, _) => " (the new member has volumes of its own)",
                // What an autoscaler sets is the autoscaler's to change.
                (false, 1) if scaler.is_none() && Kind::named(owner.kind).is_some() => {
                    " (exeunt drain --surge does it)"
                }
                (false, _) => "",
            };
            let text = format!("Run {wish} replicas while you drain, then go back{note}");
            ways.push(way(
                Risk::Safe,
                text,
                [
                    up,
                    format!("kubectl rollout status {thing} -n {space}"),
                    down,
                ],
            ));
        }
        if owner.kind == "Deployment" {
            let text = "Cordon the node and restart the Deployment: its new pods start elsewhere before the old ones go, if its strategy surges";
            ways.push(way(
                Risk::Safe,
                text,
                [format!("kubectl rollout restart {thing} -n {space}")],
            ));
        }
    }
    ways
}

/// Whether each member of the workload has volumes that no other has.
fn own_volumes(snapshot: &Snapshot, space: &str, owner: &Owner<'_>) -> bool {
    let sets = snapshot
        .stateful_sets
        .iter()
        .filter(|_| owner.kind == "StatefulSet");
    let mut named = sets.filter(|set| {
        (
            set.metadata.namespace.as_deref().unwrap_or("default"),
            set.metadata.name.as_deref(),
        ) == (space, Some(owner.name))
    });
    let templates = |set: &StatefulSet| {
        set.spec
            .as_ref()
            .and_then(|spec| spec.volume_claim_templates.as_ref())
            .is_some_and(|all| !all.is_empty())
    };
    named.any(templates)
}

/// Mends what is not ready, the crashes first.
fn mend(count: &Count<'_>, space: &str) -> Vec<Way> {
    let broken = count
        .pods
        .iter()
        .filter_map(|covered| match &covered.standing {
            Standing::Unready(unready) => Some((covered.pod, unready.trouble)),
            _ => None,
        });
    // What has only just been made needs time and no hands.
    let mut broken: Vec<(&Pod, Trouble)> = broken
        .filter(|(_, trouble)| *trouble != Trouble::Starting)
        .collect();
    broken.sort_by_key(|(_, trouble)| *trouble != Trouble::Crashing);
    let Some((pod, trouble)) = broken.first() else {
        return Vec::new();
    };
    let name = health::name(pod);
    let look = format!("kubectl describe pod {name} -n {space}");
    let commands = match trouble {
        Trouble::Crashing => vec![
            format!("kubectl logs {name} -n {space} --all-containers --previous"),
            look,
        ],
        Trouble::NodeLost => vec![format!(
            "kubectl describe node {}",
            health::node_of(pod).unwrap_or_default()
        )],
        _ => vec![look],
    };
    vec![way(
        Risk::Safe,
        format!(
            "Find out why {name} is not Ready, and mend it: the budget is free again when it is"
        ),
        commands,
    )]
}

/// A weaker budget, for the time of the drain.
fn relax(count: &Count<'_>, name: &str, space: &str, operated: bool) -> Option<Way> {
    if operated {
        return Some(way(
            Risk::Safe,
            "Ask the controller that writes the budget for maintenance (see its documentation)",
            [],
        ));
    }
    if count.rule == Rule::Nothing {
        let patch = format!(
            r#"kubectl patch pdb {name} -n {space} --type=merge -p '{{"spec":{{"maxUnavailable":1}}}}'"#
        );
        return Some(way(
            Risk::Protection,
            "Give the budget the rule that it lacks, for example",
            [patch],
        ));
    }
    let patch = match &count.rule {
        Rule::MinAvailable(IntOrString::Int(number)) if *number > 0 => {
            let least = count.healthy().min(*number).saturating_sub(1).max(0);
            format!(r#"'{{"spec":{{"minAvailable":{least}}}}}'"#)
        }
        _ => {
            // Where nobody could count, the status has to do.
            let (expected, healthy) = match &count.figures {
                Ok(figures) => (figures.expected, count.healthy()),
                Err(_) => (count.reported.expected, count.reported.healthy),
            };
            let more = expected.saturating_sub(healthy).max(0).saturating_add(1);
            format!(r#"'{{"spec":{{"minAvailable":null,"maxUnavailable":{more}}}}}'"#)
        }
    };
    let text = match always_allows(count.budget) || count.reported.healthy >= count.reported.desired
    {
        true => "Let one more pod go for the time of the drain, and put the budget back afterwards",
        false => "Lower the budget below what is healthy now, and put it back afterwards",
    };
    Some(way(
        Risk::Protection,
        text,
        [format!(
            "kubectl patch pdb {name} -n {space} --type=merge -p {patch}"
        )],
    ))
}
