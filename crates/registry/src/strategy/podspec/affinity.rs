//! Validation of scheduling constraints: affinities, node selectors, topology spread and
//! tolerations.
//!
//! Required terms filter nodes. Preferred terms carry a weight from 1 to 100.

use std::collections::{BTreeSet, HashMap};

use kinds::{Tree, status::FieldError};

use crate::strategy::checks::{Faults, one_of};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::strategy::selector;
use crate::tree::{at, entries, int, list, text};
use kinds::names;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Validates an affinity.
pub(super) fn affinity(affinity: &Tree, path: &Path<'_>, out: &mut Faults) {
    let node = at(affinity, &["nodeAffinity"]);
    let at_node = path.child("nodeAffinity");
    if at(node, &[REQUIRED]).is_object() {
        node_selector_faults(at(node, &[REQUIRED]), &at_node.child(REQUIRED), out);
    }
    let preferred = at_node.child(PREFERRED);
    for (index, term) in list(node, &[PREFERRED]).iter().enumerate() {
        let path = preferred.index(index);
        weight(term, &path, out);
        node_selector_term(
            at(term, &["preference"]),
            false,
            &path.child("preference"),
            out,
        );
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        let rules = at(affinity, &[kind]);
        let required = path.child(REQUIRED);
        for (index, term) in list(rules, &[REQUIRED]).iter().enumerate() {
            pod_affinity_term(term, &required.index(index), out);
        }
        let preferred = path.child(PREFERRED);
        for (index, term) in list(rules, &[PREFERRED]).iter().enumerate() {
            let path = preferred.index(index);
            weight(term, &path, out);
            pod_affinity_term(
                at(term, &["podAffinityTerm"]),
                &path.child("podAffinityTerm"),
                out,
            );
        }
    }
}

fn weight(term: &Tree, path: &Path<'_>, out: &mut Faults) {
    let weight = int(term, &["weight"]).unwrap_or_default();
    if !(1..=100).contains(&weight) {
        out.push(FieldError::invalid(
            path.child("weight"),
            &Tree::from(weight),
            "must be in the range 1-100",
        ));
    }
}

fn label_name(name: &str, path: &Path<'_>, out: &mut Faults) {
    out.extend(
        names::qualified_name(name)
            .into_iter()
            .map(|fault| invalid_text(path, name, fault)),
    );
}

fn pod_affinity_term(term: &Tree, path: &Path<'_>, out: &mut Faults) {
    selector::faults(
        at(term, &["labelSelector"]),
        &path.child("labelSelector"),
        false,
        out,
    );
    selector::faults(
        at(term, &["namespaceSelector"]),
        &path.child("namespaceSelector"),
        false,
        out,
    );
    for namespace in list(term, &["namespaces"]).iter().filter_map(Tree::as_str) {
        out.extend(
            names::dns_label(namespace)
                .into_iter()
                .map(|fault| invalid_text(path.child("namespace"), namespace, fault)),
        );
    }
    matched_keys(term, path, out);
    let key = text(term, &["topologyKey"]);
    if key.is_empty() {
        out.push(FieldError::required(
            path.child("topologyKey"),
            "can not be empty",
        ));
    }
    label_name(key, &path.child("topologyKey"), out);
}

/// Validates `matchLabelKeys` and `mismatchLabelKeys`, which take their values from the pod's
/// labels.
fn matched_keys(term: &Tree, path: &Path<'_>, out: &mut Faults) {
    let wanted = at(term, &["labelSelector"]);
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = list(term, &[field]);
        let path = path.child(field);
        if !keys.is_empty() && wanted.is_null() {
            out.push(FieldError::forbidden(
                path,
                "must not be specified when labelSelector is not set",
            ));
        } else {
            for (index, key) in keys.iter().filter_map(Tree::as_str).enumerate() {
                label_name(key, &path.index(index), out);
            }
        }
    }
    let others: BTreeSet<&str> = list(term, &["mismatchLabelKeys"])
        .iter()
        .filter_map(Tree::as_str)
        .collect();
    let keys = path.child("matchLabelKeys");
    for (index, key) in list(term, &["matchLabelKeys"])
        .iter()
        .filter_map(Tree::as_str)
        .enumerate()
    {
        if others.contains(key) {
            out.push(invalid_text(
                keys.index(index),
                key,
                "exists in both matchLabelKeys and mismatchLabelKeys",
            ));
        }
    }
}

