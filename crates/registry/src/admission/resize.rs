//! Refuses resizes of pods that exceed the whole node. The node agent accounts for the node's other
//! pods.

use kinds::Tree;
use kinds::quantity::Quantity;
use kinds::status::Status;

use crate::key;
use crate::request::Refusal;
use crate::target::Target;
use crate::view::StoreView;
use crate::{record, tree};

/// Returns 403 when a resize requests more than the node's allocatable resources, or when the node
/// is missing or cannot resize pods. Unassigned and unchanged pods pass.
pub(super) fn validate(
    view: &impl StoreView,
    target: &Target,
    new: &Tree,
    old: &Tree,
) -> Result<(), Refusal> {
    let name = tree::text(new, &["spec", "nodeName"]);
    let generation = |pod: &Tree| tree::int(pod, &["metadata", "generation"]);
    if name.is_empty() || generation(new) == generation(old) {
        return Ok(());
    }
    let why = match view.record(&key::core("nodes", "", name)) {
        None => Some(format!("node {name:?} not found")),
        Some(found) => obstacle(&record::parse(&found.value), new),
    };
    why.map_or(Ok(()), |why| {
        Err(Status::forbidden(target.resource.group_resource(), &target.name, why).into())
    })
}

/// Returns the reason why the node cannot run a pod with these resources, if any.
fn obstacle(node: &Tree, pod: &Tree) -> Option<String> {
    let amount = |name: &str| quantity(tree::at(node, &["status", "allocatable", name]));
    let (cpu, memory) = (amount("cpu").milli_value(), amount("memory").value());
    let (wanted_cpu, wanted_memory) = (
        requested(pod, "cpu").milli_value(),
        requested(pod, "memory").value(),
    );
    let lacking: Vec<String> = [("cpu", wanted_cpu, cpu), ("memory", wanted_memory, memory)]
        .into_iter()
        .filter(|(_, wanted, there)| wanted > there)
        .map(|(name, wanted, there)| format!("{name}, requested: {wanted}, allocatable: {there}"))
        .collect();
    if !lacking.is_empty() {
        return Some(format!(
            "Node didn't have enough allocatable resources: {}",
            lacking.join("; ")
        ));
    }
    let system = tree::text(node, &["metadata", "labels", "kubernetes.io/os"]);
    let name = tree::text(node, &["metadata", "name"]);
    (system != "linux").then(|| {
        format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}")
    })
}

/// Returns the maximum of a resource that a pod requests at one time, with its overhead. Sidecars
/// add to all containers that start after them; other init containers run one at a time.
fn requested(pod: &Tree, resource: &str) -> Quantity {
    let of = |holder: &Tree| quantity(tree::at(holder, &["resources", "requests", resource]));
    let (mut sidecars, mut start) = (Quantity::default(), Quantity::default());
    for container in tree::list(pod, &["spec", "initContainers"]) {
        if tree::text(container, &["restartPolicy"]) == "Always" {
            sidecars += of(container);
            start = start.max(sidecars);
        } else {
            start = start.max(sidecars + of(container));
        }
    }
    let running = tree::list(pod, &["spec", "containers"])
        .iter()
        .fold(sidecars, |sum, container| sum + of(container));
    let of_pod = tree::at(pod, &["spec", "resources", "requests", resource]);
    let wanted = if of_pod.is_null() {
        running.max(start)
    } else {
        quantity(of_pod)
    };
    wanted + quantity(tree::at(pod, &["spec", "overhead", resource]))
}

/// Parses a quantity; a missing or invalid value is zero.
fn quantity(value: &Tree) -> Quantity {
    value
        .as_str()
        .and_then(|text| Quantity::parse(text).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn sidecars_add_to_later_containers_and_init_containers_run_one_at_a_time() {
        let of = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = json!({"spec": {
            "initContainers": [
                {"resources": of("300m")},
                {"resources": of("100m"), "restartPolicy": "Always"},
                {"resources": of("700m")},
            ],
            "containers": [{"resources": of("200m")}, {"resources": of("50m")}],
            "overhead": {"cpu": "1m"},
        }});
        assert_eq!(requested(&pod, "cpu").milli_value(), 801);
        let mut bounded = pod.clone();
        bounded["spec"]["resources"] = of("400m");
        assert_eq!(requested(&bounded, "cpu").milli_value(), 401);
        assert_eq!(requested(&pod, "memory").value(), 0);
    }

    #[test]
    fn the_error_lists_every_resource_that_the_node_lacks() {
        let node = json!({
            "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Ki"}},
        });
        let pod = |cpu: &str, memory: &str| {
            json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu,
            "memory": memory}}}]}})
        };
        assert_eq!(obstacle(&node, &pod("2", "1Ki")), None);
        let text = "Node didn't have enough allocatable resources: cpu, requested: 2001, allocatable: 2000; memory, requested: 1025, allocatable: 1024";
        assert_eq!(
            obstacle(&node, &pod("2001m", "1025")).as_deref(),
            Some(text)
        );
        let other = json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": "windows"}}});
        let text = "pod resize is only supported on linux nodes, node \"n\" is \"windows\"";
        assert_eq!(obstacle(&other, &pod("0", "0")).as_deref(), Some(text));
    }
}
