//! Decides which pods of a node are evicted, which are skipped, and which block the drain: the
//! filters of kubectl, in its order and with its messages.
//!
//! Pure. The caller looks up whether a pod's DaemonSet exists.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

/// The flags of a drain that decide about pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterOptions {
    /// Evict pods that no controller replaces.
    pub force: bool,
    /// Skip DaemonSet pods. Without it they block the drain.
    pub ignore_daemonsets: bool,
    /// Evict pods with emptyDir volumes, whose contents are lost.
    pub delete_emptydir_data: bool,
    /// Skip pods whose deletion deadline passed more than this many seconds ago; 0 is off.
    pub skip_after_seconds: u32,
}

/// The result of looking up the DaemonSet that controls a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonSetLookup {
    /// No DaemonSet controls the pod.
    NotManaged,
    /// The DaemonSet exists.
    Found,
    /// The DaemonSet does not exist, with the server's message.
    NotFound(String),
    /// The lookup failed, with the error message.
    Failed(String),
}

/// The decision about one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainDecision {
    /// The pod is evicted, with a warning when something is lost.
    Evict(Option<&'static str>),
    /// The pod stays, with a warning when the user should know.
    Skip(Option<&'static str>),
    /// The pod prevents the drain of its node: the reason, as the end of "cannot delete …".
    Block(String),
}

const LOCAL: &str = "deleting Pods with local storage";
const BARE: &str = "deleting Pods that declare no controller";

/// Returns the name of the DaemonSet that controls the pod.
#[must_use]
pub fn daemon_set(pod: &Pod) -> Option<&str> {
    pods::controller_of(pod)
        .filter(|owner| owner.kind == "DaemonSet" && owner.api_version == "apps/v1")
        .map(|owner| owner.name.as_str())
}

/// Decides about one pod.
#[must_use]
pub fn decide(
    pod: &Pod,
    daemon: &DaemonSetLookup,
    options: FilterOptions,
    now: Timestamp,
) -> DrainDecision {
    if is_long_overdue(pod, options.skip_after_seconds, now) {
        return DrainDecision::Skip(None);
    }
    let finished = pods::is_finished(pod);
    match daemon {
        _ if finished => {}
        DaemonSetLookup::NotManaged => {}
        DaemonSetLookup::NotFound(_) if options.force => {}
        DaemonSetLookup::NotFound(why) | DaemonSetLookup::Failed(why) => {
            return DrainDecision::Block(why.clone());
        }
        DaemonSetLookup::Found if options.ignore_daemonsets => {
            return DrainDecision::Skip(Some("ignoring DaemonSet-managed Pods"));
        }
        DaemonSetLookup::Found => {
            return DrainDecision::Block(
                "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)".to_owned(),
            );
        }
    }
    if pods::is_mirror(pod) {
        return DrainDecision::Skip(None);
    }
    if finished {
        return DrainDecision::Evict(None);
    }
    let local = has_local_storage(pod);
    if local && !options.delete_emptydir_data {
        return DrainDecision::Block(
            "Pods with local storage (use --delete-emptydir-data to override)".to_owned(),
        );
    }
    if pods::controller_of(pod).is_some() {
        return DrainDecision::Evict(local.then_some(LOCAL));
    }
    if options.force {
        DrainDecision::Evict(Some(BARE))
    } else {
        DrainDecision::Block("Pods that declare no controller (use --force to override)".to_owned())
    }
}

/// Returns true when the pod's deletion deadline passed more than `after_seconds` ago. Always false
/// for 0.
#[must_use]
pub fn is_long_overdue(pod: &Pod, after_seconds: u32, now: Timestamp) -> bool {
    let due = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    after_seconds > 0
        && due.is_some_and(|due| now.duration_since(due).as_secs() > i64::from(after_seconds))
}

/// Returns true when the pod has an emptyDir volume.
#[must_use]
pub fn has_local_storage(pod: &Pod) -> bool {
    pods::volumes(pod).any(|volume| volume.empty_dir.is_some())
}

/// The pods of a node, grouped by the decision about them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilteredPods {
    /// The pods to evict.
    pub evict: Vec<Pod>,
    /// Keys (`NAMESPACE/NAME`) of pods by warning.
    pub warnings: BTreeMap<String, Vec<String>>,
    /// Keys of pods by the reason for which they block the drain.
    pub blocking: BTreeMap<String, Vec<String>>,
    /// Keys of pods that are skipped without a warning.
    pub skipped: Vec<String>,
}

impl FilteredPods {
    /// Adds a pod to the group of its decision.
    pub fn add(&mut self, pod: Pod, decision: DrainDecision) {
        let name = pods::key(&pod);
        match decision {
            DrainDecision::Evict(warning) => {
                if let Some(warning) = warning {
                    self.warnings
                        .entry(warning.to_owned())
                        .or_default()
                        .push(name);
                }
                self.evict.push(pod);
            }
            DrainDecision::Skip(Some(warning)) => self
                .warnings
                .entry(warning.to_owned())
                .or_default()
                .push(name),
            DrainDecision::Skip(None) => self.skipped.push(name),
            DrainDecision::Block(why) => self.blocking.entry(why).or_default().push(name),
        }
    }

