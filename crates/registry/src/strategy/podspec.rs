//! Defaults and validation of the pod spec, for pods and pod templates.
//!
//! Both share the rules, and [`Holder`] selects the few that differ.
//!
//! Read next: [`defaults`], then [`validate`], which calls the other modules in the order in which
//! upstream reports faults.

mod affinity;
mod container;
mod defaults;
mod environment;
mod handler;
mod mounts;
mod resources;
mod security;
mod validate;
mod values;
mod volume;

pub(crate) use affinity::toleration_faults;
pub(crate) use defaults::{pod_defaults, resource_values, template_defaults};
pub(crate) use resources::{quantity_faults, resource_name};
pub(crate) use validate::{spec_faults, template_faults};

use kinds::Tree;

use crate::tree::list;

/// Fields of a pod's spec that hold containers, in wire order.
pub(crate) const CONTAINER_LISTS: [&str; 3] =
    ["initContainers", "containers", "ephemeralContainers"];

/// The object that contains a pod spec.
#[derive(Clone, Copy)]
pub(crate) enum Holder<'a> {
    /// A pod of this name.
    Pod(&'a str),
    /// A template whose pods mount these claims as additional volumes.
    Template(&'a [Tree]),
}

impl Holder<'_> {
    fn is_pod(self) -> bool {
        matches!(self, Self::Pod(_))
    }
}

/// Returns the QoS class of a pod, which follows from the resources of its containers.
pub(crate) fn qos_class(spec: &Tree) -> &'static str {
    let containers = || {
        list(spec, &["containers"])
            .iter()
            .chain(list(spec, &["initContainers"]))
    };
    let amount = |container: &Tree, kind: &str, resource: &str| -> Option<String> {
        let value = resource_values(container, kind, resource)?;
        (value != "0").then(|| value.to_owned())
    };
    let is_set = |container: &Tree| {
        ["requests", "limits"].iter().any(|kind| {
            ["cpu", "memory"]
                .iter()
                .any(|resource| amount(container, kind, resource).is_some())
        })
    };
    let is_guaranteed = |container: &Tree| {
        ["cpu", "memory"].iter().all(|resource| {
            let limit = amount(container, "limits", resource);
            limit.is_some() && limit == amount(container, "requests", resource)
        })
    };
    if !containers().any(is_set) {
        "BestEffort"
    } else if containers().all(is_guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
