//! The scheduler's picture of the nodes: what they have, and what the pods on them use.
//!
//! It follows the caches, and runs ahead of them: a pod that was just given a node is counted there
//! before the watch shows it, so that the next pod does not get the same room.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use crate::meta::{controller_of, uid};
use crate::nodes;
use crate::pods::{is_finished, node_name};
use rules::resources::{Amounts, allocatable, requests};

/// A pod as the scheduler counts it.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) pod: Arc<Pod>,
    pub(super) requests: Amounts,
}

impl Tenant {
    pub(super) fn new(pod: Arc<Pod>) -> Self {
        let requests = requests(&pod);
        Self { pod, requests }
    }

    pub(super) fn priority(&self) -> i32 {
        priority(&self.pod)
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

/// A node and who is on it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// None while only pods are known that say they are there.
    pub(super) node: Option<Arc<Node>>,
    pub(super) has: Amounts,
    pub(super) used: Amounts,
    pub(super) tenants: BTreeMap<String, Tenant>,
    /// How many pods each controller has here.
    pub(super) siblings: HashMap<String, usize>,
}

impl Place {
    fn new() -> Self {
        Self {
            node: None,
            has: Amounts::default(),
            used: Amounts::default(),
            tenants: BTreeMap::new(),
            siblings: HashMap::new(),
        }
    }

    pub(super) fn enter(&mut self, tenant: Tenant) {
        let key = uid(&tenant.pod.metadata).to_owned();
        self.leave(&key);
        self.used.add(&tenant.requests);
        if let Some(owner) = controller_of(&tenant.pod.metadata) {
            *self.siblings.entry(owner.uid.clone()).or_default() += 1;
        }
        self.tenants.insert(key, tenant);
    }

    pub(super) fn leave(&mut self, uid: &str) -> Option<Tenant> {
        let tenant = self.tenants.remove(uid)?;
        self.used.subtract(&tenant.requests);
        if let Some(owner) = controller_of(&tenant.pod.metadata)
            && let Some(count) = self.siblings.get_mut(&owner.uid)
        {
            *count -= 1;
            if *count == 0 {
                self.siblings.remove(&owner.uid);
            }
        }
        Some(tenant)
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) places: BTreeMap<String, Place>,
    /// Where each counted pod is, by uid.
    whereabouts: HashMap<String, String>,
    /// Pods for which room is being made, and where.
    pub(super) nominated: HashMap<String, (String, Tenant)>,
    /// The node at which the next search begins, so that the load spreads.
    pub(super) next: String,
    /// What was said to pods for which no node will do, by what they ask for. True until the
    /// picture changes, so that of thousands of pods that wait alike only one is tried on every
    /// node.
    refused: Vec<(PodSpec, String)>,
}

/// So many different wishes are remembered.
const REFUSED: usize = 32;

/// What a pod asks for, without what makes it different from its siblings and is of no interest to
/// nodes.
fn wish(pod: &Pod) -> PodSpec {
    PodSpec {
        hostname: None,
        subdomain: None,
        volumes: None,
        ..pod.spec.clone().unwrap_or_default()
    }
}

impl Cluster {
    pub(super) fn learn_node(&mut self, name: &str, node: Option<&Arc<Node>>) {
        self.refused.clear();
        match node {
            Some(node) => {
                let place = self
                    .places
                    .entry(name.to_owned())
                    .or_insert_with(Place::new);
                place.has = allocatable(node);
                place.node = Some(Arc::clone(node));
            }
            None => {
                if let Some(place) = self.places.get_mut(name) {
                    place.node = None;
                    self.drop_empty(name);
                }
            }
        }
    }

    fn drop_empty(&mut self, name: &str) {
        if self
            .places
            .get(name)
            .is_some_and(|place| place.node.is_none() && place.tenants.is_empty())
        {
            self.places.remove(name);
        }
    }

    /// True when room was freed.
    pub(super) fn learn_pod(&mut self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) -> bool {
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
            self.assume(node_name(pod), Tenant::new(Arc::clone(pod)));
        }
        freed
    }

    /// Takes the newest state of a pod that is counted already and asks for what it asked for;
    /// false when it is not so.
    fn refresh(&mut self, pod: &Arc<Pod>) -> bool {
        let place = self
            .whereabouts
            .get(uid(&pod.metadata))
            .filter(|known| *known == node_name(pod));
        let tenant = place.and_then(|node| {
            self.places
                .get_mut(node)?
                .tenants
                .get_mut(uid(&pod.metadata))
        });
        let Some(tenant) =
            tenant.filter(|tenant| tenant.pod.spec == pod.spec && owner(&tenant.pod) == owner(pod))
        else {
            return false;
        };
        tenant.pod = Arc::clone(pod);
        true
    }

