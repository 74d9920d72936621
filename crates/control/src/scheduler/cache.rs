//! The scheduler's cache: the capacity of the nodes and the requests of the pods on them.
//!
//! It follows the informers and runs ahead of them: a pod is counted at its node from the moment at
//! which the node was chosen, so that the next pod does not get the same room.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, Pod, PodSpec};

use crate::meta::{controller_of, uid};
use crate::nodes;
use crate::pods::{is_finished, namespace, node_name};
use rules::affinity::{PlacedPod, SpreadNode, has_constraints, has_preferences, keeps_others_away};
use rules::resources::{Amounts, allocatable, requests};

/// A pod with its resource requests.
#[derive(Clone, Debug)]
pub(super) struct PodInfo {
    pub(super) pod: Arc<Pod>,
    pub(super) requests: Amounts,
    /// The volumes that the pod's claims are bound to.
    pub(super) volumes: Vec<Arc<PersistentVolume>>,
    /// For each claim that waits for the pod's node, the volumes among which it will choose.
    pub(super) choices: Vec<Vec<Arc<PersistentVolume>>>,
}

impl PodInfo {
    pub(super) fn new(pod: Arc<Pod>) -> Self {
        let requests = requests(&pod);
        Self {
            pod,
            requests,
            volumes: Vec::new(),
            choices: Vec::new(),
        }
    }

    pub(super) fn priority(&self) -> i32 {
        priority(&self.pod)
    }

    /// True when its volumes decide about where the pod can go, so that no other pod is like it.
    pub(super) fn depends_on_volumes(&self) -> bool {
        !(self.volumes.is_empty() && self.choices.is_empty())
    }
}

pub(super) fn priority(pod: &Pod) -> i32 {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.priority)
        .unwrap_or_default()
}

fn owner(pod: &Pod) -> Option<&str> {
    controller_of(&pod.metadata).map(|owner| owner.uid.as_str())
}

/// A node with its pods.
#[derive(Clone, Debug)]
pub(super) struct NodeInfo {
    /// None while only pods that refer to the node are known.
    pub(super) node: Option<Arc<Node>>,
    pub(super) has: Amounts,
    pub(super) used: Amounts,
    pub(super) pods: BTreeMap<String, PodInfo>,
    /// The number of pods of each controller on this node.
    pub(super) siblings: HashMap<String, usize>,
}

impl NodeInfo {
    fn new() -> Self {
        Self {
            node: None,
            has: Amounts::default(),
            used: Amounts::default(),
            pods: BTreeMap::new(),
            siblings: HashMap::new(),
        }
    }

    pub(super) fn enter(&mut self, pod_info: PodInfo) {
        let key = uid(&pod_info.pod.metadata).to_owned();
        self.leave(&key);
        self.used.add(&pod_info.requests);
        if let Some(owner) = controller_of(&pod_info.pod.metadata) {
            *self.siblings.entry(owner.uid.clone()).or_default() += 1;
        }
        self.pods.insert(key, pod_info);
    }

