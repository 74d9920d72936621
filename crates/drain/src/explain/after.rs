//! What follows when an eviction is granted: what would keep the pod from going, what is lost with
//! it, and whether it comes back.

use k8s_openapi::api::core::v1::{PersistentVolume, Pod, PodSpec, Service};
use rules::selector::Selector;

use super::Problem;
use crate::cluster::Snapshot;
use crate::health;
use crate::tier::{Tiers, is_critical};
use crate::words::{listed, span};

/// A grace beyond this makes every drain long.
pub(crate) const LONG_GRACE_SECONDS: i64 = 300;
/// What people write on a pod that automation must not move.
const KEEP: &[(&str, &str)] = &[
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ("karpenter.sh/do-not-disrupt", "true"),
    ("descheduler.alpha.kubernetes.io/prefer-no-eviction", "true"),
];

pub(super) fn problems(snapshot: &Snapshot, pod: &Pod) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(super::leaving::node(snapshot, pod));
    problems.extend(super::webhooks::problems(snapshot, health::namespace(pod)));
    problems.extend(finalizers(pod));
    let nothing = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&nothing);
    problems.extend(grace(spec));
    problems.extend(class(pod, spec));
    problems.extend(local_volumes(snapshot, pod));
    problems.extend(traffic(snapshot, pod, spec));
    problems.extend(kept(pod));
    problems.extend(super::spread::problem(snapshot, pod));
    problems.extend(needed(snapshot, pod));
    problems
}

/// Others of its node that cannot do without it.
fn needed(snapshot: &Snapshot, pod: &Pod) -> Vec<Problem> {
    let leaving = super::node::leaving(snapshot, health::node_of(pod).unwrap_or_default());
    let told = crate::order::needs_of(snapshot, pod, &leaving)
        .into_iter()
        .map(|need| {
            let users = listed(need.users.iter().map(|user| health::name(user)), 5);
            let text = format!("it {} (here: {users})", need.what);
            match need.is_broken(&Tiers::default()) {
                true => Problem::blocking(
                    "wrong-order",
                    format!("{text}: it has to go after them, and a drain takes it with them"),
                ),
                false => Problem::new(
                    "wrong-order",
                    format!(
                        "{text}: exeunt drain takes it after them, kubectl drain takes all at once"
                    ),
                ),
            }
        });
    told.collect()
}

fn finalizers(pod: &Pod) -> Option<Problem> {
    let names: Vec<&str> = pod
        .metadata
        .finalizers
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let text = || {
        format!(
            "once evicted it stays until finalizer {} is removed by its owner",
            listed(names.iter().copied(), 5)
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
        format!("it may take {long} to go: terminationGracePeriodSeconds is {seconds}"),
    ))
}

/// What a drain makes of the sort of pod that it is.
fn class(pod: &Pod, spec: &PodSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let owner = health::controller_of(pod);
    let mirror = pod
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|notes| notes.contains_key("kubernetes.io/config.mirror"));
    match owner.map(|owner| owner.kind.as_str()) {
        _ if mirror => problems.push(Problem::new(
            "mirror-pod",
            "it is a mirror pod of its node's own manifests: drains leave it, and evicting it changes nothing",
        )),
        Some("DaemonSet") => {
            problems.push(Problem::new(
                "daemon-pod",
                "a DaemonSet puts it back on the same node at once: drains leave it (--ignore-daemonsets)",
            ));
        }
        Some("StatefulSet") => problems.push(Problem::new(
            "same-name",
            "its successor will have the same name: who waits for it to go must compare uids (exeunt drain does)",
        )),
        None => {
            problems.push(Problem::new("bare-pod", "no controller replaces it: once evicted it does not come back (drains want --force)"))
        }
        Some(_) => {}
    }
    let empty: Vec<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volume.empty_dir.is_some())
        .map(|volume| volume.name.as_str())
        .collect();
    if !empty.is_empty() && !mirror {
        let text = format!(
            "its emptyDir {} is lost with it (drains want --delete-emptydir-data)",
            listed(empty, 5)
        );
        problems.push(Problem::new("empty-dir", text));
    }
    let daemon = owner.is_some_and(|owner| owner.kind == "DaemonSet");
    if !daemon && !mirror && is_critical(pod) {
        let text = "the system needs it: exeunt drain takes it after all others of its node, kubectl drain takes all at once";
        problems.push(Problem::new("critical-pod", text));
    }
    if !daemon
        && !mirror
        && rules::nodes::tolerates(spec.tolerations.as_ref(), &rules::fit::cordon_taint())
    {
        problems.push(Problem::new(
            "tolerates-cordon",
            "it tolerates the taint of a cordon, so its successor may come straight back to a drained node",
        ));
    }
    problems
}

