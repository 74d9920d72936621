//! `HorizontalPodAutoscaler`, in its stored form v2: defaults of metrics and behavior, and the
//! validation of target, metrics and policies.

use kinds::tree::json;
use kinds::{
    Tree, names,
    quantity::Quantity,
    status::{FieldError, FieldErrors},
};

use super::checks::{Faults, nonnegative, nonnegative_quantity, quantity};
use super::meta::invalid_text;
use super::path::{Path, SPEC};
use super::{Strategy, StrategyContext};
use crate::tree::{at, fill, int, list, put, text};

/// Longest period of a scaling policy, and longest stabilization window, in seconds.
const MAX_PERIOD_SECONDS: i64 = 1800;
const MAX_WINDOW_SECONDS: i64 = 3600;

pub(crate) struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Tree) {
        fill(object, &["spec", "minReplicas"], 1);
        if list(object, &["spec", "metrics"]).is_empty() {
            let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {
                "type": "Utilization", "averageUtilization": 80}}}]);
            put(object, &["spec", "metrics"], cpu);
        }
        if at(object, &["spec", "behavior"]).is_object() {
            let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15}]);
            let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
            fill(
                object,
                &["spec", "behavior", "scaleUp", "stabilizationWindowSeconds"],
                0,
            );
            for (direction, policies) in [("scaleUp", up), ("scaleDown", down)] {
                fill(
                    object,
                    &["spec", "behavior", direction, "selectPolicy"],
                    "Max",
                );
                let path = ["spec", "behavior", direction, "policies"];
                if at(object, &path).is_null() {
                    put(object, &path, policies);
                }
            }
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let spec = at(object, &["spec"]);
        let (least, most) = (
            int(spec, &["minReplicas"]).unwrap_or(1),
            int(spec, &["maxReplicas"]).unwrap_or_default(),
        );
        if least < 1 {
            invalid(
                &SPEC.child("minReplicas"),
                least,
                "must be greater than or equal to 1",
                &mut out,
            );
        }
        let path = SPEC.child("maxReplicas");
        if most < 1 {
            invalid(&path, most, "must be greater than 0", &mut out);
        }
        if most < least {
            let detail = "must be greater than or equal to `minReplicas`";
            invalid(&path, most, detail, &mut out);
        }
        let path = SPEC.child("scaleTargetRef");
        reference(at(spec, &["scaleTargetRef"]), &path, &mut out);
        let path = SPEC.child("metrics");
        for (index, metric) in list(spec, &["metrics"]).iter().enumerate() {
            metric_faults(metric, &path.index(index), &mut out);
        }
        let path = SPEC.child("behavior");
        for direction in ["scaleUp", "scaleDown"] {
            let rules = at(spec, &["behavior", direction]);
            if rules.is_object() {
                rules_faults(rules, &path.child(direction), &mut out);
            }
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        if context.subresource != "status" {
            return self.validate_create(context, new);
        }
        let mut out = FieldErrors::default();
        for count in ["currentReplicas", "desiredReplicas"] {
            nonnegative(at(new, &["status"]), count, &Path::root("status"), &mut out);
        }
        out
    }
}

fn invalid(path: &Path<'_>, value: i64, detail: &str, out: &mut Faults) {
    out.push(FieldError::invalid(path, &Tree::from(value), detail));
}

/// Validates a reference to an object by kind and name.
fn reference(target: &Tree, path: &Path<'_>, out: &mut Faults) {
    for field in ["kind", "name"] {
        let value = text(target, &[field]);
        let path = path.child(field);
        if value.is_empty() {
            out.push(FieldError::required(path, ""));
            continue;
        }
        out.extend(
            names::path_segment(value)
                .into_iter()
                .map(|fault| invalid_text(path, value, fault)),
        );
    }
}

/// The sources of metrics: type, member, and what of them is identified.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: [&str; 5] = [
    "ContainerResource",
    "External",
    "Object",
    "Pods",
    "Resource",
];

fn metric_faults(metric: &Tree, path: &Path<'_>, out: &mut Faults) {
    let kind = text(metric, &["type"]);
    let unsupported = |out: &mut Faults| {
        let shown = Tree::from(kind);
        out.push(FieldError::not_supported(
            path.child("type"),
            &shown,
            &TYPES,
        ));
    };
    if kind.is_empty() {
        let why = "must specify a metric source type";
        out.push(FieldError::required(path.child("type"), why));
    }
    if !TYPES.contains(&kind) {
        unsupported(out);
    }
    let present: Vec<&str> = SOURCES
        .iter()
        .map(|(_, member)| *member)
        .filter(|member| at(metric, &[member]).is_object())
        .collect();
    // Upstream validates the first source only.
    if let Some(first) = present.first() {
        source_faults(first, at(metric, &[first]), &path.child(first), out);
    }
    let expected = SOURCES.iter().find(|(known, _)| *known == kind);
    match expected {
        Some((_, member)) if !present.contains(member) => {
            let why = "must populate information for the given metric source";
            out.push(FieldError::required(path.child(member), why));
        }
        Some(_) => {}
        None => unsupported(out),
    }
    if present.len() != 1 {
        let others = present
            .iter()
            .filter(|member| expected.is_none_or(|(_, expected)| expected != *member));
        for other in others {
            let why = "must populate the given metric source only";
            out.push(FieldError::forbidden(path.child(other), why));
        }
    }
}

