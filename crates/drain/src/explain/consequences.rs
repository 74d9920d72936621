//! What follows when an eviction is granted: what delays the termination, what is lost with the
//! pod, and whether it is replaced.

use k8s_openapi::api::core::v1::{PersistentVolume, Pod, PodSpec};

use super::views::ExplainViews;
use super::{Problem, terminating};
use crate::cluster::ClusterSnapshot;
use crate::format::{NounPhrase, listed, span};
use crate::tier::{Tiers, is_critical};
use crate::{order, pods};

/// Grace periods beyond this are reported: they make every drain of the node slow.
const LONG_GRACE_SECONDS: i64 = 300;
/// Annotations with which people exclude a pod from automation, and their values.
const KEEP_ANNOTATIONS: &[(&str, &str)] = &[
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ("karpenter.sh/do-not-disrupt", "true"),
    ("descheduler.alpha.kubernetes.io/prefer-no-eviction", "true"),
];

pub(super) fn problems<'a>(
    snapshot: &'a ClusterSnapshot,
    pod: &'a Pod,
    views: &ExplainViews<'a>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(terminating::node(snapshot, pod));
    problems.extend(super::webhooks::problems(snapshot, pods::namespace(pod)));
    problems.extend(finalizers(snapshot, pod));
    let nothing = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&nothing);
    problems.extend(grace(spec));
    problems.extend(kind_of_pod(pod, spec));
    problems.extend(local_volumes(pod, views));
    problems.extend(traffic(snapshot, pod, spec));
    problems.extend(kept(pod));
    problems.extend(super::spread::problem(snapshot, pod));
    problems.extend(needed(snapshot, pod, views));
    problems
}

/// Pods of the same node that depend on this one.
fn needed<'a>(
    snapshot: &'a ClusterSnapshot,
    pod: &'a Pod,
    views: &ExplainViews<'a>,
) -> Vec<Problem> {
    let leaving = views.leaving(pods::node_of(pod).unwrap_or_default());
    let problems = order::dependencies_on(snapshot, pod, &leaving)
        .into_iter()
        .map(|needed| {
            let users = listed(needed.users.iter().map(|user| pods::name(user)), 5);
            let text = format!("it {} (used on this node by {users})", needed.what);
            match needed.is_broken(&Tiers::default()) {
                true => Problem::blocking(
                    "wrong-order",
                    format!("{text}: it must be evicted after them, but a drain evicts all of them together"),
                ),
                false => Problem::new(
                    "wrong-order",
                    format!(
                        "{text}: exeunt drain evicts it after them, kubectl drain evicts all of them together"
                    ),
                ),
            }
        });
    problems.collect()
}

fn finalizers(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Problem> {
    let names = NounPhrase::new("finalizer", snapshot.finalizers_holding(pod), 5);
    let text = || {
        format!(
            "after its eviction it stays until the {} of {names} {}",
            names.agree("owner", "owners"),
            names.agree("removes the finalizer", "remove them")
        )
    };
    (!names.is_empty()).then(|| Problem::blocking("finalizer", text()))
}

fn grace(spec: &PodSpec) -> Option<Problem> {
    let seconds = spec
        .termination_grace_period_seconds
        .filter(|seconds| *seconds > LONG_GRACE_SECONDS)?;
    let long = span(jiff::SignedDuration::from_secs(seconds));
    Some(Problem::new(
        "long-grace",
        format!("its termination may take {long}: terminationGracePeriodSeconds is {seconds}"),
    ))
}

/// How a drain treats this kind of pod, and what is lost with it.
fn kind_of_pod(pod: &Pod, spec: &PodSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let owner = pods::controller_of(pod);
    let mirror = pods::is_mirror(pod);
    let kind = match owner.map(|owner| owner.kind.as_str()) {
        _ if mirror => Some((
            "mirror-pod",
            "it is the mirror pod of a static pod: a drain skips it, and an eviction has no effect on its containers",
        )),
        Some("DaemonSet") => Some((
            "daemon-pod",
            "its DaemonSet recreates it on the same node at once: a drain skips it (--ignore-daemonsets)",
        )),
        Some("StatefulSet") => Some((
            "same-name",
            "its replacement has the same name: to wait for its deletion, compare uids (exeunt drain does)",
        )),
        None => Some((
            "bare-pod",
            "it has no controller, so nothing replaces it after an eviction (a drain requires --force)",
        )),
        Some(_) => None,
    };
    problems.extend(kind.map(|(id, text)| Problem::new(id, text)));
    let empty = pods::volumes(pod)
        .filter(|volume| volume.empty_dir.is_some())
        .map(|volume| volume.name.as_str());
    let empty = NounPhrase::new("emptyDir", empty, 5);
    if !empty.is_empty() && !mirror {
        let text = format!(
            "the contents of its {empty} are lost (a drain requires --delete-emptydir-data)"
        );
        problems.push(Problem::new("empty-dir", text));
    }
    if pods::stays_on_node(pod) {
        return problems;
    }
    if is_critical(pod) {
        let text = "it is system-critical: exeunt drain evicts it after all other pods of its node, kubectl drain evicts all of them together";
        problems.push(Problem::new("critical-pod", text));
    }
    if rules::nodes::tolerates(spec.tolerations.as_ref(), &rules::fit::cordon_taint()) {
        problems.push(Problem::new(
            "tolerates-cordon",
            "it tolerates the taint of cordoned nodes, so its replacement may be scheduled to the drained node again",
        ));
    }
    problems
}

fn local_volumes<'a>(pod: &'a Pod, views: &ExplainViews<'a>) -> Option<Problem> {
    let is_local = |volume: &PersistentVolume| {
        volume
            .spec
            .as_ref()
            .is_some_and(|spec| spec.local.is_some() || spec.host_path.is_some())
    };
    let claims = views
        .volumes_of(pod)
        .into_iter()
        .filter(|(_, volume)| is_local(volume))
        .map(|(claim, _)| claim);
    let claims = NounPhrase::new("claim", claims, 5);
    let text = || {
        format!(
            "its {claims} {} on this node: its replacement waits until the node is back",
            claims.agree("is bound to a volume", "are bound to volumes")
        )
    };
    (!claims.is_empty()).then(|| Problem::new("local-volume", text()))
}

/// Requests that reach the pod after its containers got the stop signal.
fn traffic(snapshot: &ClusterSnapshot, pod: &Pod, spec: &PodSpec) -> Option<Problem> {
    if spec.host_network == Some(true) || pods::has_pre_stop(spec) {
        return None;
    }
    let services = snapshot.services_selecting(pods::namespace(pod), pod.metadata.labels.as_ref());
    let services = NounPhrase::new("Service", services, 3);
    let text = || {
        format!(
            "{services} {} it requests and it has no preStop hook: some requests reach it after it has stopped",
            services.agree("sends", "send")
        )
    };
    (!services.is_empty()).then(|| Problem::new("no-pre-stop", text()))
}

/// Returns the annotation, with its value, that excludes the pod from automation.
pub(super) fn keep_annotation(pod: &Pod) -> Option<(&'static str, &'static str)> {
    let annotations = pod.metadata.annotations.as_ref()?;
    KEEP_ANNOTATIONS
        .iter()
        .copied()
        .find(|(name, value)| annotations.get(*name).is_some_and(|found| found == value))
}

fn kept(pod: &Pod) -> Option<Problem> {
    let (name, value) = keep_annotation(pod)?;
    Some(Problem::new(
        "keep-annotation",
        format!(
            "its annotation {name}={value} excludes it from automation (the eviction API ignores the annotation)"
        ),
    ))
}
