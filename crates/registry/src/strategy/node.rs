//! `Node`: addresses of pods and the identity at its provider are given once; taints and cordons
//! come and go.

use std::collections::BTreeSet;

use kinds::{Tree, names, status::FieldError};

use super::checks::{Faults, nonnegative_quantity};
use super::meta::invalid_text;
use super::path::Path;
use super::{Context, Strategy, same};
use crate::tree::{at, carry, entries, fill, flag, list, put, take, text};

pub(crate) struct Node;

const METADATA: Path<'static> = Path::root("metadata");
const SPEC: Path<'static> = Path::root("spec");
const STATUS: Path<'static> = Path::root("status");

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

impl Strategy for Node {
    fn default(&self, object: &mut Tree) {
        // A node that only says what it has lets all of it be used.
        if at(object, &["status", "allocatable"]).is_null() {
            carry(&object.clone(), object, &["status", "capacity"]);
            let capacity = at(object, &["status", "capacity"]).clone();
            if !crate::tree::is_empty(&capacity) {
                put(object, &["status", "allocatable"], capacity);
            }
        }
        agree_on_ranges(object);
        if !flag(object, &["spec", "unschedulable"]) {
            // False and absent are the same, and absent is what is written.
            take(object, &["spec", "unschedulable"]);
        }
    }

    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Tree) {
        fill(object, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"], 0);
    }

    fn validate_create(&self, _context: &Context<'_>, object: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        annotations(object, &mut out);
        taints(object, &mut out);
        resources(object, &mut out);
        let ranges = SPEC.child("podCIDRs");
        for (index, range) in list(object, &["spec", "podCIDRs"]).iter().enumerate() {
            let range = range.as_str().unwrap_or_default();
            if !is_range(range) {
                let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                out.push(invalid_text(ranges.index(index), range, detail));
            }
        }
        if list(object, &["spec", "podCIDRs"]).len() > 2 {
            let shown = at(object, &["spec", "podCIDRs"]);
            out.push(FieldError::invalid(ranges, shown, "may specify no more than one CIDR for each IP family"));
        }
        out
    }

    fn validate_update(&self, _context: &Context<'_>, new: &Tree, old: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        annotations(new, &mut out);
        taints(new, &mut out);
        // Upstream judges the whole node and then its change: what is wrong with taints is said twice.
        taints(new, &mut out);
        resources(new, &mut out);
        addresses(new, &mut out);
        let (now, before) = (list(new, &["spec", "podCIDRs"]), list(old, &["spec", "podCIDRs"]));
        if !before.is_empty() && now != before {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            out.push(FieldError::forbidden(SPEC.child("podCIDRs"), detail));
        }
        let (now, before) = (text(new, &["spec", "providerID"]), text(old, &["spec", "providerID"]));
        if !before.is_empty() && now != before {
            let detail = "node updates may not change providerID except from \"\" to valid";
            out.push(FieldError::forbidden(SPEC.child("providerID"), detail));
        }
        other_fields(new, old, &mut out);
        out
    }

    fn fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn selectable(&self, object: &Tree, _field: &str) -> String {
        flag(object, &["spec", "unschedulable"]).to_string()
    }

    fn field_refusal(&self, field: &str) -> String {
        format!("field label not supported: {field}")
    }
}

/// The single range and the list of ranges say the same, whichever of them was written.
fn agree_on_ranges(object: &mut Tree) {
    let single = text(object, &["spec", "podCIDR"]).to_owned();
    let first = list(object, &["spec", "podCIDRs"]).first().and_then(Tree::as_str).unwrap_or_default().to_owned();
    if single.is_empty() && !first.is_empty() {
        put(object, &["spec", "podCIDR"], first);
    } else if !single.is_empty() && single != first {
        put(object, &["spec", "podCIDRs"], vec![single]);
    }
}

/// True for `10.0.0.0/24` and its like.
pub(crate) fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let limit = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= limit) && !length.starts_with('+')
}

/// Tolerations in an annotation are a leftover that must still parse.
fn annotations(object: &Tree, out: &mut Faults) {
    const AVOID: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";
    let path = METADATA.child("annotations");
    if let Some(value) = at(object, &["metadata", "annotations"]).get(AVOID).and_then(Tree::as_str)
        && serde_json::from_str::<Tree>(value).is_err()
    {
        out.push(invalid_text(path.key(AVOID), value, "must be valid JSON"));
    }
}

/// The path is the one that clients see, though the taints are in the specification.
fn taints(object: &Tree, out: &mut Faults) {
    let path = METADATA.child("taints");
    let mut seen = BTreeSet::new();
    for (index, taint) in list(object, &["spec", "taints"]).iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (text(taint, &["key"]), text(taint, &["value"]), text(taint, &["effect"]));
        out.extend(names::qualified_name(key).into_iter().map(|fault| invalid_text(path.child("key"), key, fault)));
        let faults = names::label_value(value);
        if !faults.is_empty() {
            out.push(invalid_text(path.child("value"), value, faults.join(";")));
        }
        if effect.is_empty() {
            out.push(FieldError::required(path.child("effect"), ""));
        } else if !EFFECTS.contains(&effect) {
            out.push(FieldError::not_supported(path.child("effect"), &Tree::from(effect), &EFFECTS));
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
            out.extend(names::qualified_name(name).into_iter().map(|fault| invalid_text(path, name, fault)));
            nonnegative_quantity(amount, &path.key(name), out);
        }
    }
}

fn addresses(object: &Tree, out: &mut Faults) {
    let path = STATUS.child("addresses");
    let mut seen: Vec<&Tree> = Vec::new();
    for (index, address) in list(object, &["status", "addresses"]).iter().enumerate() {
        if seen.contains(&address) {
            out.push(FieldError::duplicate(path.index(index), address));
        }
        seen.push(address);
    }
}

/// What is left of the specification may not change.
fn other_fields(new: &Tree, old: &Tree, out: &mut Faults) {
    let rest = |object: &Tree| {
        let mut spec = at(object, &["spec"]).clone();
        for field in ["podCIDR", "podCIDRs", "providerID", "unschedulable", "taints", "configSource"] {
            take(&mut spec, &[field]);
        }
        spec
    };
    let (now, before) = (rest(new), rest(old));
    if !same("io.k8s.api.core.v1.NodeSpec", &[], &now, &before) {
        let detail = "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)";
        out.push(FieldError::forbidden("", detail));
    }
}