/// Validates a node selector.
fn node_selector_faults(selector: &Tree, path: &Path<'_>, out: &mut Faults) {
    let terms = list(selector, &["nodeSelectorTerms"]);
    let path = path.child("nodeSelectorTerms");
    if terms.is_empty() {
        out.push(FieldError::required(
            path,
            "must have at least one node selector term",
        ));
    }
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(term, true, &path.index(index), out);
    }
}

fn node_selector_term(term: &Tree, judges_values: bool, path: &Path<'_>, out: &mut Faults) {
    let expressions = path.child("matchExpressions");
    for (index, expression) in list(term, &["matchExpressions"]).iter().enumerate() {
        node_requirement(expression, judges_values, &expressions.index(index), out);
    }
    let fields = path.child("matchFields");
    for (index, expression) in list(term, &["matchFields"]).iter().enumerate() {
        node_field(expression, &fields.index(index), out);
    }
}

fn node_field(expression: &Tree, path: &Path<'_>, out: &mut Faults) {
    let values = list(expression, &["values"]);
    match text(expression, &["operator"]) {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let detail =
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            out.push(FieldError::required(path.child("values"), detail));
        }
        other => out.push(invalid_text(
            path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    let key = text(expression, &["key"]);
    if key != "metadata.name" {
        out.push(invalid_text(
            path.child("key"),
            key,
            "not a valid field selector key",
        ));
        return;
    }
    let at_values = path.child("values");
    for (index, value) in values.iter().filter_map(Tree::as_str).enumerate() {
        out.extend(
            names::dns_subdomain(value)
                .into_iter()
                .map(|fault| invalid_text(at_values.index(index), value, fault)),
        );
    }
}

fn node_requirement(expression: &Tree, judges_values: bool, path: &Path<'_>, out: &mut Faults) {
    let values = list(expression, &["values"]);
    match text(expression, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            out.push(FieldError::required(
                path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            out.push(FieldError::forbidden(path.child("values"), detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            out.push(FieldError::required(
                path.child("values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            ));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => out.push(invalid_text(
            path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    label_name(text(expression, &["key"]), &path.child("key"), out);
    if judges_values {
        let at_values = path.child("values");
        for (index, value) in values.iter().filter_map(Tree::as_str).enumerate() {
            out.extend(
                names::label_value(value)
                    .into_iter()
                    .map(|fault| invalid_text(at_values.index(index), value, fault)),
            );
        }
    }
}

/// Validates topology spread constraints.
pub(super) fn spread(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let constraints = list(spec, &["topologySpreadConstraints"]);
    let mut rest: HashMap<(&str, &str), usize> = HashMap::new();
    for constraint in constraints {
        *rest.entry(spread_identity(constraint)).or_default() += 1;
    }
    for (index, constraint) in constraints.iter().enumerate() {
        // A duplicate is reported at the first of both.
        let same = rest.entry(spread_identity(constraint)).or_default();
        *same -= 1;
        let is_repeated = *same > 0;
        spread_constraint(constraint, is_repeated, &path.index(index), out);
    }
}

fn spread_identity(constraint: &Tree) -> (&str, &str) {
    (
        text(constraint, &["topologyKey"]),
        text(constraint, &["whenUnsatisfiable"]),
    )
}

fn spread_constraint(constraint: &Tree, is_repeated: bool, path: &Path<'_>, out: &mut Faults) {
    let skew = int(constraint, &["maxSkew"]).unwrap_or_default();
    if skew <= 0 {
        out.push(FieldError::invalid(
            path.child("maxSkew"),
            &Tree::from(skew),
            "must be greater than zero",
        ));
    }
    let (key, action) = spread_identity(constraint);
    if key.is_empty() {
        out.push(FieldError::required(
            path.child("topologyKey"),
            "can not be empty",
        ));
    }
    one_of(
        constraint,
        "whenUnsatisfiable",
        &["DoNotSchedule", "ScheduleAnyway"],
        path,
        out,
    );
    if is_repeated {
        let pair = Tree::from(format!("{{{key}, {action}}}"));
        out.push(FieldError::duplicate(
            path.child("{topologyKey, whenUnsatisfiable}"),
            &pair,
        ));
    }
    let domains = at(constraint, &["minDomains"]);
    if let Some(number) = domains.as_i64() {
        if number <= 0 {
            out.push(FieldError::invalid(
                path.child("minDomains"),
                domains,
                "must be greater than zero",
            ));
        }
        if action != "DoNotSchedule" {
            let detail =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            out.push(FieldError::invalid(
                path.child("minDomains"),
                domains,
                detail,
            ));
        }
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        if !at(constraint, &[field]).is_null() {
            one_of(constraint, field, &["Honor", "Ignore"], path, out);
        }
    }
    spread_keys(constraint, &path.child("matchLabelKeys"), out);
    selector::faults(
        at(constraint, &["labelSelector"]),
        &path.child("labelSelector"),
        false,
        out,
    );
}

fn spread_keys(constraint: &Tree, path: &Path<'_>, out: &mut Faults) {
    let keys = list(constraint, &["matchLabelKeys"]);
    if keys.is_empty() {
        return;
    }
    let wanted = at(constraint, &["labelSelector"]);
    if wanted.is_null() {
        out.push(FieldError::forbidden(
            path,
            "must not be specified when labelSelector is not set",
        ));
    }
    let mut selected: BTreeSet<&str> = entries(wanted, &["matchLabels"])
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    selected.extend(
        list(wanted, &["matchExpressions"])
            .iter()
            .map(|expression| text(expression, &["key"])),
    );
    for (index, key) in keys.iter().filter_map(Tree::as_str).enumerate() {
        label_name(key, &path.index(index), out);
        if selected.contains(key) {
            out.push(invalid_text(
                path.index(index),
                key,
                "exists in both matchLabelKeys and labelSelector",
            ));
        }
    }
}

/// Validates tolerations.
pub(crate) fn toleration_faults(tolerations: &[Tree], path: &Path<'_>, out: &mut Faults) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator, value) = (
            text(toleration, &["key"]),
            text(toleration, &["operator"]),
            text(toleration, &["value"]),
        );
        let effect = text(toleration, &["effect"]);
        if !key.is_empty() {
            label_name(key, &path.child("key"), out);
        }
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            out.push(invalid_text(path.child("operator"), operator, detail));
        }
        if int(toleration, &["tolerationSeconds"]).is_some() && effect != "NoExecute" {
            out.push(invalid_text(
                path.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        match operator {
            "Equal" | "" => {
                let faults = names::label_value(value);
                if !faults.is_empty() {
                    out.push(invalid_text(
                        path.child("operator"),
                        value,
                        faults.join(";"),
                    ));
                }
            }
            "Exists" if !value.is_empty() => {
                out.push(invalid_text(
                    path.child("operator"),
                    value,
                    "value must be empty when `operator` is 'Exists'",
                ));
            }
            "Exists" => {}
            other => out.push(FieldError::not_supported(
                path.child("operator"),
                &Tree::from(other),
                &["Equal", "Exists"],
            )),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            out.push(FieldError::not_supported(
                path.child("effect"),
                &Tree::from(effect),
                &EFFECTS,
            ));
        }
    }
}