    pub(super) fn leave(&mut self, uid: &str) -> Option<PodInfo> {
        let pod_info = self.pods.remove(uid)?;
        self.used.subtract(&pod_info.requests);
        if let Some(owner) = controller_of(&pod_info.pod.metadata)
            && let Some(count) = self.siblings.get_mut(&owner.uid)
        {
            *count -= 1;
            if *count == 0 {
                self.siblings.remove(&owner.uid);
            }
        }
        Some(pod_info)
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct SchedulerCache {
    pub(super) nodes_by_name: BTreeMap<String, NodeInfo>,
    /// The node of each counted pod, by uid of the pod.
    assigned: HashMap<String, String>,
    /// Pods that preempt others, with their nominated nodes.
    pub(super) nominated: HashMap<String, (String, PodInfo)>,
    /// The node at which the next search begins, so that the load spreads.
    pub(super) next: String,
    /// The counted pods that keep others away by anti-affinity.
    loners: HashSet<String>,
    namespaces: HashMap<String, BTreeMap<String, String>>,
    /// The messages for pods that fit nowhere, by what scheduling depends on. They hold until the
    /// cache changes. So of thousands of equal waiting pods only one is tried on every node.
    unschedulable: Vec<(SchedulingKey, String)>,
}

/// What scheduling depends on. It is equal for pods of one controller.
#[derive(Debug, PartialEq)]
struct SchedulingKey {
    spec: PodSpec,
    /// Namespace and labels, where affinity or topology spread look at them.
    identity: Option<(String, Option<BTreeMap<String, String>>)>,
}

/// How many different specs are remembered.
const REMEMBERED_SPECS: usize = 32;

/// The part of a spec that scheduling depends on.
fn scheduling_spec(pod: &Pod) -> PodSpec {
    PodSpec {
        hostname: None,
        subdomain: None,
        volumes: None,
        ..pod.spec.clone().unwrap_or_default()
    }
}

impl SchedulerCache {
    pub(super) fn observe_node(&mut self, name: &str, node: Option<&Arc<Node>>) {
        self.unschedulable.clear();
        match node {
            Some(node) => {
                let info = self
                    .nodes_by_name
                    .entry(name.to_owned())
                    .or_insert_with(NodeInfo::new);
                info.has = allocatable(node);
                info.node = Some(Arc::clone(node));
            }
            None => {
                if let Some(info) = self.nodes_by_name.get_mut(name) {
                    info.node = None;
                    self.drop_empty(name);
                }
            }
        }
    }

    fn drop_empty(&mut self, name: &str) {
        if self
            .nodes_by_name
            .get(name)
            .is_some_and(|info| info.node.is_none() && info.pods.is_empty())
        {
            self.nodes_by_name.remove(name);
        }
    }

    /// Takes in a change of a pod. Returns true when room was freed.
    pub(super) fn observe_pod(&mut self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) -> bool {
        let stays = new.filter(|pod| !is_finished(pod));
        let mut freed = false;
        if let Some(old) = old
            && stays.is_none_or(|new| uid(&new.metadata) != uid(&old.metadata))
        {
            freed = self.forget(uid(&old.metadata));
        }
        let Some(pod) = stays else { return freed };
        if node_name(pod).is_empty() {
            return freed;
        }
        if !self.refresh(pod) {
            self.nominated.remove(uid(&pod.metadata));
            self.assume(node_name(pod), PodInfo::new(Arc::clone(pod)));
        }
        freed
    }

    /// Takes in the newest state of a pod that is counted already. Returns false when its requests
    /// or node have changed.
    fn refresh(&mut self, pod: &Arc<Pod>) -> bool {
        let info = self
            .assigned
            .get(uid(&pod.metadata))
            .filter(|known| *known == node_name(pod));
        let pod_info = info.and_then(|node| {
            self.nodes_by_name
                .get_mut(node)?
                .pods
                .get_mut(uid(&pod.metadata))
        });
        let Some(pod_info) = pod_info
            .filter(|pod_info| pod_info.pod.spec == pod.spec && owner(&pod_info.pod) == owner(pod))
        else {
            return false;
        };
        pod_info.pod = Arc::clone(pod);
        true
    }

    /// Forgets the messages for pods that fit nowhere.
    pub(super) fn forget_messages(&mut self) {
        self.unschedulable.clear();
    }

    /// The message for a pod with the same spec, if the cache has not changed since.
    pub(super) fn unschedulable(&self, pod: &Pod) -> Option<&str> {
        if self.unschedulable.is_empty() {
            return None;
        }
        let key = self.scheduling_key(pod);
        self.unschedulable
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, message)| message.as_str())
    }

    /// Remembers the message for a pod that fits nowhere.
    pub(super) fn remember_unschedulable(&mut self, pod: &Pod, message: &str) {
        if self.unschedulable.len() == REMEMBERED_SPECS {
            self.unschedulable.clear();
        }
        let key = self.scheduling_key(pod);
        self.unschedulable.push((key, message.to_owned()));
    }

    fn scheduling_key(&self, pod: &Pod) -> SchedulingKey {
        let matters = !self.loners.is_empty() || has_constraints(pod);
        SchedulingKey {
            spec: scheduling_spec(pod),
            identity: matters.then(|| (namespace(pod).to_owned(), pod.metadata.labels.clone())),
        }
    }

    /// Takes in a change of a namespace, whose labels affinity terms may select by.
    pub(super) fn observe_namespace(&mut self, name: &str, new: Option<&Namespace>) {
        self.unschedulable.clear();
        match new.and_then(|new| new.metadata.labels.clone()) {
            Some(labels) => _ = self.namespaces.insert(name.to_owned(), labels),
            None => _ = self.namespaces.remove(name),
        }
    }

    pub(super) fn labels_of(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.namespaces.get(namespace).cloned()
    }

