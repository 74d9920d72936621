//! Which pods of a node go, which stay, and which keep the node from being drained: kubectl's
//! filters in kubectl's order and words.
//!
//! Pure. Whether a pod's DaemonSet exists is found out before and handed in.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::health;

/// What the user allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Pods that no controller will make again.
    pub force: bool,
    /// DaemonSets' pods may stay.
    pub ignore_daemonsets: bool,
    /// Contents of emptyDir volumes may be lost.
    pub delete_emptydir_data: bool,
    /// Pods that should have been gone for more than so many seconds are left alone; 0 is off.
    pub skip_after_seconds: u32,
}

/// What is known of the DaemonSet that controls a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// No DaemonSet controls it.
    None,
    /// It exists.
    There,
    /// It does not; the server's words.
    Gone(String),
    /// The server would not say; its words.
    Unknown(String),
}

/// What happens to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes; with a warning if there is something to lose.
    Goes(Option<&'static str>),
    /// It stays; with a warning if that may surprise.
    Stays(Option<&'static str>),
    /// The node cannot be drained while this is so.
    Blocks(String),
}

const LOCAL: &str = "deleting Pods with local storage";
const BARE: &str = "deleting Pods that declare no controller";

/// Whether the pod's controller is a DaemonSet, by name.
#[must_use]
pub fn daemon_set(pod: &Pod) -> Option<&str> {
    health::controller_of(pod)
        .filter(|owner| owner.kind == "DaemonSet" && owner.api_version == "apps/v1")
        .map(|owner| owner.name.as_str())
}

/// Judges one pod.
#[must_use]
pub fn judge(pod: &Pod, daemon: &Daemon, allowed: Allowed, now: Timestamp) -> Verdict {
    if is_long_overdue(pod, allowed.skip_after_seconds, now) {
        return Verdict::Stays(None);
    }
    let finished = health::is_finished(pod);
    match daemon {
        _ if finished => {}
        Daemon::None => {}
        Daemon::Gone(_) if allowed.force => {}
        Daemon::Gone(why) | Daemon::Unknown(why) => return Verdict::Blocks(why.clone()),
        Daemon::There if allowed.ignore_daemonsets => {
            return Verdict::Stays(Some("ignoring DaemonSet-managed Pods"));
        }
        Daemon::There => {
            return Verdict::Blocks(
                "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)".to_owned(),
            );
        }
    }
    if pod
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"))
    {
        return Verdict::Stays(None);
    }
    if finished {
        return Verdict::Goes(None);
    }
    let local = has_local_storage(pod);
    if local && !allowed.delete_emptydir_data {
        return Verdict::Blocks(
            "Pods with local storage (use --delete-emptydir-data to override)".to_owned(),
        );
    }
    if health::controller_of(pod).is_some() {
        return Verdict::Goes(local.then_some(LOCAL));
    }
    if allowed.force {
        Verdict::Goes(Some(BARE))
    } else {
        Verdict::Blocks("Pods that declare no controller (use --force to override)".to_owned())
    }
}

/// Whether the pod should have been gone for more than so many seconds.
#[must_use]
pub fn is_long_overdue(pod: &Pod, after_seconds: u32, now: Timestamp) -> bool {
    let due = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    after_seconds > 0
        && due.is_some_and(|due| now.duration_since(due).as_secs() > i64::from(after_seconds))
}

/// Whether the pod writes to a volume that goes with it.
#[must_use]
pub fn has_local_storage(pod: &Pod) -> bool {
    pod.spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
        .any(|volume| volume.empty_dir.is_some())
}

/// The pods of a node, sorted by what happens to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sorted {
    /// They go.
    pub go: Vec<Pod>,
    /// Pods (`namespace/name`) by warning.
    pub warnings: BTreeMap<String, Vec<String>>,
    /// Pods by what keeps the node from being drained; empty when nothing does.
    pub blocks: BTreeMap<String, Vec<String>>,
    /// Pods that stay and about which nobody need be told, by reason.
    pub stay: Vec<String>,
}

impl Sorted {
    /// Adds a pod as judged.
    pub fn add(&mut self, pod: Pod, verdict: Verdict) {
        let name = format!("{}/{}", health::namespace(&pod), health::name(&pod));
        match verdict {
            Verdict::Goes(warning) => {
                if let Some(warning) = warning {
                    self.warnings
                        .entry(warning.to_owned())
                        .or_default()
                        .push(name);
                }
                self.go.push(pod);
            }
            Verdict::Stays(Some(warning)) => self
                .warnings
                .entry(warning.to_owned())
                .or_default()
                .push(name),
            Verdict::Stays(None) => self.stay.push(name),
            Verdict::Blocks(why) => self.blocks.entry(why).or_default().push(name),
        }
    }

