//! What kinds keep beside the bytes of their objects, so that readers do not parse them: the
//! values that the registry itself decides by.
//!
//! A kind registers its facts by [`Strategy::facts`](crate::strategy::Strategy::facts); they are
//! read back with [`Facts::of_kind`](crate::record::Facts::of_kind).

use kinds::Tree;
use kinds::selector::LabelSelector;
use rules::eviction::{BudgetState, Phase, PodState};

use crate::{object, tree};

/// What an eviction reads of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// What the rule reads.
    pub state: PodState,
    /// `metadata.uid`
    pub uid: String,
}

/// What an eviction reads of a budget.
#[derive(Clone, Debug, Default)]
pub struct BudgetFacts {
    /// What the rule reads.
    pub state: BudgetState,
    /// `metadata.name`
    pub name: String,
    /// The compiled selector; `None` when it does not compile, and then it selects nothing.
    pub selector: Option<LabelSelector>,
    /// The condition `DisruptionAllowed` when its status is `False` and its message is not empty.
    pub not_allowed: Option<NotAllowed>,
}

/// Why a budget's own condition says that it allows no disruption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotAllowed {
    /// The condition's reason.
    pub reason: String,
    /// The condition's message, never empty.
    pub message: String,
}

/// What decides whether the kinds of a definition are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DefinitionFlags {
    /// True when the condition `Established` is `True`.
    pub(crate) established: bool,
    /// True when the definition is being deleted.
    pub(crate) terminating: bool,
    /// True when its objects have a namespace.
    pub(crate) namespaced: bool,
}

impl DefinitionFlags {
    /// Reads a definition.
    pub(crate) fn of(definition: &Tree) -> Self {
        Self {
            established: object::condition(definition, "Established")
                .is_some_and(|found| tree::text(found, &["status"]) == "True"),
            terminating: object::terminating(definition),
            namespaced: tree::text(definition, &["spec", "scope"]) == "Namespaced",
        }
    }
}

impl PodFacts {
    /// Reads a pod.
    #[must_use]
    pub fn of(pod: &Tree) -> Self {
        Self {
            state: PodState {
                phase: Phase::parse(tree::text(pod, &["status", "phase"])),
                ready: object::condition(pod, "Ready")
                    .is_some_and(|ready| tree::text(ready, &["status"]) == "True"),
                terminating: object::terminating(pod),
            },
            uid: object::meta_text(pod, "uid").to_owned(),
        }
    }
}

impl BudgetFacts {
    /// Reads a budget; a count that its status lacks is zero.
    #[must_use]
    pub fn of(budget: &Tree) -> Self {
        let number = |path: &[&str]| tree::int(budget, path).unwrap_or(0);
        let count = |name: &str| number(&["status", name]);
        let not_allowed = object::condition(budget, "DisruptionAllowed")
            .filter(|found| tree::text(found, &["status"]) == "False")
            .map(|found| NotAllowed {
                reason: tree::text(found, &["reason"]).to_owned(),
                message: tree::text(found, &["message"]).to_owned(),
            });
        Self {
            state: BudgetState {
                observed: count("observedGeneration") >= number(&["metadata", "generation"]),
                disruptions_allowed: count("disruptionsAllowed"),
                current_healthy: count("currentHealthy"),
                desired_healthy: count("desiredHealthy"),
                disrupted_pods: tree::at(budget, &["status", "disruptedPods"])
                    .as_object()
                    .map_or(0, kinds::tree::Map::len),
                always_allow: tree::text(budget, &["spec", "unhealthyPodEvictionPolicy"])
                    == "AlwaysAllow",
            },
            name: object::meta_text(budget, "name").to_owned(),
            selector: LabelSelector::from_tree(tree::at(budget, &["spec", "selector"])).ok(),
            not_allowed: not_allowed.filter(|found| !found.message.is_empty()),
        }
    }
}

/// What admission reads of a namespace.
#[derive(Debug)]
pub(crate) struct NamespaceFacts {
    /// True when the namespace is being deleted: nothing new is created in it.
    pub(crate) terminating: bool,
}

impl NamespaceFacts {
    /// Reads a namespace.
    pub(crate) fn of(namespace: &Tree) -> Self {
        Self {
            terminating: object::terminating(namespace)
                || tree::text(namespace, &["status", "phase"]) == "Terminating",
        }
    }
}

/// What the allocation of addresses and ports reads of a service.
#[derive(Debug)]
pub(crate) struct ServiceFacts {
    /// The cluster addresses that the service holds.
    pub(crate) addresses: Vec<String>,
    /// The node ports that it holds, that for health checks among them.
    pub(crate) node_ports: Vec<i64>,
}

impl ServiceFacts {
    /// Reads a service.
    pub(crate) fn of(service: &Tree) -> Self {
        let first = tree::text(service, &["spec", "clusterIP"]);
        let all = tree::list(service, &["spec", "clusterIPs"])
            .iter()
            .filter_map(Tree::as_str);
        let mut addresses: Vec<String> = std::iter::once(first)
            .chain(all)
            .filter(|address| !address.is_empty() && *address != "None")
            .map(str::to_owned)
            .collect();
        // `clusterIP` is the first of `clusterIPs`, when both are set.
        addresses.dedup();
        let ports = tree::list(service, &["spec", "ports"])
            .iter()
            .filter_map(|port| tree::int(port, &["nodePort"]));
        let node_ports = ports
            .chain(tree::int(service, &["spec", "healthCheckNodePort"]))
            .filter(|port| *port != 0)
            .collect();
        Self {
            addresses,
            node_ports,
        }
    }
}
