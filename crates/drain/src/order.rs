//! Dependencies between pods of one node. A pod that serves volumes to others, or that answers the
//! webhook that the server calls for evictions, must be evicted after the pods that use it:
//! otherwise their volumes do not detach, or no further eviction succeeds.
//!
//! Pure. [`dependencies`] reads them from a snapshot, [`Dependency::is_broken`] checks them against
//! the tiers of a drain, and [`last`] returns the `--last` selectors that satisfy them.

mod driver;

use k8s_openapi::api::core::v1::Pod;

use crate::cluster::{ClusterSnapshot, serves};
use crate::pods::{self, is_same};
use crate::tier::{Tiers, is_critical};
use crate::webhooks::{self, EvictionWebhook};

/// Labels that controllers generate per pod or per revision. They do not identify a workload.
const GENERATED_LABELS: &[&str] = &[
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
];
/// Labels by which people identify workloads, in order of preference.
const IDENTIFYING_LABELS: &[&str] = &[
    "app.kubernetes.io/name",
    "app",
    "k8s-app",
    "name",
    "app.kubernetes.io/component",
];

/// A pod that other pods of its node depend on.
#[derive(Clone, Debug)]
pub struct Dependency<'a> {
    /// The pod that must be evicted last.
    pub provider: &'a Pod,
    /// The pods that must be evicted before it.
    pub users: Vec<&'a Pod>,
    /// What the provider does for them, as the end of "it …".
    pub what: String,
}

impl Dependency<'_> {
    /// Returns true when a drain with these tiers may evict the provider before one of its users.
    #[must_use]
    pub fn is_broken(&self, tiers: &Tiers) -> bool {
        self.users
            .iter()
            .any(|user| tiers.of(user) >= tiers.of(self.provider))
    }
}

/// Returns the dependencies between pods that leave a node together.
#[must_use]
pub fn dependencies<'a>(snapshot: &'a ClusterSnapshot, leaving: &[&'a Pod]) -> Vec<Dependency<'a>> {
    leaving
        .iter()
        .flat_map(|pod| dependencies_on(snapshot, pod, leaving))
        .collect()
}

/// Returns the dependencies of the other leaving pods on this one.
pub(crate) fn dependencies_on<'a>(
    snapshot: &'a ClusterSnapshot,
    provider: &'a Pod,
    leaving: &[&'a Pod],
) -> Vec<Dependency<'a>> {
    let on_drivers = driver::served_by(snapshot, provider)
        .into_iter()
        .filter(|served| served.serves_own_node_only || is_alone(snapshot, provider, leaving))
        .map(|served| {
            let uses = |pod: &&&Pod| {
                !is_same(pod, provider) && driver::uses(snapshot, pod, &served.driver)
            };
            Dependency {
                provider,
                users: leaving.iter().filter(uses).copied().collect(),
                what: served.what(),
            }
        });
    let on_webhooks = webhooks::of_evictions(snapshot)
        .filter(|hook| hook.fails_closed)
        .filter_map(|hook| on_webhook(snapshot, &hook, provider, leaving));
    on_drivers
        .chain(on_webhooks)
        .filter(|dependency| !dependency.users.is_empty())
        .collect()
}

/// A webhook that is called for evictions and that no other pod answers.
fn on_webhook<'a>(
    snapshot: &'a ClusterSnapshot,
    hook: &EvictionWebhook<'a>,
    provider: &'a Pod,
    leaving: &[&'a Pod],
) -> Option<Dependency<'a>> {
    let service = hook.service(snapshot)?;
    if !serves(service, provider)
        || snapshot
            .pods
            .iter()
            .any(|other| serves(service, other) && stays_ready(other, leaving))
    {
        return None;
    }
    let needs_webhook =
        |pod: &&&Pod| !serves(service, pod) && hook.is_called_in(snapshot, pods::namespace(pod));
    let what = format!(
        "answers webhook {}, without which every eviction fails",
        hook.name
    );
    Some(Dependency {
        provider,
        users: leaving.iter().filter(needs_webhook).copied().collect(),
        what,
    })
}

/// Returns true when no other pod of the provider's controller remains ready.
fn is_alone(snapshot: &ClusterSnapshot, provider: &Pod, leaving: &[&Pod]) -> bool {
    !snapshot
        .pods
        .iter()
        .any(|other| is_sibling(other, provider) && stays_ready(other, leaving))
}

fn stays_ready(pod: &Pod, leaving: &[&Pod]) -> bool {
    pods::is_ready(pod)
        && !pods::is_terminating(pod)
        && !leaving.iter().any(|gone| is_same(gone, pod))
}

fn is_sibling(one: &Pod, other: &Pod) -> bool {
    let owner = |pod: &Pod| pods::controller_of(pod).map(|owner| owner.uid.clone());
    owner(one).is_some()
        && owner(one) == owner(other)
        && pods::namespace(one) == pods::namespace(other)
}