/// The volumes behind the pod's claims, with the names of the claims.
pub(crate) fn volumes<'a>(
    snapshot: &'a Snapshot,
    pod: &'a Pod,
) -> Vec<(&'a str, &'a PersistentVolume)> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .map(|source| source.claim_name.as_str());
    let bound = claims.filter_map(|name| {
        let claim = snapshot.claims.iter().find(|claim| {
            claim.metadata.name.as_deref() == Some(name)
                && claim.metadata.namespace.as_deref() == Some(health::namespace(pod))
        })?;
        let volume = claim.spec.as_ref()?.volume_name.as_deref()?;
        Some((
            name,
            snapshot
                .volumes
                .iter()
                .find(|found| found.metadata.name.as_deref() == Some(volume))?,
        ))
    });
    bound.collect()
}

fn local_volumes(snapshot: &Snapshot, pod: &Pod) -> Option<Problem> {
    let tied = |volume: &PersistentVolume| {
        volume
            .spec
            .as_ref()
            .is_some_and(|spec| spec.local.is_some() || spec.host_path.is_some())
    };
    let claims: Vec<&str> = volumes(snapshot, pod)
        .into_iter()
        .filter(|(_, volume)| tied(volume))
        .map(|(claim, _)| claim)
        .collect();
    let text = |claims| {
        format!(
            "claim {} is on a volume of this very node: its successor waits until the node is back",
            listed(claims, 5)
        )
    };
    (!claims.is_empty()).then(|| Problem::new("local-volume", text(claims)))
}

/// Requests that reach the pod after it was told to stop.
fn traffic(snapshot: &Snapshot, pod: &Pod, spec: &PodSpec) -> Option<Problem> {
    if spec.host_network == Some(true) || prepares_to_stop(spec) {
        return None;
    }
    let services: Vec<&str> = serving(
        &snapshot.services,
        health::namespace(pod),
        pod.metadata.labels.as_ref(),
    )
    .collect();
    let text = |services| {
        format!(
            "service {} sends it requests and it has no preStop hook: some will meet a pod that has stopped",
            listed(services, 3)
        )
    };
    (!services.is_empty()).then(|| Problem::new("no-pre-stop", text(services)))
}

/// Whether some container waits or does anything before it is told to stop.
pub(crate) fn prepares_to_stop(spec: &PodSpec) -> bool {
    spec.containers.iter().any(|container| {
        container
            .lifecycle
            .as_ref()
            .is_some_and(|lifecycle| lifecycle.pre_stop.is_some())
    })
}

/// Names of the services that send requests to pods with these labels.
pub(crate) fn serving<'a>(
    services: &'a [Service],
    namespace: &'a str,
    labels: Option<&'a std::collections::BTreeMap<String, String>>,
) -> impl Iterator<Item = &'a str> {
    let here = services.iter().filter(move |service| {
        service.metadata.namespace.as_deref().unwrap_or("default") == namespace
    });
    let selecting = here.filter(move |service| {
        let selector = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref())
            .filter(|selector| !selector.is_empty());
        selector.is_some_and(|selector| Selector::exactly(Some(selector)).matches(labels))
    });
    selecting.filter_map(|service| service.metadata.name.as_deref())
}

/// The annotation, with its value, by which automation is told to leave the pod.
pub(super) fn keep_annotation(pod: &Pod) -> Option<(&'static str, &'static str)> {
    let notes = pod.metadata.annotations.as_ref()?;
    KEEP.iter()
        .copied()
        .find(|(name, value)| notes.get(*name).is_some_and(|found| found == value))
}

fn kept(pod: &Pod) -> Option<Problem> {
    let (name, value) = keep_annotation(pod)?;
    Some(Problem::new(
        "keep-annotation",
        format!(
            "its annotation {name}={value} tells automation to leave it (the eviction API does not look at it)"
        ),
    ))
}
