//! Resource requests of pods and allocatable resources of nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kinds::tree::Text;

/// Amounts by resource name: CPU in thousandths, everything else in units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<Text, i64>);

impl Amounts {
    fn read(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        Self(
            list.into_iter()
                .flatten()
                .map(|(name, text)| (name.into(), amount(name, text)))
                .collect(),
        )
    }

    /// Returns the amount of a resource; 0 if it is not listed.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Adds each resource of `other`. Saturates.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Subtracts each resource of `other`. Saturates.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_sub(*amount);
        }
    }

    fn at_least(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }

    /// Returns the resources with a positive amount.
    pub fn asked(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0
            .iter()
            .filter(|(_, amount)| **amount > 0)
            .map(|(name, amount)| (name.as_str(), *amount))
    }
}

/// An invalid quantity counts as 0. The API server rejects such objects.
fn amount(name: &str, text: &Quantity) -> i64 {
    let Ok(quantity) = kinds::quantity::Quantity::parse(&text.0) else {
        return 0;
    };
    if name == "cpu" {
        quantity.milli_value()
    } else {
        quantity.value()
    }
}

/// Returns the allocatable resources of a node.
pub fn allocatable(node: &Node) -> Amounts {
    Amounts::read(
        node.status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref()),
    )
}

fn of_container(container: &Container) -> Amounts {
    Amounts::read(
        container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref()),
    )
}

/// Returns the requests of a pod: the sum of its containers and sidecars, or the most that its init
/// containers need beside the sidecars started before them, whichever is greater, plus the
/// overhead.
pub fn requests(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else {
        return Amounts::default();
    };
    let mut running = Amounts::default();
    for container in &spec.containers {
        running.add(&of_container(container));
    }
    let (mut sidecars, mut start) = (Amounts::default(), Amounts::default());
    for container in spec.init_containers.iter().flatten() {
        let own = of_container(container);
        // A sidecar is an init container that keeps running beside everything started after it.
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&own);
            start.at_least(&sidecars);
        } else {
            let mut beside = sidecars.clone();
            beside.add(&own);
            start.at_least(&beside);
        }
    }
    running.add(&sidecars);
    running.at_least(&start);
    // Requests of the pod as a whole replace those of its containers.
    if let Some(whole) = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref())
    {
        running.0.extend(Amounts::read(Some(whole)).0);
    }
    running.add(&Amounts::read(spec.overhead.as_ref()));
    running
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_the_most_that_runs_at_the_same_time() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a", "resources": asks("500m")}, {"name": "b",
                "resources": asks("1")}],
            "initContainers": [
                {"name": "sidecar", "restartPolicy": "Always", "resources": asks("100m")},
                {"name": "init", "resources": asks("2")},
            ],
            "overhead": {"cpu": "50m"},
        }}))
        .expect("a pod");
        assert_eq!(requests(&pod).get("cpu"), 2150);
    }

    #[test]
    fn an_init_container_runs_beside_the_sidecars_before_it() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = |init: serde_json::Value| {
            serde_json::from_value(json!({"spec": {
                "containers": [{"name": "a", "resources": asks("1")}], "initContainers": init,
            }}))
            .expect("a pod")
        };
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": asks("300m")});
        let init = json!({"name": "i", "resources": asks("1500m")});
        for (order, milli) in [
            (json!([sidecar, init]), 1800),
            (json!([init, sidecar]), 1500),
            (json!([sidecar, sidecar]), 1600),
        ] {
            assert_eq!(requests(&pod(order.clone())).get("cpu"), milli, "{order}");
        }
    }

    #[test]
    fn requests_of_the_whole_pod_replace_those_of_its_containers() {
        let pod = serde_json::from_value(json!({"spec": {
            "resources": {"requests": {"cpu": "3"}},
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "5"}}}],
            "overhead": {"cpu": "1"},
        }}))
        .expect("a pod");
        assert_eq!(requests(&pod).get("cpu"), 4000);
        assert_eq!(requests(&pod).get("memory"), 5);
        assert_eq!(requests(&Pod::default()), Amounts::default());
    }

    #[test]
    fn amounts_add_subtract_and_saturate() {
        let of = |json: serde_json::Value| {
            let node = serde_json::from_value(json!({"status": {"allocatable": json}}));
            allocatable(&node.expect("a node"))
        };
        let mut amounts = of(json!({"cpu": "1500m", "memory": "1Ki", "broken": "x"}));
        assert_eq!(amounts.get("broken"), 0);
        amounts.add(&of(json!({"cpu": "1", "pods": "2"})));
        assert_eq!(
            (
                amounts.get("cpu"),
                amounts.get("memory"),
                amounts.get("pods")
            ),
            (2500, 1024, 2)
        );
        amounts.subtract(&of(json!({"cpu": "3", "pods": "2"})));
        assert_eq!((amounts.get("cpu"), amounts.get("pods")), (-500, 0));
        assert_eq!(amounts.asked().collect::<Vec<_>>(), [("memory", 1024)]);
        let most = of(json!({"memory": "9223372036854775807"}));
        amounts.add(&most);
        assert_eq!(amounts.get("memory"), i64::MAX);
    }
}
