//! Who on a node lives on whom: what serves volumes to others, or answers the server's questions
//! about evictions, has to go after those whom it serves. Otherwise their volumes do not leave the
//! node, or nothing may be evicted any more.
//!
//! Pure. [`needs`] reads that out of a snapshot, [`Need::is_broken`] says whether a drain with
//! these tiers would break it, and [`last`] gives the selectors for `--last` that would not.

mod driver;

use k8s_openapi::api::core::v1::{Pod, Service};
use rules::selector::Selector;

use crate::cluster::Snapshot;
use crate::explain::{Hook, webhooks_of_evictions};
use crate::health;
use crate::tier::{Tiers, is_critical};

/// Labels that a controller gives to a single pod or a single version: no way to name a workload.
const GENERATED: &[&str] = &[
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
];
/// Labels that people name workloads by, the best first.
const TELLING: &[&str] = &[
    "app.kubernetes.io/name",
    "app",
    "k8s-app",
    "name",
    "app.kubernetes.io/component",
];

/// A pod that others of its node cannot do without.
#[derive(Clone, Debug)]
pub struct Need<'a> {
    /// The pod that has to stay longest.
    pub provider: &'a Pod,
    /// Those that have to go before it.
    pub users: Vec<&'a Pod>,
    /// What it does for them, as the end of "it …".
    pub what: String,
}

impl Need<'_> {
    /// Whether a drain with these tiers may take the provider before one of its users.
    #[must_use]
    pub fn is_broken(&self, tiers: &Tiers) -> bool {
        self.users
            .iter()
            .any(|user| tiers.of(user) >= tiers.of(self.provider))
    }
}

/// What pods that leave a node together need of each other.
#[must_use]
pub fn needs<'a>(snapshot: &'a Snapshot, leaving: &[&'a Pod]) -> Vec<Need<'a>> {
    leaving
        .iter()
        .flat_map(|pod| needs_of(snapshot, pod, leaving))
        .collect()
}

/// What the others need of this one.
pub(crate) fn needs_of<'a>(
    snapshot: &'a Snapshot,
    provider: &'a Pod,
    leaving: &[&'a Pod],
) -> Vec<Need<'a>> {
    let of_drivers = driver::served_by(snapshot, provider);
    let of_drivers = of_drivers
        .into_iter()
        .filter(|served| served.here_only || is_alone(snapshot, provider, leaving))
        .map(|served| {
            let uses = |pod: &&&Pod| {
                !is_same(pod, provider) && driver::uses(snapshot, pod, &served.driver)
            };
            Need {
                provider,
                users: leaving.iter().filter(uses).copied().collect(),
                what: served.what(),
            }
        });
    let hooks = webhooks_of_evictions(snapshot)
        .filter(|hook| hook.fails)
        .filter_map(|hook| of_hook(snapshot, &hook, provider, leaving));
    of_drivers
        .chain(hooks)
        .filter(|need| !need.users.is_empty())
        .collect()
}

/// A webhook that is asked about evictions and answered by nobody but this pod.
fn of_hook<'a>(
    snapshot: &'a Snapshot,
    hook: &Hook<'a>,
    provider: &'a Pod,
    leaving: &[&'a Pod],
) -> Option<Need<'a>> {
    let service = hook.service(snapshot)?;
    if !answers(service, provider)
        || snapshot
            .pods
            .iter()
            .any(|other| answers(service, other) && stays_ready(other, leaving))
    {
        return None;
    }
    let asks =
        |pod: &&&Pod| !answers(service, pod) && hook.is_asked_in(snapshot, health::namespace(pod));
    let what = format!(
        "answers webhook {}, without which nobody here can be evicted",
        hook.name
    );
    Some(Need {
        provider,
        users: leaving.iter().filter(asks).copied().collect(),
        what,
    })
}

fn answers(service: &Service, pod: &Pod) -> bool {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref())
        .filter(|selector| !selector.is_empty());
    service.metadata.namespace.as_deref() == Some(health::namespace(pod))
        && selector.is_some_and(|selector| {
            Selector::exactly(Some(selector)).matches(pod.metadata.labels.as_ref())
        })
}

/// Whether no other pod of its controller does the same elsewhere.
fn is_alone(snapshot: &Snapshot, provider: &Pod, leaving: &[&Pod]) -> bool {
    !snapshot
        .pods
        .iter()
        .any(|other| is_sibling(other, provider) && stays_ready(other, leaving))
}

