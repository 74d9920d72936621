//! Defaults and validation of `LimitRange` and `ResourceQuota`.
//!
//! A limit range restricts the resources of one object, a quota those of a whole namespace. Missing
//! defaults of containers are derived from the maximum and the minimum.

use std::collections::BTreeSet;

use kinds::quantity::Quantity;
use kinds::{
    Tree,
    status::{FieldError, FieldErrors},
};

use super::checks::{Faults, quantity};
use super::meta::invalid_text;
use super::path::{Path, SPEC};
use super::{Strategy, StrategyContext, podspec};
use crate::tree::{at, ensure, entries, list, list_mut, text};

pub(crate) struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, object: &mut Tree) {
        for item in list_mut(object, &["spec", "limits"]) {
            if text(item, &["type"]) != "Container" {
                continue;
            }
            // The order matters: `default` falls back to `max`, and `defaultRequest` to `default`,
            // then `min`.
            for (from, to) in [
                ("max", "default"),
                ("default", "defaultRequest"),
                ("min", "defaultRequest"),
            ] {
                let values = at(item, &[from]).as_object().cloned().unwrap_or_default();
                if values.is_empty() {
                    continue;
                }
                let target = ensure(item, &[to]);
                for (name, value) in values {
                    target.entry(name).or_insert(value);
                }
            }
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let path = SPEC.child("limits");
        let mut seen = BTreeSet::new();
        for (index, item) in list(object, &["spec", "limits"]).iter().enumerate() {
            let path = path.index(index);
            let kind = text(item, &["type"]);
            limited_kind(kind, &path.child("type"), &mut out);
            if !seen.insert(kind) {
                out.push(FieldError::duplicate(path.child("type"), &Tree::from(kind)));
            }
            limits(item, kind, &path, &mut out);
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        self.validate_create(context, new)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn limited_kind(kind: &str, path: &Path<'_>, out: &mut Faults) {
    let faults = kinds::names::qualified_name(kind);
    if faults.is_empty()
        && !kind.contains('/')
        && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim")
    {
        out.push(invalid_text(
            path,
            kind,
            "must be a standard limit type or fully qualified",
        ));
    }
    out.extend(
        faults
            .into_iter()
            .map(|fault| invalid_text(path, kind, fault)),
    );
}

/// Validates the limits of one kind: resource names, and min <= default request <= default <= max.
fn limits(item: &Tree, kind: &str, path: &Path<'_>, out: &mut Faults) {
    const BOUNDS: [&str; 5] = [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ];
    for bound in BOUNDS {
        let path = path.child(bound);
        if kind == "Pod" && bound.starts_with("default") {
            if !crate::tree::is_empty(at(item, &[bound])) {
                out.push(FieldError::forbidden(
                    path,
                    "may not be specified when `type` is 'Pod'",
                ));
            }
            continue;
        }
        for (name, _) in entries(item, &[bound]) {
            podspec::resource_name(name, &path.key(name), out);
        }
    }
    if kind == "PersistentVolumeClaim"
        && at(item, &["min", "storage"]).is_null()
        && at(item, &["max", "storage"]).is_null()
    {
        out.push(FieldError::required(
            path.child("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        ));
    }
    let names: BTreeSet<&str> = BOUNDS
        .iter()
        .flat_map(|bound| entries(item, &[bound]))
        .map(|(name, _)| name)
        .collect();
    for name in names {
        let of = |bound: &str| at(item, &[bound, name]);
        let amount = |bound: &str| quantity(of(bound));
        for (small, large, words) in [
            ("min", "max", "min value"),
            ("defaultRequest", "max", "default request value"),
            ("default", "max", "default value"),
        ] {
            above(
                path.child(small).key(name).to_string(),
                of(small),
                of(large),
                words,
                "max value",
                out,
            );
        }
        for (small, words) in [("defaultRequest", "min value"), ("default", "min value")] {
            above(
                path.child(small).key(name).to_string(),
                of("min"),
                of(small),
                words,
                small_words(small),
                out,
            );
        }
        above(
            path.child("defaultRequest").key(name).to_string(),
            of("defaultRequest"),
            of("default"),
            "default request value",
            "default limit value",
            out,
        );
        let ratio = amount("maxLimitRequestRatio");
        if ratio.is_some_and(|ratio| ratio < Quantity::new(1, ratio.format())) {
            let shown = of("maxLimitRequestRatio").as_str().unwrap_or_default();
            let path = path.child("maxLimitRequestRatio");
            out.push(invalid_text(
                path.key(name),
                shown,
                format!("ratio {shown} is less than 1"),
            ));
        }
    }
}

fn small_words(bound: &str) -> &'static str {
    if bound == "default" {
        "default value"
    } else {
        "default request value"
    }
}

/// Adds a fault if `amount` exceeds `bound`.
fn above(
    path: String,
    amount: &Tree,
    bound: &Tree,
    words: &str,
    bound_words: &str,
    out: &mut Faults,
) {
    if let (Some(small), Some(large)) = (quantity(amount), quantity(bound))
        && small > large
    {
        let (small, large) = (
            amount.as_str().unwrap_or_default(),
            bound.as_str().unwrap_or_default(),
        );
        out.push(invalid_text(
            path,
            small,
            format!("{words} {small} is greater than {bound_words} {large}"),
        ));
    }
}

pub(crate) struct ResourceQuota;

const SCOPES: [&str; 6] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
];

impl Strategy for ResourceQuota {
    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        amounts(at(object, &["spec", "hard"]), &SPEC.child("hard"), &mut out);
        scopes(at(object, &["spec"]), &mut out);
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if context.subresource == "status" {
            for part in ["hard", "used"] {
                amounts(
                    at(new, &["status", part]),
                    &Path::root("status").child(part),
                    &mut out,
                );
            }
            return out;
        }
        out.extend(self.validate_create(context, new));
        let of = |quota: &Tree| -> BTreeSet<String> {
            list(quota, &["spec", "scopes"])
                .iter()
                .filter_map(Tree::as_str)
                .map(str::to_owned)
                .collect()
        };
        if of(new) != of(old) {
            out.push(FieldError::invalid(
                SPEC.child("scopes"),
                at(new, &["spec", "scopes"]),
                "field is immutable",
            ));
        }
        out
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn amounts(amounts: &Tree, path: &Path<'_>, out: &mut Faults) {
    for (name, amount) in entries(amounts, &[]) {
        let path = path.key(name);
        podspec::resource_name(name, &path, out);
        podspec::quantity_faults(name, amount, &path, out);
    }
}

fn scopes(spec: &Tree, out: &mut Faults) {
    let path = SPEC.child("scopes");
    let all: Vec<&str> = list(spec, &["scopes"])
        .iter()
        .filter_map(Tree::as_str)
        .collect();
    for scope in &all {
        if !SCOPES.contains(scope) {
            let scopes = at(spec, &["scopes"]);
            out.push_with(|| FieldError::invalid(path, scopes, "unsupported scope"));
        }
    }
    for pair in [
        ["BestEffort", "NotBestEffort"],
        ["Terminating", "NotTerminating"],
    ] {
        if pair.iter().all(|scope| all.contains(scope)) {
            out.push(FieldError::invalid(
                path,
                at(spec, &["scopes"]),
                "conflicting scopes",
            ));
        }
    }
}