fn source_faults(member: &str, source: &Tree, path: &Path<'_>, out: &mut Faults) {
    let is_resource = matches!(member, "resource" | "containerResource");
    if member == "object" {
        reference(
            at(source, &["describedObject"]),
            &path.child("describedObject"),
            out,
        );
    }
    if is_resource {
        if text(source, &["name"]).is_empty() {
            let why = "must specify a resource name";
            out.push(FieldError::required(path.child("name"), why));
        }
        if member == "containerResource" && text(source, &["container"]).is_empty() {
            let why = "must specify a container";
            out.push(FieldError::required(path.child("container"), why));
        }
    } else {
        identifier(at(source, &["metric"]), &path.child("metric"), out);
    }
    let (target, path) = (at(source, &["target"]), path.child("target"));
    target_faults(target, &path, out);
    let has = |field: &str| !at(target, &[field]).is_null();
    let average = path.child("averageValue");
    match member {
        "object" if !has("value") && !has("averageValue") => {
            let why = "must set either a target value or averageValue";
            out.push(FieldError::required(average, why));
        }
        "external" if !has("value") && !has("averageValue") => {
            let why = "must set either a target value for metric or a per-pod target";
            out.push(FieldError::required(average, why));
        }
        "external" if has("value") && has("averageValue") => {
            let why = "may not set both a target value for metric and a per-pod target";
            out.push(FieldError::forbidden(path.child("value"), why));
        }
        "pods" if !is_positive(at(target, &["averageValue"])) => {
            let why = "must specify a positive target averageValue";
            out.push(FieldError::required(average, why));
        }
        _ if !is_resource => {}
        _ if !has("averageUtilization") && !has("averageValue") => {
            let why = "must set either a target raw value or a target utilization";
            out.push(FieldError::required(path.child("averageUtilization"), why));
        }
        _ if has("averageUtilization") && has("averageValue") => {
            let why = "may not set both a target raw value and a target utilization";
            out.push(FieldError::forbidden(average, why));
        }
        _ => {}
    }
}

fn identifier(metric: &Tree, path: &Path<'_>, out: &mut Faults) {
    let (name, path) = (text(metric, &["name"]), path.child("name"));
    if name.is_empty() {
        out.push(FieldError::required(path, "must specify a metric name"));
        return;
    }
    out.extend(
        names::path_segment(name)
            .into_iter()
            .map(|fault| invalid_text(path, name, fault)),
    );
}

fn target_faults(target: &Tree, path: &Path<'_>, out: &mut Faults) {
    let kind = text(target, &["type"]);
    if kind.is_empty() {
        let why = "must specify a metric target type";
        out.push(FieldError::required(path.child("type"), why));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        out.push(invalid_text(path.child("type"), kind, why));
    }
    for field in ["value", "averageValue"] {
        let value = at(target, &[field]);
        if !value.is_null() && !is_positive(value) {
            out.push(FieldError::invalid(
                path.child(field),
                value,
                "must be positive",
            ));
        }
    }
    if let Some(percent) = int(target, &["averageUtilization"]).filter(|percent| *percent < 1) {
        let path = path.child("averageUtilization");
        invalid(&path, percent, "must be greater than 0", out);
    }
}

fn is_positive(value: &Tree) -> bool {
    let positive = |amount: Quantity| !amount.is_zero() && !amount.is_negative();
    quantity(value).is_some_and(positive)
}

fn rules_faults(rules: &Tree, path: &Path<'_>, out: &mut Faults) {
    if let Some(seconds) = int(rules, &["stabilizationWindowSeconds"]) {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            let detail = "must be greater than or equal to zero";
            invalid(&path, seconds, detail, out);
        }
        if seconds > MAX_WINDOW_SECONDS {
            let detail = format!("must be less than or equal to {MAX_WINDOW_SECONDS}");
            invalid(&path, seconds, &detail, out);
        }
    }
    let policy = text(rules, &["selectPolicy"]);
    let known = ["Disabled", "Max", "Min"];
    if !policy.is_empty() && !known.contains(&policy) {
        let path = path.child("selectPolicy");
        out.push(FieldError::not_supported(path, &Tree::from(policy), &known));
    }
    let policies = path.child("policies");
    if list(rules, &["policies"]).is_empty() {
        let why = "must specify at least one Policy";
        out.push(FieldError::required(policies, why));
    }
    for (index, policy) in list(rules, &["policies"]).iter().enumerate() {
        let path = policies.index(index);
        let kind = text(policy, &["type"]);
        let known = ["Percent", "Pods"];
        if !known.contains(&kind) {
            let path = path.child("type");
            out.push(FieldError::not_supported(path, &Tree::from(kind), &known));
        }
        for field in ["value", "periodSeconds"] {
            let value = int(policy, &[field]).unwrap_or_default();
            if value <= 0 {
                invalid(&path.child(field), value, "must be greater than zero", out);
            }
            if field == "periodSeconds" && value > MAX_PERIOD_SECONDS {
                let detail = format!("must be less than or equal to {MAX_PERIOD_SECONDS}");
                invalid(&path.child(field), value, &detail, out);
            }
        }
    }
    let tolerance = at(rules, &["tolerance"]);
    nonnegative_quantity(tolerance, &path.child("tolerance"), out);
}