    /// The nodes, as topology spread counts them. Empty when the pod has no use for them.
    pub(super) fn grounds(&self, pod: &Pod) -> Vec<SpreadNode<'_>> {
        if !has_constraints(pod) {
            return Vec::new();
        }
        let known = self.nodes_by_name.values();
        known
            .filter_map(|info| info.node.as_ref())
            .map(|node| SpreadNode {
                node,
                cordoned: nodes::is_cordoned(node),
            })
            .collect()
    }

    /// The counted pods that may matter to where this pod can go: all when it has constraints or
    /// preferences of its own, else those that keep others away.
    pub(super) fn neighbours(&self, pod: &Pod) -> Vec<PlacedPod<'_>> {
        fn placed<'a>(info: &'a NodeInfo, other: &'a PodInfo) -> Option<PlacedPod<'a>> {
            Some(PlacedPod {
                pod: &other.pod,
                node: info.node.as_ref()?,
                leaving: false,
            })
        }
        if has_constraints(pod) || has_preferences(pod) {
            let infos = self.nodes_by_name.values();
            return infos
                .flat_map(|info| info.pods.values().filter_map(move |pod| placed(info, pod)))
                .collect();
        }
        let loners = self.loners.iter();
        loners
            .filter_map(|uid| {
                let info = self.nodes_by_name.get(self.assigned.get(uid)?)?;
                placed(info, info.pods.get(uid)?)
            })
            .collect()
    }

    /// Reserves room for a pod on a node where it preempts others.
    pub(super) fn nominate(&mut self, node: &str, pod_info: PodInfo) {
        self.unschedulable.clear();
        self.nominated.insert(
            uid(&pod_info.pod.metadata).to_owned(),
            (node.to_owned(), pod_info),
        );
    }

    /// Counts a pod at a node, and at no other.
    pub(super) fn assume(&mut self, node: &str, pod_info: PodInfo) {
        self.unschedulable.clear();
        let key = uid(&pod_info.pod.metadata).to_owned();
        if self.assigned.get(&key).is_some_and(|known| known != node) {
            self.forget(&key);
        }
        if keeps_others_away(&pod_info.pod) {
            self.loners.insert(key.clone());
        }
        self.nodes_by_name
            .entry(node.to_owned())
            .or_insert_with(NodeInfo::new)
            .enter(pod_info);
        self.assigned.insert(key, node.to_owned());
    }

    /// Stops counting a pod.
    pub(super) fn forget(&mut self, uid: &str) -> bool {
        if self.nominated.remove(uid).is_some() {
            self.unschedulable.clear();
        }
        let Some(node) = self.assigned.remove(uid) else {
            return false;
        };
        self.loners.remove(uid);
        self.unschedulable.clear();
        if let Some(info) = self.nodes_by_name.get_mut(&node) {
            info.leave(uid);
        }
        self.drop_empty(&node);
        true
    }

    pub(super) fn is_placed(&self, uid: &str) -> bool {
        self.assigned.contains_key(uid)
    }

    /// The number of known nodes.
    pub(super) fn nodes(&self) -> usize {
        self.nodes_by_name
            .values()
            .filter(|info| info.node.is_some())
            .count()
    }
}

/// True when a change of a node may allow pods that did not fit before.
pub(crate) fn may_fit_more(old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) -> bool {
    let Some(new) = new else { return false };
    let Some(old) = old else { return true };
    old.metadata.labels != new.metadata.labels
        || nodes::is_cordoned(old) != nodes::is_cordoned(new)
        || !nodes::taints(old).eq(nodes::taints(new))
        || allocatable(old) != allocatable(new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scheduler::select::tests::{cache, node, pod_info};

    #[test]
    fn a_diagnosis_holds_for_equal_pods_until_the_cache_changes() {
        let mut cache = cache(&[node("a", json!({}))]);
        let (first, like, other) = (
            pod_info("1", "2", json!({"spec": {"hostname": "one"}})),
            pod_info("2", "2", json!({"spec": {"hostname": "two"}})),
            pod_info("3", "1", json!({})),
        );
        cache.remember_unschedulable(&first.pod, "no");
        assert_eq!(cache.unschedulable(&like.pod), Some("no"));
        assert_eq!(cache.unschedulable(&other.pod), None);
        cache.assume("a", other);
        assert_eq!(
            cache.unschedulable(&like.pod),
            None,
            "the counts of reasons may be others now"
        );
        cache.remember_unschedulable(&first.pod, "no");
        cache.forget("3");
        assert_eq!(cache.unschedulable(&like.pod), None, "room was freed");
        cache.remember_unschedulable(&first.pod, "no");
        cache.observe_node("b", Some(&node("b", json!({}))));
        assert_eq!(cache.unschedulable(&like.pod), None, "a node has come");
    }

    #[test]
    fn a_pod_with_unchanged_requests_is_only_refreshed() {
        let mut cache = cache(&[node("a", json!({}))]);
        let on_a = |extra: serde_json::Value| {
            let mut spec = json!({"spec": {"nodeName": "a"}});
            if let (Some(tree), Some(extra)) = (spec.as_object_mut(), extra.as_object()) {
                tree.extend(extra.clone());
            }
            pod_info("p", "500m", spec).pod
        };
        let old = on_a(json!({}));
        cache.observe_pod(None, Some(&old));
        let new = on_a(json!({"status": {"phase": "Running"}}));
        cache.remember_unschedulable(&old, "no");
        cache.observe_pod(Some(&old), Some(&new));
        assert!(Arc::ptr_eq(&cache.nodes_by_name["a"].pods["p"].pod, &new));
        assert!(
            cache.unschedulable(&old).is_some(),
            "nothing has changed for others"
        );
        assert_eq!(cache.nodes_by_name["a"].used.get("cpu"), 500);
        cache.observe_pod(Some(&new), None);
        assert_eq!(cache.nodes_by_name["a"].used.get("cpu"), 0);
    }
}
