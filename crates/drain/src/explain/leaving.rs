//! A pod that is being deleted: how much of its grace is left, and what holds it when none is.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::{Evidence, Explanation, Problem, Risk, Subject, Verdict, Way};
use crate::cluster::Snapshot;
use crate::health;
use crate::words::{between, listed};

/// A node may need so long after the grace to report the end.
const SLACK: SignedDuration = SignedDuration::from_secs(10);

pub(super) fn explain(snapshot: &Snapshot, pod: &Pod, deadline: Timestamp) -> Explanation {
    let name = health::name(pod);
    let grace = pod
        .metadata
        .deletion_grace_period_seconds
        .unwrap_or_default();
    let problems = holds(snapshot, pod, deadline);
    let (verdict, headline) = match problems.first() {
        _ if snapshot.now < deadline => {
            let left = between(snapshot.now, deadline);
            (
                Verdict::Leaving,
                format!(
                    "{name} is leaving: its eviction or deletion was accepted, {left} of its {grace} s grace are left"
                ),
            )
        }
        None => (
            Verdict::Leaving,
            format!("{name} is leaving: its grace of {grace} s has just ended"),
        ),
        Some(first) => {
            let late = between(snapshot.now, deadline);
            (
                Verdict::Stuck,
                format!(
                    "{name} is stuck: its grace ended {late} ago and it is still there, because {}",
                    first.text
                ),
            )
        }
    };
    let mut explanation = Explanation::new(Subject::of_pod(pod), verdict, headline);
    explanation.evidence.push(Evidence::line(
        "no budget is asked any more: the pod has been told to go",
    ));
    explanation.evidence.extend(namespace(snapshot, pod));
    explanation.evidence.extend(asked_by(snapshot, pod));
    explanation.evidence.extend(hooks(pod));
    explanation.ways = ways(pod, &problems, verdict);
    explanation.problems = problems;
    explanation
}

fn namespace(snapshot: &Snapshot, pod: &Pod) -> Option<Evidence> {
    let name = health::namespace(pod);
    let text = format!(
        "namespace {name} is being deleted with all that is in it, and answers evictions with 403"
    );
    super::decide::is_ending(snapshot, name).then(|| Evidence::line(text))
}

/// Who wanted it: the only trace that an eviction leaves.
fn asked_by(snapshot: &Snapshot, pod: &Pod) -> Option<Evidence> {
    let mark = health::condition(pod, "DisruptionTarget").filter(|mark| mark.status == "True")?;
    let (reason, message) = (
        mark.reason.as_deref().unwrap_or("no reason"),
        mark.message.as_deref().unwrap_or_default(),
    );
    let since = mark
        .last_transition_time
        .as_ref()
        .map(|at| format!(" {} ago", between(snapshot.now, at.0)))
        .unwrap_or_default();
    Some(Evidence::line(format!(
        "condition DisruptionTarget: {reason}{since} ({message})"
    )))
}

fn hooks(pod: &Pod) -> Option<Evidence> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let hooked = containers.filter(|container| {
        container
            .lifecycle
            .as_ref()
            .is_some_and(|lifecycle| lifecycle.pre_stop.is_some())
    });
    let names: Vec<&str> = hooked.map(|container| container.name.as_str()).collect();
    let noun = if names.len() == 1 {
        "container"
    } else {
        "containers"
    };
    (!names.is_empty()).then(|| {
        Evidence::line(format!(
            "{noun} {} first run a preStop hook, within the same grace",
            listed(names, 5)
        ))
    })
}

/// What holds it, or will, the most certain first.
pub(super) fn holds(snapshot: &Snapshot, pod: &Pod, deadline: Timestamp) -> Vec<Problem> {
    let mut problems = Vec::new();
    let finalizers = pod.metadata.finalizers.iter().flatten().map(String::as_str);
    let finalizers: Vec<&str> = finalizers.collect();
    if !finalizers.is_empty() {
        problems.push(Problem::blocking(
            "finalizer",
            format!(
                "finalizer {} has not been removed by its owner",
                listed(finalizers, 5)
            ),
        ));
    }
    problems.extend(node(snapshot, pod));
    let late = snapshot.now.duration_since(deadline);
    if late > SLACK && problems.is_empty() {
        problems.extend(attached(snapshot, pod));
        let node = health::node_of(pod).unwrap_or("no node");
        let why = format!(
            "its node ({node}) has not reported the end of its containers (a volume that does not unmount, a hung runtime)"
        );
        problems.push(Problem::blocking("node-silent", why));
    }
    problems
}

