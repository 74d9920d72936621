//! The order in which the pods of a node go: a tier begins when the one before it is gone.

use k8s_openapi::api::core::v1::Pod;
use kinds::selector::LabelSelector;

/// Priorities from here on belong to the system: networks, storage, DNS.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// What goes first and what goes last.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    /// Before all others, in this order.
    pub first: Vec<LabelSelector>,
    /// After all others, in this order; system-critical pods come after them.
    pub last: Vec<LabelSelector>,
}

impl Tiers {
    /// The pod's tier; lower ones go earlier.
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

/// Whether the system needs the pod.
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
    fn critical_pods_go_after_those_that_were_put_last() {
        let select = |text: &str| LabelSelector::parse(text).expect("a selector");
        let tiers = Tiers {
            first: vec![select("job=batch"), select("job")],
            last: vec![select("app=db")],
        };
        let tier = |labels: serde_json::Value, class: &str| {
            let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [], "priorityClassName": class}});
            tiers.of(&serde_json::from_value(pod).expect("a pod"))
        };
        assert_eq!(tier(json!({"job": "batch"}), ""), 0);
        assert_eq!(tier(json!({"job": "x"}), ""), 1);
        assert_eq!(tier(json!({}), ""), 2);
        assert_eq!(tier(json!({"app": "db"}), "system-node-critical"), 3);
        assert_eq!(tier(json!({}), "system-cluster-critical"), 4);
    }
}
