//! A node that an autoscaler would take away if it could move the pods: what it meets. It moves all
//! of them at once, and leaves the node alone when one cannot be moved.

use k8s_openapi::api::core::v1::{Node, Pod};
use rules::resources::{allocatable, requests};

use super::{Problem, after, node, spread};
use crate::budget::{self, Standing};
use crate::cluster::Snapshot;
use crate::words::listed;
use crate::{health, plan};

/// The autoscalers look at nodes of which less than half is asked for.
const IDLE_PERCENT: i64 = 50;
/// Names in a text.
const MOST_NAMED: usize = 4;

/// What keeps an idle node; nothing where no autoscaler shows itself.
pub(super) fn problems(snapshot: &Snapshot, found: &Node) -> Vec<Problem> {
    let Some(autoscaler) = autoscaler(snapshot) else {
        return Vec::new();
    };
    let leaving = node::leaving(snapshot, rules::nodes::name(found));
    let asked = asked_percent(snapshot, found);
    if asked >= IDLE_PERCENT || leaving.is_empty() {
        return Vec::new();
    }
    let whys = kept(&leaving)
        .into_iter()
        .chain(budgets(snapshot, &leaving))
        .chain(homeless(snapshot, found, &leaving));
    let told = whys.map(|why| {
        Problem::new(
            "scale-down",
            format!(
                "{asked} % of the node is asked for, and {autoscaler} cannot take it away: {why}"
            ),
        )
    });
    told.collect()
}

/// The autoscaler that the cluster shows, by its taints, labels or pods.
fn autoscaler(snapshot: &Snapshot) -> Option<&'static str> {
    let tainted = |node: &Node| {
        rules::nodes::taints(node).any(|taint| {
            taint.key.ends_with("OfClusterAutoscaler")
                || taint.key == "ToBeDeletedByClusterAutoscaler"
        })
    };
    let karpenter = |node: &Node| {
        node.metadata
            .labels
            .iter()
            .flatten()
            .any(|(key, _)| key == "karpenter.sh/nodepool")
    };
    let image = |pod: &Pod, name: &str| {
        let images = pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .filter_map(|container| container.image.as_deref());
        images
            .filter_map(|image| image.rsplit('/').next())
            .any(|last| last.split([':', '@']).next() == Some(name))
    };
    let runs = |name: &str| snapshot.pods.iter().any(|pod| image(pod, name));
    if snapshot.nodes.iter().any(karpenter) {
        return Some("Karpenter");
    }
    (snapshot.nodes.iter().any(tainted) || runs("cluster-autoscaler"))
        .then_some("the cluster autoscaler")
}

/// How much of the node its pods ask for, by what is scarcer of processor and memory.
fn asked_percent(snapshot: &Snapshot, node: &Node) -> i64 {
    let (has, mut asked) = (allocatable(node), rules::resources::Amounts::default());
    let here = snapshot
        .pods
        .iter()
        .filter(|pod| health::node_of(pod) == Some(rules::nodes::name(node)));
    here.filter(|pod| !health::is_finished(pod))
        .for_each(|pod| asked.add(&requests(pod)));
    let share = |name: &str| {
        if has.get(name) > 0 {
            asked.get(name).saturating_mul(100) / has.get(name)
        } else {
            0
        }
    };
    share("cpu").max(share("memory"))
}

/// Pods that no autoscaler moves, whatever their budgets: nobody makes them again, or they say so.
fn kept(leaving: &[&Pod]) -> Vec<String> {
    let kept = leaving
        .iter()
        .filter_map(|pod| match after::keep_annotation(pod) {
            Some((name, value)) => Some(format!(
                "{} has the annotation {name}={value}",
                health::name(pod)
            )),
            None if health::controller_of(pod).is_none() => {
                Some(format!("nobody makes {} again", health::name(pod)))
            }
            None => None,
        });
    kept.collect()
}

/// Budgets that do not let all their pods of the node go at once, and who uses them up elsewhere.
fn budgets(snapshot: &Snapshot, leaving: &[&Pod]) -> Vec<String> {
    let tight = snapshot.budgets.iter().filter_map(|found| {
        let here: Vec<&str> = leaving
            .iter()
            .filter(|pod| budget::selects(found, pod))
            .map(|pod| health::name(pod))
            .collect();
        let allowed = usize::try_from(budget::reported(found).allowed).unwrap_or_default();
        if here.len() <= allowed {
            return None;
        }
        let count = budget::count(snapshot, found);
        let elsewhere = count.pods.iter().filter(|covered| {
            covered.standing != Standing::Healthy && !here.contains(&health::name(covered.pod))
        });
        let eaters: Vec<String> = elsewhere
            .map(|covered| super::budgets::line(snapshot, covered))
            .collect();
        let eaters = match eaters.is_empty() {
            true => String::new(),
            false => format!(
                "; used up elsewhere by {}",
                listed(eaters.iter().map(String::as_str), MOST_NAMED)
            ),
        };
        let all = if allowed == 0 {
            "it moves none of"
        } else {
            "it wants to move all at once of"
        };
        Some(format!(
            "budget {} allows {allowed}, so {all} {}{eaters}",
            budget::name(found),
            listed(here, MOST_NAMED)
        ))
    });
    tight.collect()
}

/// Pods for which there is no room elsewhere. Those whose own spread is in the way are told by
/// [`spread`].
fn homeless(snapshot: &Snapshot, found: &Node, leaving: &[&Pod]) -> Option<String> {
    let lost = plan::homeless(snapshot, rules::nodes::name(found), leaving);
    let trapped = |name: &str| {
        let pod = leaving
            .iter()
            .find(|pod| name == format!("{}/{}", health::namespace(pod), health::name(pod)));
        pod.is_some_and(|pod| spread::problem(snapshot, pod).is_some())
    };
    let texts = lost.iter().map(|one| {
        let hint = if trapped(&one.pod) {
            " (its spread counts the node while it is cordoned)"
        } else {
            ""
        };
        format!("{} finds no other node: {}{hint}", one.pod, one.why)
    });
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| listed(texts.iter().map(String::as_str), MOST_NAMED))
}
