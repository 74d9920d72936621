//! What a pod asks for and what a node has. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kinds::tree::Text;

/// Amounts by resource name: processor time in thousandths, everything else in units.
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

    /// How much of this resource; 0 when it is not named.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Adds, resource by resource.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Takes away, resource by resource.
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

    /// Those of which something is asked.
    pub fn asked(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0
            .iter()
            .filter(|(_, amount)| **amount > 0)
            .map(|(name, amount)| (name.as_str(), *amount))
    }
}

/// A quantity that does not parse asks for nothing; the server does not let one in.
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

/// What a node can give.
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

/// What a pod asks for: all containers and sidecars together, or the largest init container with
/// the sidecars that run beside it, whichever is more; then the overhead.
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
    // What is asked for the pod as a whole counts instead.
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
    fn a_pod_asks_for_the_most_that_runs_at_a_time() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a", "resources": asks("500m")}, {"name": "b", "resources": asks("1")}],
            "initContainers": [
                {"name": "sidecar", "restartPolicy": "Always", "resources": asks("100m")},
                {"name": "init", "resources": asks("2")},
            ],
            "overhead": {"cpu": "50m"},
        }}))
        .expect("a pod");
        assert_eq!(requests(&pod).get("cpu"), 2150);
    }
}
