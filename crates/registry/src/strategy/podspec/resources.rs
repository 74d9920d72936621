//! Validation of compute resources: names, quantities, and the relation of requests and limits.
//!
//! Huge pages and extended resources cannot be overcommitted, so their request must equal their
//! limit.

use kinds::{Tree, status::FieldError};

use crate::strategy::checks::{Faults, nonnegative_quantity, quantity};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, entries, list, text};
use kinds::names;

/// Container resources that need no domain prefix.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Quota resources that are counted in whole numbers.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Validates the resources of a container.
pub(super) fn container(container: &Tree, spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let limits = at(container, &["resources", "limits"]);
    let (at_limits, at_requests) = (path.child("limits"), path.child("requests"));
    check_list(limits, &at_limits, out);
    for (name, request) in entries(container, &["resources", "requests"]) {
        container_resource(name, request, &at_requests.key(name), out);
        let may_overcommit = is_native(name) && !is_huge(name);
        let Some(limit) = limits.get(name) else {
            if !may_overcommit {
                out.push(FieldError::required(
                    at_limits,
                    "Limit must be set for non overcommitable resources",
                ));
            }
            continue;
        };
        let (Some(most), Some(wanted)) = (quantity(limit), quantity(request)) else {
            continue;
        };
        let shown = limit.as_str().unwrap_or_default();
        if !may_overcommit && wanted != most {
            out.push(FieldError::invalid(
                at_requests,
                request,
                format!("must be equal to {name} limit of {shown}"),
            ));
        } else if wanted > most {
            out.push(FieldError::invalid(
                at_requests,
                request,
                format!("must be less than or equal to {name} limit of {shown}"),
            ));
        }
    }
    let names: Vec<&str> = ["limits", "requests"]
        .iter()
        .flat_map(|kind| entries(container, &["resources", kind]))
        .map(|(name, _)| name)
        .collect();
    if names.iter().any(|name| is_huge(name))
        && !names.iter().any(|name| matches!(*name, "cpu" | "memory"))
    {
        out.push(FieldError::forbidden(
            path,
            "HugePages require cpu or memory",
        ));
    }
    claims(container, spec, &path.child("claims"), out);
}

/// Validates that each claim of a container refers to a claim of its pod.
fn claims(container: &Tree, spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let mut sorted: Vec<&str> = list(spec, &["resourceClaims"])
        .iter()
        .map(|claim| text(claim, &["name"]))
        .collect();
    sorted.sort_unstable();
    let mut seen = std::collections::BTreeSet::new();
    for (index, claim) in list(container, &["resources", "claims"]).iter().enumerate() {
        let name = text(claim, &["name"]);
        if name.is_empty() {
            out.push(FieldError::required(path.index(index), ""));
            continue;
        }
        if !seen.insert(name) {
            out.push(FieldError::duplicate(path.index(index), &Tree::from(name)));
        }
        if sorted.binary_search(&name).is_err() {
            out.push_with(|| {
                let list = if sorted.is_empty() {
                    " which is empty".to_owned()
                } else {
                    format!(": {}", sorted.join(", "))
                };
                let fault = FieldError::not_found(path.index(index), &Tree::from(name));
                let body = format!(
                    "{}: must be one of the names in pod.spec.resourceClaims{list}",
                    fault.body
                );
                FieldError { body, ..fault }
            });
        }
    }
}

/// Validates a map from container resource names to quantities.
pub(super) fn check_list(resources: &Tree, path: &Path<'_>, out: &mut Faults) {
    for (name, amount) in entries(resources, &[]) {
        container_resource(name, amount, &path.key(name), out);
    }
}

fn container_resource(name: &str, amount: &Tree, path: &Path<'_>, out: &mut Faults) {
    container_name(name, path, out);
    quantity_faults(name, amount, path, out);
    if is_huge(name)
        && let (Some(amount_value), Some(size)) = (
            quantity(amount),
            quantity(&Tree::from(name.trim_start_matches("hugepages-"))),
        )
        && (size.value() <= 0 || amount_value.value() % size.value() != 0)
    {
        let shown = amount.as_str().unwrap_or_default();
        out.push(invalid_text(
            path,
            shown,
            format!("{shown} is not positive integer multiple of {name}"),
        ));
    }
}

fn container_name(name: &str, path: &Path<'_>, out: &mut Faults) {
    resource_name(name, path, out);
    if !name.contains('/') {
        if !STANDARD.contains(&name) && !is_huge(name) {
            out.push(invalid_text(
                path,
                name,
                "must be a standard resource for containers",
            ));
        }
    } else if !is_native(name) && !is_extended(name) {
        out.push(invalid_text(
            path,
            name,
            "doesn't follow extended resource name standard",
        ));
    }
}

/// Validates the name of any resource.
pub(crate) fn resource_name(name: &str, path: &Path<'_>, out: &mut Faults) {
    let faults = names::qualified_name(name);
    if faults.is_empty() && !name.contains('/') && !is_standard(name) {
        out.push(invalid_text(
            path,
            name,
            "must be a standard resource type or fully qualified",
        ));
    }
    out.extend(
        faults
            .into_iter()
            .map(|fault| invalid_text(path, name, fault)),
    );
}

/// Validates a quantity: not negative, and an integer if the resource is counted.
pub(crate) fn quantity_faults(name: &str, amount: &Tree, path: &Path<'_>, out: &mut Faults) {
    nonnegative_quantity(amount, path, out);
    let is_counted = COUNTED.contains(&name) || is_extended(name);
    if is_counted && quantity(amount).is_some_and(|amount| !amount.is_whole()) {
        out.push(FieldError::invalid(path, amount, "must be an integer"));
    }
}

/// Returns `true` for unprefixed names that are standard in containers or quotas.
fn is_standard(name: &str) -> bool {
    let part = name
        .strip_prefix("requests.")
        .or_else(|| name.strip_prefix("limits."));
    let is_bounded = part.is_some_and(|part| STANDARD.contains(&part));
    STANDARD.contains(&name)
        || COUNTED.contains(&name)
        || is_huge(name)
        || is_bounded
        || matches!(name, "storage" | "requests.storage")
        || name.starts_with("requests.hugepages-")
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Returns `true` for extended resources, such as devices, which have a domain prefix.
fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}