/// A node that cannot confirm the end of its pods.
pub(super) fn node(snapshot: &Snapshot, pod: &Pod) -> Option<Problem> {
    let name = health::node_of(pod)?;
    let Some(node) = snapshot
        .nodes
        .iter()
        .find(|node| node.metadata.name.as_deref() == Some(name))
    else {
        let read = !snapshot
            .unread
            .iter()
            .any(|unread| unread.resource == "nodes");
        return read.then(|| {
            Problem::blocking(
                "node-gone",
                format!("its node {name} does not exist any more, so nobody confirms its end"),
            )
        });
    };
    if health::node_is_ready(node) {
        return None;
    }
    let (status, since) = health::node_condition(node, "Ready").unwrap_or(("missing", None));
    let since = since
        .map(|since| format!(" for {}", between(snapshot.now, since)))
        .unwrap_or_default();
    Some(Problem::blocking(
        "node-unreachable",
        format!(
            "its node {name} has not been Ready{since} (Ready is {status}), so nobody confirms its end"
        ),
    ))
}

fn attached(snapshot: &Snapshot, pod: &Pod) -> Option<Problem> {
    let (node, volumes) = (health::node_of(pod)?, super::after::volumes(snapshot, pod));
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
    let held: Vec<&str> = held.collect();
    (!held.is_empty()).then(|| {
        Problem::blocking(
            "volume-attached",
            format!("its volume {} is still attached to {node}", listed(held, 5)),
        )
    })
}

fn ways(pod: &Pod, problems: &[Problem], verdict: Verdict) -> Vec<Way> {
    let (name, space) = (health::name(pod), health::namespace(pod));
    let has = |id: &str| problems.iter().any(|problem| problem.id == id);
    let mut ways = Vec::new();
    if verdict == Verdict::Leaving {
        ways.push(Way {
            risk: Risk::Safe,
            text: "Wait until it is gone".into(),
            commands: vec![format!(
                "kubectl wait --for=delete pod/{name} -n {space} --timeout=10m"
            )],
        });
    }
    if has("finalizer") {
        let look =
            format!("kubectl get pod {name} -n {space} -o jsonpath='{{.metadata.finalizers}}'");
        ways.push(Way {
            risk: Risk::Safe,
            text: "Find the controller that owns the finalizer, and see why it does not act".into(),
            commands: vec![look],
        });
        let drop = format!(
            "kubectl patch pod {name} -n {space} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'"
        );
        ways.push(Way {
            risk: Risk::Downtime,
            text: "If that controller is gone for good, take the finalizer away: what it was to clean up stays behind".into(),
            commands: vec![drop],
        });
    }
    if has("volume-attached") {
        let look = "kubectl describe volumeattachments".to_owned();
        ways.push(Way {
            risk: Risk::Safe,
            text: "See why its volume does not detach".into(),
            commands: vec![look],
        });
    }
    if has("node-unreachable") || has("node-silent") {
        let node = health::node_of(pod).unwrap_or_default();
        ways.push(Way {
            risk: Risk::Safe,
            text: "Bring the node back, or look at its kubelet".into(),
            commands: vec![format!("kubectl describe node {node}")],
        });
        if has("node-unreachable") {
            let taint = format!(
                "kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
            );
            ways.push(Way {
                risk: Risk::Downtime,
                text:
                    "If the machine is certainly off: say so, and its pods and volumes are released"
                        .into(),
                commands: vec![taint],
            });
        }
    }
    if verdict == Verdict::Stuck && !has("finalizer") {
        let sets = health::controller_of(pod).is_some_and(|owner| owner.kind == "StatefulSet");
        let warn = if sets {
            ": of a StatefulSet two pods may then write to one volume"
        } else {
            ""
        };
        let force = format!("kubectl delete pod {name} -n {space} --grace-period=0 --force");
        ways.push(Way {
            risk: Risk::Downtime,
            text: format!("Only when its processes have certainly ended, remove the object{warn}"),
            commands: vec![force],
        });
    }
    ways
}