    /// The warnings on one line, as kubectl prints them; none when there are none.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let told: Vec<String> = self
            .warnings
            .iter()
            .map(|(why, pods)| format!("{why}: {}", pods.join(", ")))
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// What keeps the node from being drained, a line for each reason.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.blocks
            .iter()
            .map(|(why, pods)| format!("cannot delete {why}: {}", pods.join(", ")))
            .collect()
    }

    /// What would be lost for good: a line for each sort, for a question before it happens.
    #[must_use]
    pub fn losses(&self) -> Vec<String> {
        let told = |(why, text): (&str, &str)| {
            let pods = self.warnings.get(why)?;
            Some(format!("{text}: {}", pods.join(", ")))
        };
        [
            (
                LOCAL,
                "the contents of emptyDir volumes are lost with these pods",
            ),
            (BARE, "no controller will make these pods again"),
        ]
        .into_iter()
        .filter_map(told)
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOTHING: Allowed = Allowed {
        force: false,
        ignore_daemonsets: false,
        delete_emptydir_data: false,
        skip_after_seconds: 0,
    };
    const ALL: Allowed = Allowed {
        force: true,
        ignore_daemonsets: true,
        delete_emptydir_data: true,
        skip_after_seconds: 60,
    };

    fn pod(owner: Option<&str>, extra: serde_json::Value) -> Pod {
        let owners: Vec<_> =
            owner.iter().map(|kind| json!({"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "u", "controller": true})).collect();
        let mut tree = json!({"metadata": {"name": "p", "namespace": "d", "ownerReferences": owners}, "spec": {"containers": []}, "status": {}});
        for (part, members) in extra.as_object().expect("an object") {
            tree[part]
                .as_object_mut()
                .expect("an object")
                .extend(members.as_object().expect("an object").clone());
        }
        serde_json::from_value(tree).expect("a pod")
    }

    #[test]
    fn pods_are_judged_as_kubectl_judges_them() {
        let now: Timestamp = "2026-01-01T00:02:00Z".parse().expect("a time");
        let empty_dir = json!({"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}});
        let done = json!({"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}, "status": {"phase": "Succeeded"}});
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        let late = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let blocks = |text: &str| Verdict::Blocks(text.to_owned());
        let bare = "Pods that declare no controller (use --force to override)";
        let local = "Pods with local storage (use --delete-emptydir-data to override)";
        let daemons = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
        let gone = Daemon::Gone("daemonsets.apps \"x\" not found".to_owned());
        for (number, (pod, daemon, allowed, expected)) in [
            (
                pod(Some("ReplicaSet"), json!({})),
                Daemon::None,
                NOTHING,
                Verdict::Goes(None),
            ),
            (pod(None, json!({})), Daemon::None, NOTHING, blocks(bare)),
            (
                pod(None, json!({})),
                Daemon::None,
                ALL,
                Verdict::Goes(Some(BARE)),
            ),
            (
                pod(None, done.clone()),
                Daemon::None,
                NOTHING,
                Verdict::Goes(None),
            ),
            (
                pod(Some("ReplicaSet"), empty_dir.clone()),
                Daemon::None,
                NOTHING,
                blocks(local),
            ),
            (
                pod(Some("ReplicaSet"), empty_dir),
                Daemon::None,
                ALL,
                Verdict::Goes(Some(LOCAL)),
            ),
            (
                pod(Some("DaemonSet"), json!({})),
                Daemon::There,
                NOTHING,
                blocks(daemons),
            ),
            (
                pod(Some("DaemonSet"), json!({})),
                Daemon::There,
                ALL,
                Verdict::Stays(Some("ignoring DaemonSet-managed Pods")),
            ),
            (
                pod(Some("DaemonSet"), done),
                Daemon::There,
                NOTHING,
                Verdict::Goes(None),
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
                Verdict::Goes(None),
            ),
            (
                pod(None, mirror),
                Daemon::None,
                NOTHING,
                Verdict::Stays(None),
            ),
            (
                pod(None, late.clone()),
                Daemon::None,
                ALL,
                Verdict::Stays(None),
            ),
            (
                pod(Some("ReplicaSet"), late),
                Daemon::None,
                Allowed {
                    skip_after_seconds: 120,
                    ..ALL
                },
                Verdict::Goes(None),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(
                judge(&pod, &daemon, allowed, now),
                expected,
                "case {number}"
            );
        }
    }

    #[test]
    fn errors_and_warnings_are_grouped_by_their_text() {
        let mut sorted = Sorted::default();
        for _ in 0..2 {
            sorted.add(
                pod(None, json!({})),
                Verdict::Blocks("Pods of some sort".to_owned()),
            );
            sorted.add(pod(None, json!({})), Verdict::Goes(Some(BARE)));
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
            ["no controller will make these pods again: d/p, d/p"]
        );
    }
}
