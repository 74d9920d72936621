//! Explains a pod that is being deleted: how much of its grace is left, and what holds it after
//! that.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::{EvictionVerdict, Evidence, ExplainSubject, Explanation, Problem, Remedy, Risk};
use crate::cluster::ClusterSnapshot;
use crate::format::{NounPhrase, between, for_how_long};
use crate::pods;

/// The time that a kubelet may take after the grace period to report the end of the containers.
const REPORT_DELAY: SignedDuration = SignedDuration::from_secs(10);

pub(super) fn explain(snapshot: &ClusterSnapshot, pod: &Pod, deadline: Timestamp) -> Explanation {
    let name = pods::name(pod);
    let grace = pod
        .metadata
        .deletion_grace_period_seconds
        .unwrap_or_default();
    let problems = holds(snapshot, pod, deadline);
    // What remains to be done when the grace period ends takes a moment.
    let is_late = snapshot.now.duration_since(deadline) > REPORT_DELAY;
    let (verdict, headline) = match problems.first().filter(|_| is_late) {
        _ if snapshot.now < deadline => {
            let left = between(snapshot.now, deadline);
            (
                EvictionVerdict::Leaving,
                format!(
                    "{name} is terminating: its eviction or deletion was accepted, and {left} of its grace period of {grace} s are left"
                ),
            )
        }
        None => (
            EvictionVerdict::Leaving,
            format!("{name} is terminating: its grace period of {grace} s has just ended"),
        ),
        Some(first) => {
            let late = between(snapshot.now, deadline);
            (
                EvictionVerdict::Stuck,
                format!(
                    "{name} is stuck: its grace period ended {late} ago, but {}",
                    first.text
                ),
            )
        }
    };
    let mut explanation = Explanation::new(ExplainSubject::of_pod(pod), verdict, headline);
    explanation.evidence.push(Evidence::line(
        "the pod has a deletionTimestamp: budgets no longer apply to it",
    ));
    explanation.evidence.extend(namespace(snapshot, pod));
    explanation
        .evidence
        .extend(disruption_target(snapshot, pod));
    explanation.evidence.extend(hooks(pod));
    explanation.remedies = remedies(pod, &problems, verdict);
    explanation.problems = problems;
    explanation
}