/// Returns the selectors for `--last`, in order, that satisfy the broken dependencies. Pods that no
/// label distinguishes from other leaving pods are left out.
#[must_use]
pub fn last(dependencies: &[Dependency<'_>], leaving: &[&Pod], tiers: &Tiers) -> Vec<String> {
    let broken: Vec<&Dependency<'_>> = dependencies
        .iter()
        .filter(|dependency| dependency.is_broken(tiers))
        .collect();
    // System-critical pods come after everything that --last selects, so a critical user has to be
    // selected as well.
    let critical = broken
        .iter()
        .flat_map(|dependency| dependency.users.iter().copied())
        .filter(|user| is_critical(user));
    let providers = broken.iter().map(|dependency| dependency.provider);
    let mut open: Vec<&Pod> = Vec::new();
    for pod in critical.chain(providers) {
        if !open.iter().any(|known| is_same(known, pod)) {
            open.push(pod);
        }
    }
    let mut selectors = Vec::new();
    while !open.is_empty() {
        let is_used = |pod: &Pod| {
            broken
                .iter()
                .filter(|dependency| is_same(dependency.provider, pod))
                .flat_map(|dependency| &dependency.users)
                .any(|user| open.iter().any(|other| is_same(other, user)))
        };
        // Pods that depend on each other keep the order of the list.
        let next = open
            .iter()
            .position(|pod| !is_used(pod))
            .unwrap_or_default();
        let pod = open.remove(next);
        selectors.extend(selector(pod, leaving).filter(|selector| !selectors.contains(selector)));
    }
    selectors
}

/// Returns the shortest selector that matches the pod, and no other leaving pod but its siblings.
fn selector(pod: &Pod, leaving: &[&Pod]) -> Option<String> {
    let labels = pod.metadata.labels.as_ref()?;
    let is_kept = |key: &&String| !GENERATED_LABELS.contains(&key.as_str());
    let mut keys: Vec<&String> = labels.keys().filter(is_kept).collect();
    keys.sort_by_key(|key| {
        IDENTIFYING_LABELS
            .iter()
            .position(|known| known == key)
            .unwrap_or(IDENTIFYING_LABELS.len())
    });
    let whole = keys.clone();
    let choices = keys
        .into_iter()
        .map(|key| vec![key])
        .chain(std::iter::once(whole));
    let is_unique = |keys: &Vec<&String>| {
        let matches = |other: &Pod| {
            keys.iter().all(|key| {
                other.metadata.labels.as_ref().and_then(|of| of.get(*key)) == labels.get(*key)
            })
        };
        !keys.is_empty()
            && !leaving
                .iter()
                .any(|other| !is_same(other, pod) && !is_sibling(other, pod) && matches(other))
    };
    let chosen = choices.into_iter().find(is_unique)?;
    let parts: Vec<String> = chosen
        .iter()
        .map(|key| format!("{key}={}", labels[*key]))
        .collect();
    Some(parts.join(","))
}

#[cfg(test)]
mod tests {
    use kinds::selector::LabelSelector;
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, labels: Value, class: &str) -> Pod {
        let tree = json!({"metadata": {"name": name, "labels": labels},
            "spec": {"containers": [], "priorityClassName": class}});
        serde_json::from_value(tree).expect("a pod")
    }

    fn dependency<'a>(provider: &'a Pod, users: &[&'a Pod]) -> Dependency<'a> {
        Dependency {
            provider,
            users: users.to_vec(),
            what: "serves".to_owned(),
        }
    }

    /// Checks the selectors, and that they satisfy all dependencies.
    fn check(dependencies: &[Dependency<'_>], leaving: &[&Pod], expected: &[&str]) {
        let selectors = last(dependencies, leaving, &Tiers::default());
        assert_eq!(selectors, expected);
        let parse = |text: &String| LabelSelector::parse(text).expect("a selector");
        let tiers = Tiers {
            first: Vec::new(),
            last: selectors.iter().map(parse).collect(),
        };
        assert!(
            dependencies
                .iter()
                .all(|dependency| !dependency.is_broken(&tiers)),
            "{selectors:?}"
        );
    }

    #[test]
    fn providers_are_evicted_after_the_pods_that_use_them() {
        let (web, db) = (
            pod("web", json!({"app": "web", "tier": "disk"}), ""),
            pod("db", json!({"app": "db"}), ""),
        );
        let store = pod(
            "store",
            json!({"app": "store", "tier": "head", "pod-template-hash": "x"}),
            "",
        );
        let disk = pod("disk", json!({"app": "store", "tier": "disk"}), "");
        let dependencies = [dependency(&disk, &[&store]), dependency(&store, &[&db])];
        check(
            &dependencies,
            &[&web, &db, &store, &disk],
            &["tier=head", "app=store,tier=disk"],
        );
    }

    #[test]
    fn a_critical_user_is_named_before_an_ordinary_provider_and_a_critical_provider_needs_nothing()
    {
        let dns = pod("dns", json!({"k8s-app": "dns"}), "system-cluster-critical");
        let csi = pod("csi", json!({"app": "csi"}), "");
        check(
            &[dependency(&csi, &[&dns])],
            &[&dns, &csi],
            &["k8s-app=dns", "app=csi"],
        );
        let web = pod("web", json!({"app": "web"}), "");
        check(&[dependency(&dns, &[&web])], &[&dns, &web], &[]);
    }
}