fn stays_ready(pod: &Pod, leaving: &[&Pod]) -> bool {
    health::is_ready(pod)
        && !health::is_terminating(pod)
        && !leaving.iter().any(|gone| is_same(gone, pod))
}

fn is_same(one: &Pod, other: &Pod) -> bool {
    (health::namespace(one), health::name(one)) == (health::namespace(other), health::name(other))
}

fn is_sibling(one: &Pod, other: &Pod) -> bool {
    let owner = |pod: &Pod| health::controller_of(pod).map(|owner| owner.uid.clone());
    owner(one).is_some()
        && owner(one) == owner(other)
        && health::namespace(one) == health::namespace(other)
}

/// The selectors that put the broken ones right, in the order in which `--last` wants them. A pod
/// that no label tells from the others is left out.
#[must_use]
pub fn last(needs: &[Need<'_>], leaving: &[&Pod], tiers: &Tiers) -> Vec<String> {
    let broken: Vec<&Need<'_>> = needs.iter().filter(|need| need.is_broken(tiers)).collect();
    // A critical user would come after all that `--last` names, so it has to be named, too.
    let critical = broken
        .iter()
        .flat_map(|need| need.users.iter().copied())
        .filter(|user| is_critical(user));
    let mut open: Vec<&Pod> = Vec::new();
    for pod in critical.chain(broken.iter().map(|need| need.provider)) {
        if !open.iter().any(|known| is_same(known, pod)) {
            open.push(pod);
        }
    }
    let mut selectors = Vec::new();
    while !open.is_empty() {
        let needed = |pod: &Pod| {
            let serves = broken.iter().filter(|need| is_same(need.provider, pod));
            serves
                .flat_map(|need| &need.users)
                .any(|user| open.iter().any(|other| is_same(other, user)))
        };
        // Two that need each other go in the order of the list.
        let next = open.iter().position(|pod| !needed(pod)).unwrap_or_default();
        let pod = open.remove(next);
        selectors.extend(selector(pod, leaving).filter(|selector| !selectors.contains(selector)));
    }
    selectors
}

/// The shortest selector that means the pod and its siblings, and nobody else who leaves.
fn selector(pod: &Pod, leaving: &[&Pod]) -> Option<String> {
    let labels = pod.metadata.labels.as_ref()?;
    let kept = |key: &&String| !GENERATED.contains(&key.as_str());
    let mut keys: Vec<&String> = labels.keys().filter(kept).collect();
    keys.sort_by_key(|key| {
        TELLING
            .iter()
            .position(|known| known == key)
            .unwrap_or(TELLING.len())
    });
    let whole = keys.clone();
    let choices = keys
        .into_iter()
        .map(|key| vec![key])
        .chain(std::iter::once(whole));
    let means_only_it = |keys: &Vec<&String>| {
        let means = |other: &Pod| {
            keys.iter().all(|key| {
                other.metadata.labels.as_ref().and_then(|of| of.get(*key)) == labels.get(*key)
            })
        };
        !keys.is_empty()
            && !leaving
                .iter()
                .any(|other| !is_same(other, pod) && !is_sibling(other, pod) && means(other))
    };
    let chosen = choices.into_iter().find(means_only_it)?;
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
        let tree = json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [], "priorityClassName": class}});
        serde_json::from_value(tree).expect("a pod")
    }

    fn need<'a>(provider: &'a Pod, users: &[&'a Pod]) -> Need<'a> {
        Need {
            provider,
            users: users.to_vec(),
            what: "serves".to_owned(),
        }
    }

    /// With what is advised, nothing is broken any more.
    fn check(needs: &[Need<'_>], leaving: &[&Pod], expected: &[&str]) {
        let selectors = last(needs, leaving, &Tiers::default());
        assert_eq!(selectors, expected);
        let parse = |text: &String| LabelSelector::parse(text).expect("a selector");
        let tiers = Tiers {
            first: Vec::new(),
            last: selectors.iter().map(parse).collect(),
        };
        assert!(
            needs.iter().all(|need| !need.is_broken(&tiers)),
            "{selectors:?}"
        );
    }

    #[test]
    fn providers_go_last_and_those_who_need_providers_before_them() {
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
        let needs = [need(&disk, &[&store]), need(&store, &[&db])];
        check(
            &needs,
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
            &[need(&csi, &[&dns])],
            &[&dns, &csi],
            &["k8s-app=dns", "app=csi"],
        );
        let web = pod("web", json!({"app": "web"}), "");
        check(&[need(&dns, &[&web])], &[&dns, &web], &[]);
    }
}