fn namespace(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Evidence> {
    let name = pods::namespace(pod);
    let text = format!(
        "namespace {name} is being deleted with everything in it; the server answers 403 to evictions"
    );
    snapshot
        .is_namespace_terminating(name)
        .then(|| Evidence::line(text))
}

/// The condition `DisruptionTarget`: the only trace that an eviction leaves on the pod.
fn disruption_target(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Evidence> {
    let condition =
        pods::condition(pod, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    let (reason, message) = (
        condition.reason.as_deref().unwrap_or("no reason"),
        condition.message.as_deref().unwrap_or_default(),
    );
    let since = condition
        .last_transition_time
        .as_ref()
        .map(|at| format!(" {} ago", between(snapshot.now, at.0)))
        .unwrap_or_default();
    Some(Evidence::line(format!(
        "condition DisruptionTarget: {reason}{since} ({message})"
    )))
}

fn hooks(pod: &Pod) -> Option<Evidence> {
    let names = pod.spec.iter().flat_map(pods::containers_with_pre_stop);
    let containers = NounPhrase::new("container", names, 5);
    let verb = containers.agree("runs", "run");
    (!containers.is_empty()).then(|| {
        Evidence::line(format!(
            "{containers} {verb} a preStop hook first, within the grace period"
        ))
    })
}

/// Returns what holds the pod, or will, the most certain first.
fn holds(snapshot: &ClusterSnapshot, pod: &Pod, deadline: Timestamp) -> Vec<Problem> {
    let mut problems = Vec::new();
    let finalizers = NounPhrase::new("finalizer", snapshot.finalizers_holding(pod), 5);
    if !finalizers.is_empty() {
        let text = format!(
            "the {} of {finalizers} {}",
            finalizers.agree("owner", "owners"),
            finalizers.agree("has not removed it", "have not removed them"),
        );
        problems.push(Problem::blocking("finalizer", text));
    }
    problems.extend(node(snapshot, pod));
    let late = snapshot.now.duration_since(deadline);
    if late > REPORT_DELAY && problems.is_empty() {
        problems.extend(attached(snapshot, pod));
        problems.push(unreported(snapshot, pod));
    }
    problems
}

/// Containers that have ended without being counted, or whose end the node has not reported.
fn unreported(snapshot: &ClusterSnapshot, pod: &Pod) -> Problem {
    if pods::is_finished(pod) && snapshot.awaits_its_job(pod) {
        return Problem::blocking(
            "job-controller",
            "it has finished, and the controller of its Job has not counted it yet: the controller is behind or down",
        );
    }
    let node = pods::node_of(pod).unwrap_or("no node");
    Problem::blocking(
        "node-silent",
        format!(
            "its node ({node}) has not reported the end of its containers (a volume that does not unmount, a hung runtime)"
        ),
    )
}

/// A node that cannot confirm that its pods have terminated.
pub(super) fn node(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Problem> {
    let name = pods::node_of(pod)?;
    let Some(node) = snapshot.node(name) else {
        return snapshot.unread("nodes").is_none().then(|| {
            Problem::blocking(
                "node-gone",
                format!("its node {name} no longer exists, so nothing confirms its termination"),
            )
        });
    };
    if pods::node_is_ready(node) {
        return None;
    }
    let (status, since) = pods::node_condition(node, "Ready").unwrap_or(("missing", None));
    let since = for_how_long(snapshot.now, since);
    Some(Problem::blocking(
        "node-unreachable",
        format!(
            "its node {name} has not been Ready{since} (Ready is {status}), so nothing confirms its termination"
        ),
    ))
}

fn attached(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Problem> {
    let (node, volumes) = (pods::node_of(pod)?, snapshot.volumes_of(pod));
    let held = snapshot
        .attachments
        .iter()
        .filter(|attachment| attachment.spec.node_name == node)
        .filter_map(|attachment| {
            let volume = attachment.spec.source.persistent_volume_name.as_deref()?;
            volumes
                .iter()
                .any(|(_, known)| known.metadata.name.as_deref() == Some(volume))
                .then_some(volume)
        });
    let held = NounPhrase::new("volume", held, 5);
    let verb = held.agree("is", "are");
    (!held.is_empty()).then(|| {
        Problem::blocking(
            "volume-attached",
            format!("its {held} {verb} still attached to {node}"),
        )
    })
}

fn remedies(pod: &Pod, problems: &[Problem], verdict: EvictionVerdict) -> Vec<Remedy> {
    let (name, space) = (pods::name(pod), pods::namespace(pod));
    let has = |id: &str| problems.iter().any(|problem| problem.id == id);
    let mut remedies = Vec::new();
    if verdict == EvictionVerdict::Leaving && problems.is_empty() {
        remedies.push(Remedy::new(
            Risk::Safe,
            "Wait until it is deleted",
            [format!(
                "kubectl wait --for=delete pod/{name} -n {space} --timeout=10m"
            )],
        ));
    }
    if has("finalizer") {
        remedies.push(Remedy::new(
            Risk::Safe,
            "Find the controller that owns the finalizer, and why it does not remove it",
            [format!(
                "kubectl get pod {name} -n {space} -o jsonpath='{{.metadata.finalizers}}'"
            )],
        ));
        remedies.push(Remedy::new(
            Risk::Downtime,
            "If that controller no longer exists, remove the finalizer: what it was to clean up remains",
            [format!(
                "kubectl patch pod {name} -n {space} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'"
            )],
        ));
    }
    if has("volume-attached") {
        remedies.push(Remedy::new(
            Risk::Safe,
            "Find out why its volume does not detach",
            ["kubectl describe volumeattachments".to_owned()],
        ));
    }
    if has("node-unreachable") || has("node-silent") {
        let node = pods::node_of(pod).unwrap_or_default();
        remedies.push(Remedy::new(
            Risk::Safe,
            "Bring the node back, or inspect its kubelet",
            [format!("kubectl describe node {node}")],
        ));
        if has("node-unreachable") {
            remedies.push(Remedy::new(
                Risk::Downtime,
                "If the machine is certainly powered off, taint the node as out of service: its pods are deleted and its volumes detached",
                [format!(
                    "kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
                )],
            ));
        }
    }
    if has("job-controller") {
        remedies.push(Remedy::new(
            Risk::Safe,
            "Check that the controller manager renews its lease",
            ["kubectl get lease kube-controller-manager -n kube-system".to_owned()],
        ));
    }
    if verdict == EvictionVerdict::Stuck && !has("finalizer") && !has("job-controller") {
        let of_set = pods::controller_of(pod).is_some_and(|owner| owner.kind == "StatefulSet");
        let warning = if of_set {
            ": otherwise two pods of the StatefulSet may write to one volume"
        } else {
            ""
        };
        remedies.push(Remedy::new(
            Risk::Downtime,
            format!("Only if its processes have certainly ended, delete the object{warning}"),
            [format!(
                "kubectl delete pod {name} -n {space} --grace-period=0 --force"
            )],
        ));
    }
    remedies
}