    /// Returns the warnings on one line, as kubectl prints them.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let parts: Vec<String> = self
            .warnings
            .iter()
            .map(|(why, pods)| format!("{why}: {}", pods.join(", ")))
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Returns why the node cannot be drained, a line for each reason, in kubectl's words.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.blocking
            .iter()
            .map(|(why, pods)| format!("cannot delete {why}: {}", pods.join(", ")))
            .collect()
    }

    /// Returns what the evictions would destroy, a line for each kind of loss.
    #[must_use]
    pub fn losses(&self) -> Vec<String> {
        let line = |(why, text): (&str, &str)| {
            let pods = self.warnings.get(why)?;
            Some(format!("{text}: {}", pods.join(", ")))
        };
        [
            (
                LOCAL,
                "these pods have emptyDir volumes, whose contents are lost",
            ),
            (BARE, "these pods have no controller that replaces them"),
        ]
        .into_iter()
        .filter_map(line)
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOTHING: FilterOptions = FilterOptions {
        force: false,
        ignore_daemonsets: false,
        delete_emptydir_data: false,
        skip_after_seconds: 0,
    };
    const ALL: FilterOptions = FilterOptions {
        force: true,
        ignore_daemonsets: true,
        delete_emptydir_data: true,
        skip_after_seconds: 60,
    };

    fn pod(owner: Option<&str>, extra: serde_json::Value) -> Pod {
        let owners: Vec<_> = owner
            .iter()
            .map(|kind| {
                json!({"apiVersion": "apps/v1", "kind": kind, "name": "x",
                "uid": "u", "controller": true})
            })
            .collect();
        let mut tree = json!({"metadata": {"name": "p", "namespace": "d",
            "ownerReferences": owners}, "spec": {"containers": []}, "status": {}});
        for (part, members) in extra.as_object().expect("an object") {
            tree[part]
                .as_object_mut()
                .expect("an object")
                .extend(members.as_object().expect("an object").clone());
        }
        serde_json::from_value(tree).expect("a pod")
    }

    #[test]
    fn pods_are_filtered_as_by_kubectl() {
        let now: Timestamp = "2026-01-01T00:02:00Z".parse().expect("a time");
        let empty_dir = json!({"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}});
        let done = json!({"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]},
            "status": {"phase": "Succeeded"}});
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        let late = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let blocks = |text: &str| DrainDecision::Block(text.to_owned());
        let bare = "Pods that declare no controller (use --force to override)";
        let local = "Pods with local storage (use --delete-emptydir-data to override)";
        let daemons = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
        let gone = DaemonSetLookup::NotFound("daemonsets.apps \"x\" not found".to_owned());
        for (number, (pod, daemon, allowed, expected)) in [
            (
                pod(Some("ReplicaSet"), json!({})),
                DaemonSetLookup::NotManaged,
                NOTHING,
                DrainDecision::Evict(None),
            ),
            (
                pod(None, json!({})),
                DaemonSetLookup::NotManaged,
                NOTHING,
                blocks(bare),
            ),
            (
                pod(None, json!({})),
                DaemonSetLookup::NotManaged,
                ALL,
                DrainDecision::Evict(Some(BARE)),
            ),
            (
                pod(None, done.clone()),
                DaemonSetLookup::NotManaged,
                NOTHING,
                DrainDecision::Evict(None),
            ),
            (
                pod(Some("ReplicaSet"), empty_dir.clone()),
                DaemonSetLookup::NotManaged,
                NOTHING,
                blocks(local),
            ),
            (
                pod(Some("ReplicaSet"), empty_dir),
                DaemonSetLookup::NotManaged,
                ALL,
                DrainDecision::Evict(Some(LOCAL)),
            ),
            (
                pod(Some("DaemonSet"), json!({})),
                DaemonSetLookup::Found,
                NOTHING,
                blocks(daemons),
            ),
            (
                pod(Some("DaemonSet"), json!({})),
                DaemonSetLookup::Found,
                ALL,
                DrainDecision::Skip(Some("ignoring DaemonSet-managed Pods")),
            ),
            (
                pod(Some("DaemonSet"), done),
                DaemonSetLookup::Found,
                NOTHING,
                DrainDecision::Evict(None),
            ),
            (
                pod(Some("DaemonSet"), json!({})),
                gone.clone(),
                NOTHING,
                blocks("daemonsets.apps \"x\" not found"),
            ),
            (
                pod(Some("DaemonSet"), json!({})),
                gone,
                ALL,
                DrainDecision::Evict(None),
            ),
            (
                pod(None, mirror),
                DaemonSetLookup::NotManaged,
                NOTHING,
                DrainDecision::Skip(None),
            ),
            (
                pod(None, late.clone()),
                DaemonSetLookup::NotManaged,
                ALL,
                DrainDecision::Skip(None),
            ),
            (
                pod(Some("ReplicaSet"), late),
                DaemonSetLookup::NotManaged,
                FilterOptions {
                    skip_after_seconds: 120,
                    ..ALL
                },
                DrainDecision::Evict(None),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(
                decide(&pod, &daemon, allowed, now),
                expected,
                "case {number}"
            );
        }
    }

    #[test]
    fn errors_and_warnings_are_grouped_by_reason() {
        let mut sorted = FilteredPods::default();
        for _ in 0..2 {
            sorted.add(
                pod(None, json!({})),
                DrainDecision::Block("Pods of some sort".to_owned()),
            );
            sorted.add(pod(None, json!({})), DrainDecision::Evict(Some(BARE)));
        }
        assert_eq!(
            sorted.errors(),
            ["cannot delete Pods of some sort: d/p, d/p"]
        );
        assert_eq!(
            sorted.warning().as_deref(),
            Some("deleting Pods that declare no controller: d/p, d/p")
        );
        assert_eq!(
            sorted.losses(),
            ["these pods have no controller that replaces them: d/p, d/p"]
        );
    }
}