    /// What was said to a pod that asks for the same, if nothing has changed since.
    pub(super) fn refused(&self, pod: &Pod) -> Option<&str> {
        if self.refused.is_empty() {
            return None;
        }
        let wish = wish(pod);
        self.refused
            .iter()
            .find(|(known, _)| *known == wish)
            .map(|(_, message)| message.as_str())
    }

    /// Remembers what was said to a pod.
    pub(super) fn remember_refused(&mut self, pod: &Pod, message: &str) {
        if self.refused.len() == REFUSED {
            self.refused.clear();
        }
        self.refused.push((wish(pod), message.to_owned()));
    }

    /// Keeps room for a pod at a node where others make place for it.
    pub(super) fn nominate(&mut self, node: &str, tenant: Tenant) {
        self.refused.clear();
        self.nominated.insert(
            uid(&tenant.pod.metadata).to_owned(),
            (node.to_owned(), tenant),
        );
    }

    /// Counts a pod at a node, and nowhere else.
    pub(super) fn assume(&mut self, node: &str, tenant: Tenant) {
        self.refused.clear();
        let key = uid(&tenant.pod.metadata).to_owned();
        if self
            .whereabouts
            .get(&key)
            .is_some_and(|known| known != node)
        {
            self.forget(&key);
        }
        self.places
            .entry(node.to_owned())
            .or_insert_with(Place::new)
            .enter(tenant);
        self.whereabouts.insert(key, node.to_owned());
    }

    /// Counts a pod nowhere any more.
    pub(super) fn forget(&mut self, uid: &str) -> bool {
        if self.nominated.remove(uid).is_some() {
            self.refused.clear();
        }
        let Some(node) = self.whereabouts.remove(uid) else {
            return false;
        };
        self.refused.clear();
        if let Some(place) = self.places.get_mut(&node) {
            place.leave(uid);
        }
        self.drop_empty(&node);
        true
    }

    pub(super) fn is_placed(&self, uid: &str) -> bool {
        self.whereabouts.contains_key(uid)
    }

    /// The known nodes.
    pub(super) fn nodes(&self) -> usize {
        self.places
            .values()
            .filter(|place| place.node.is_some())
            .count()
    }
}

/// True when a change of a node may make room or open it to pods.
pub(crate) fn opens(old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) -> bool {
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
    use crate::scheduler::place::tests::{cluster, node, tenant};

    #[test]
    fn what_was_said_to_a_pod_counts_for_its_like_until_the_picture_changes() {
        let mut cluster = cluster(&[node("a", json!({}))]);
        let (first, like, other) = (
            tenant("1", "2", json!({"spec": {"hostname": "one"}})),
            tenant("2", "2", json!({"spec": {"hostname": "two"}})),
            tenant("3", "1", json!({})),
        );
        cluster.remember_refused(&first.pod, "no");
        assert_eq!(cluster.refused(&like.pod), Some("no"));
        assert_eq!(cluster.refused(&other.pod), None);
        cluster.assume("a", other);
        assert_eq!(
            cluster.refused(&like.pod),
            None,
            "the counts of reasons may be others now"
        );
        cluster.remember_refused(&first.pod, "no");
        cluster.forget("3");
        assert_eq!(cluster.refused(&like.pod), None, "room was freed");
        cluster.remember_refused(&first.pod, "no");
        cluster.learn_node("b", Some(&node("b", json!({}))));
        assert_eq!(cluster.refused(&like.pod), None, "a node has come");
    }

    #[test]
    fn a_pod_that_asks_for_the_same_is_only_refreshed() {
        let mut cluster = cluster(&[node("a", json!({}))]);
        let on_a = |extra: serde_json::Value| {
            let mut spec = json!({"spec": {"nodeName": "a"}});
            if let (Some(tree), Some(extra)) = (spec.as_object_mut(), extra.as_object()) {
                tree.extend(extra.clone());
            }
            tenant("p", "500m", spec).pod
        };
        let old = on_a(json!({}));
        cluster.learn_pod(None, Some(&old));
        let new = on_a(json!({"status": {"phase": "Running"}}));
        cluster.remember_refused(&old, "no");
        cluster.learn_pod(Some(&old), Some(&new));
        assert!(Arc::ptr_eq(&cluster.places["a"].tenants["p"].pod, &new));
        assert!(
            cluster.refused(&old).is_some(),
            "nothing has changed for others"
        );
        assert_eq!(cluster.places["a"].used.get("cpu"), 500);
        cluster.learn_pod(Some(&new), None);
        assert_eq!(cluster.places["a"].used.get("cpu"), 0);
    }
}
