//! Defaults and validation of `Node`.
//!
//! Pod CIDRs and the provider ID can be set once and never change. Taints and `unschedulable` may
//! change at any time.

use std::collections::{BTreeSet, HashSet};

use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::Faults;
use super::meta::invalid_text;
use super::path::Path;
use super::{FieldNames, Strategy, StrategyContext, podspec};
use crate::tree::{at, carry, entries, fill, flag, list, put, take, text};

pub(crate) struct Node;

const METADATA: Path<'static> = Path::root("metadata");
const SPEC: Path<'static> = Path::root("spec");
const STATUS: Path<'static> = Path::root("status");

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

impl Strategy for Node {
    fn default(&self, object: &mut Tree) {
        // Without reserved resources the whole capacity is allocatable.
        if at(object, &["status", "allocatable"]).is_null() {
            carry(&object.clone(), object, &["status", "capacity"]);
            let capacity = at(object, &["status", "capacity"]).clone();
            if !crate::tree::is_empty(&capacity) {
                put(object, &["status", "allocatable"], capacity);
            }
        }
        agree_on_ranges(object);
        if !flag(object, &["spec", "unschedulable"]) {
            // `false` and absent are equal, and upstream omits `false`.
            take(object, &["spec", "unschedulable"]);
        }
    }

    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        fill(
            object,
            &["status", "daemonEndpoints", "kubeletEndpoint", "Port"],
            0,
        );
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        whole(object, &mut out);
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        // Upstream validates the whole node and then the update, so it reports some faults twice.
        if context.subresource != "status" {
            whole(new, &mut out);
        }
        annotations(new, &mut out);
        resources(new, &mut out);
        addresses(new, &mut out);
        let (now, before) = (
            list(new, &["spec", "podCIDRs"]),
            list(old, &["spec", "podCIDRs"]),
        );
        if !before.is_empty() && now != before {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            out.push(FieldError::forbidden(SPEC.child("podCIDRs"), detail));
        }
        let (now, before) = (
            text(new, &["spec", "providerID"]),
            text(old, &["spec", "providerID"]),
        );
        if !before.is_empty() && now != before {
            let detail = "node updates may not change providerID except from \"\" to valid";
            out.push(FieldError::forbidden(SPEC.child("providerID"), detail));
        }
        taints(new, &mut out);
        if text(new, &["spec", "externalID"]) != text(old, &["spec", "externalID"]) {
            out.push(FieldError::forbidden(
                SPEC.child("externalID"),
                "may not be updated",
            ));
        }
        out
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&["spec.unschedulable"])
    }

    fn selectable(&self, object: &Tree, _field: &str) -> String {
        flag(object, &["spec", "unschedulable"]).to_string()
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }
}

fn whole(object: &Tree, out: &mut Faults) {
    annotations(object, out);
    taints(object, out);
    resources(object, out);
    ranges(object, out);
}

/// Validates the pod CIDRs: at most one of each family.
fn ranges(object: &Tree, out: &mut Faults) {
    let path = SPEC.child("podCIDRs");
    let all: Vec<&str> = list(object, &["spec", "podCIDRs"])
        .iter()
        .filter_map(Tree::as_str)
        .collect();
    for (index, range) in all.iter().enumerate() {
        if !is_range(range) {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            out.push(invalid_text(path.index(index), range, detail));
        }
    }
    let is_mixed = matches!(all[..], [one, other] if one.contains(':') != other.contains(':'));
    if all.len() > 1 && !is_mixed {
        let shown = at(object, &["spec", "podCIDRs"]);
        out.push(FieldError::invalid(
            path,
            shown,
            "may specify no more than one CIDR for each IP family",
        ));
    }
    let mut seen = BTreeSet::new();
    for (index, range) in all.iter().enumerate() {
        if !seen.insert(range) {
            out.push(FieldError::duplicate(
                path.index(index),
                &Tree::from(*range),
            ));
        }
    }
}

/// Synchronizes `podCIDR` and `podCIDRs`, whichever of them the client set.
fn agree_on_ranges(object: &mut Tree) {
    let single = text(object, &["spec", "podCIDR"]).to_owned();
    let first = list(object, &["spec", "podCIDRs"])
        .first()
        .and_then(Tree::as_str)
        .unwrap_or_default()
        .to_owned();
    if single.is_empty() && !first.is_empty() {
        put(object, &["spec", "podCIDR"], first);
    } else if !single.is_empty() && single != first {
        put(object, &["spec", "podCIDRs"], vec![single]);
    }
}

/// Returns `true` for a valid CIDR such as `10.0.0.0/24`.
pub(crate) fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let limit = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= limit) && !length.starts_with('+')
}

/// Validates the legacy scheduling annotation, whose value must be valid JSON.
fn annotations(object: &Tree, out: &mut Faults) {
    const AVOID: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";
    let path = METADATA.child("annotations");
    if let Some(value) = at(object, &["metadata", "annotations"])
        .get(AVOID)
        .and_then(Tree::as_str)
        && serde_json::from_str::<Tree>(value).is_err()
    {
        out.push(invalid_text(path.key(AVOID), value, "must be valid JSON"));
    }
}

/// Validates taints. Upstream reports them below `metadata`, although they are in the spec.
fn taints(object: &Tree, out: &mut Faults) {
    let path = METADATA.child("taints");
    let mut seen = BTreeSet::new();
    for (index, taint) in list(object, &["spec", "taints"]).iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (
            text(taint, &["key"]),
            text(taint, &["value"]),
            text(taint, &["effect"]),
        );
        out.extend(
            names::qualified_name(key)
                .into_iter()
                .map(|fault| invalid_text(path.child("key"), key, fault)),
        );
        let faults = names::label_value(value);
        if !faults.is_empty() {
            out.push(invalid_text(path.child("value"), value, faults.join(";")));
        }
        if effect.is_empty() {
            out.push(FieldError::required(path.child("effect"), ""));
        } else if !EFFECTS.contains(&effect) {
            out.push(FieldError::not_supported(
                path.child("effect"),
                &Tree::from(effect),
                &EFFECTS,
            ));
        }
        if !seen.insert((key, effect)) {
            let detail = "taints must be unique by key and effect pair";
            out.push(FieldError {
                body: format!(
                    "Duplicate value: {{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":null}}: {detail}",
                    Tree::from(key),
                    Tree::from(value),
                    Tree::from(effect)
                ),
                ..FieldError::duplicate(path, taint)
            });
        }
    }
}

fn resources(object: &Tree, out: &mut Faults) {
    for kind in ["capacity", "allocatable"] {
        let path = STATUS.child(kind);
        for (name, amount) in entries(object, &["status", kind]) {
            podspec::quantity_faults(name, amount, &path.child(name), out);
        }
    }
}

fn addresses(object: &Tree, out: &mut Faults) {
    let path = STATUS.child("addresses");
    let mut seen = HashSet::new();
    for (index, address) in list(object, &["status", "addresses"]).iter().enumerate() {
        if !seen.insert(address.to_string()) {
            out.push(FieldError::duplicate(path.index(index), address));
        }
    }
}
