//! The order in which the pods of a node are evicted: a tier begins when all pods of the tier
//! before it are deleted.

use k8s_openapi::api::core::v1::Pod;
use kinds::selector::LabelSelector;

/// The lowest priority of system-critical pods (`system-cluster-critical`).
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// Which pods are evicted first and which last.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    /// Selectors of the first tiers, in order.
    pub first: Vec<LabelSelector>,
    /// Selectors of the tiers after all other pods, in order. System-critical pods come after them.
    pub last: Vec<LabelSelector>,
}

impl Tiers {
    /// Returns the tier of the pod. Lower tiers are evicted earlier.
    #[must_use]
    pub fn of(&self, pod: &Pod) -> usize {
        let matching = |selectors: &[LabelSelector]| {
            selectors
                .iter()
                .position(|selector| selector.matches(&pod.metadata.labels))
        };
        if let Some(at) = matching(&self.first) {
            return at;
        }
        let ordinary = self.first.len();
        if let Some(at) = matching(&self.last) {
            return ordinary + 1 + at;
        }
        if is_critical(pod) {
            ordinary + 1 + self.last.len()
        } else {
            ordinary
        }
    }
}

/// Returns true for pods with a system-critical priority or priority class.
#[must_use]
pub fn is_critical(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let named = spec
        .priority_class_name
        .as_deref()
        .is_some_and(|name| name.starts_with("system-"));
    named
        || spec
            .priority
            .is_some_and(|priority| priority >= CRITICAL_PRIORITY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn critical_pods_come_after_those_of_last() {
        let select = |text: &str| LabelSelector::parse(text).expect("a selector");
        let tiers = Tiers {
            first: vec![select("job=batch"), select("job")],
            last: vec![select("app=db")],
        };
        let tier = |labels: serde_json::Value, class: &str| {
            let pod = json!({"metadata": {"labels": labels},
                "spec": {"containers": [], "priorityClassName": class}});
            tiers.of(&serde_json::from_value(pod).expect("a pod"))
        };
        assert_eq!(tier(json!({"job": "batch"}), ""), 0);
        assert_eq!(tier(json!({"job": "x"}), ""), 1);
        assert_eq!(tier(json!({}), ""), 2);
        assert_eq!(tier(json!({"app": "db"}), "system-node-critical"), 3);
        assert_eq!(tier(json!({}), "system-cluster-critical"), 4);
    }
}
