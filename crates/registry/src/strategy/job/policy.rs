//! Validation of a job's policies: which pod failures count, which successes suffice, and when a
//! failed pod is replaced.
//!
//! Messages print rules with the field names of upstream's Go structs, not those of the API.

use std::collections::BTreeSet;

use kinds::{Tree, names, status::FieldError, status::FieldFault};

use crate::strategy::checks::{Faults, nonnegative, too_many};
use crate::strategy::meta::{invalid_shown, invalid_text};
use crate::strategy::path::Path;
use crate::tree::{at, int, is_empty, list, text};

const RULES_LIMIT: usize = 20;
const EXIT_CODES_LIMIT: usize = 255;
const CONDITIONS_LIMIT: usize = 20;
const INDEXES_LIMIT: usize = 64 * 1024;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Returns an `Invalid` fault that prints no value.
pub(super) fn invalid_whole(path: impl Into<String>, detail: &str) -> FieldError {
    FieldError {
        fault: FieldFault::Invalid,
        field: path.into(),
        body: format!("Invalid value: {detail}"),
    }
}

/// Validates a required string with a fixed set of values. The fault of a missing one lists them in
/// brackets.
fn word(value: &str, known: &[&str], path: &Path<'_>, out: &mut Faults) {
    if value.is_empty() {
        let list: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        out.push(FieldError::required(
            path,
            &format!("valid values: [{}]", list.join(" ")),
        ));
    } else if !known.contains(&value) {
        out.push(FieldError::not_supported(path, &Tree::from(value), known));
    }
}

/// Validates the pod failure policy.
pub(super) fn failure(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let policy = at(spec, &["podFailurePolicy"]);
    if !policy.is_object() {
        return;
    }
    let path = path.child("rules");
    let rules = list(policy, &["rules"]);
    if rules.len() > RULES_LIMIT {
        out.push(too_many(&path, rules.len(), RULES_LIMIT));
    }
    let containers: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|kind| list(spec, &["template", "spec", kind]))
        .map(|container| text(container, &["name"]))
        .collect();
    for (index, rule) in rules.iter().enumerate() {
        failure_rule(rule, spec, &containers, &path.index(index), out);
    }
}

fn failure_rule(
    rule: &Tree,
    spec: &Tree,
    containers: &BTreeSet<&str>,
    path: &Path<'_>,
    out: &mut Faults,
) {
    let action = text(rule, &["action"]);
    if action == "FailIndex" {
        if at(spec, &["backoffLimitPerIndex"]).is_null() {
            out.push(invalid_text(
                path.child("action"),
                action,
                "requires the backoffLimitPerIndex to be set",
            ));
        }
    } else {
        word(action, &ACTIONS, &path.child("action"), out);
    }
    let (codes, conditions) = (at(rule, &["onExitCodes"]), list(rule, &["onPodConditions"]));
    if codes.is_object() {
        exit_codes(codes, containers, &path.child("onExitCodes"), out);
    }
    let at_conditions = path.child("onPodConditions");
    if conditions.len() > CONDITIONS_LIMIT {
        out.push(too_many(&at_conditions, conditions.len(), CONDITIONS_LIMIT));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let path = at_conditions.index(index);
        let kind = text(condition, &["type"]);
        out.extend(
            names::qualified_name(kind)
                .into_iter()
                .map(|fault| invalid_text(path.child("type"), kind, fault)),
        );
        word(
            text(condition, &["status"]),
            &STATUSES,
            &path.child("status"),
            out,
        );
    }
    match (codes.is_object(), conditions.is_empty()) {
        (true, false) => out.push(invalid_whole(
            path,
            "specifying both OnExitCodes and OnPodConditions is not supported",
        )),
        (false, true) => out.push(invalid_whole(
            path,
            "specifying one of OnExitCodes and OnPodConditions is required",
        )),
        _ => {}
    }
}

fn exit_codes(codes: &Tree, containers: &BTreeSet<&str>, path: &Path<'_>, out: &mut Faults) {
    let operator = text(codes, &["operator"]);
    word(operator, &OPERATORS, &path.child("operator"), out);
    if let Some(name) = at(codes, &["containerName"]).as_str()
        && !containers.contains(name)
    {
        let detail = "must be one of the container or initContainer names in the pod template";
        out.push(invalid_text(path.child("containerName"), name, detail));
    }
    let values = list(codes, &["values"]);
    let at_values = path.child("values");
    if values.is_empty() {
        out.push(FieldError::invalid(
            at_values,
            at(codes, &["values"]),
            "at least one value is required",
        ));
    } else if values.len() > EXIT_CODES_LIMIT {
        out.push(too_many(&at_values, values.len(), EXIT_CODES_LIMIT));
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let number = value.as_i64().unwrap_or_default();
        if operator == "In" && number == 0 {
            out.push(FieldError::invalid(
                at_values.index(index),
                value,
                "must not be 0 for the In operator",
            ));
        }
        if !seen.insert(number) {
            out.push(FieldError::duplicate(at_values.index(index), value));
        }
    }
    if !values.is_sorted_by_key(|value| value.as_i64().unwrap_or_default()) {
        out.push(FieldError::invalid(
            at_values,
            at(codes, &["values"]),
            "must be ordered",
        ));
    }
}

/// Validates the success policy, which completes a job before all of its indexes succeed.
pub(super) fn success(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let policy = at(spec, &["successPolicy"]);
    if !policy.is_object() {
        return;
    }
    let rules = list(policy, &["rules"]);
    if text(spec, &["completionMode"]) != "Indexed" {
        out.push(invalid_shown(
            path,
            &shown(rules),
            "requires indexed completion mode",
        ));
        return;
    }
    let path = path.child("rules");
    if rules.is_empty() {
        out.push(FieldError::required(
            path,
            "at least one rules must be specified when the successPolicy is specified",
        ));
    }
    if rules.len() > RULES_LIMIT {
        out.push(too_many(&path, rules.len(), RULES_LIMIT));
    }
    let completions = int(spec, &["completions"]).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &path.index(index), out);
    }
}

/// Renders a policy as errors show it: with the field names of upstream's Go structs.
fn shown(rules: &[Tree]) -> String {
    let rule = |rule: &Tree| {
        format!(
            "{{\"SucceededIndexes\":{},\"SucceededCount\":{}}}",
            at(rule, &["succeededIndexes"]),
            at(rule, &["succeededCount"])
        )
    };
    format!(
        "{{\"Rules\":[{}]}}",
        rules.iter().map(rule).collect::<Vec<_>>().join(",")
    )
}

fn success_rule(rule: &Tree, completions: i64, path: &Path<'_>, out: &mut Faults) {
    let (count, indexes) = (
        at(rule, &["succeededCount"]),
        at(rule, &["succeededIndexes"]).as_str(),
    );
    if count.is_null() && indexes.is_none() {
        out.push(FieldError::required(
            path,
            "at least one of succeededCount or succeededIndexes must be specified",
        ));
    }
    let mut total = 0;
    if let Some(indexes) = indexes {
        let path = path.child("succeededIndexes");
        if indexes.len() > INDEXES_LIMIT {
            out.push(FieldError::too_long(path, INDEXES_LIMIT));
        }
        match count_indexes(indexes, completions) {
            Ok(number) => total = number,
            Err(fault) => out.push(invalid_text(
                path,
                indexes,
                format!("error parsing succeededIndexes: {fault}"),
            )),
        }
    }
    nonnegative(rule, "succeededCount", path, out);
    let path = path.child("succeededCount");
    if count.as_i64().is_some_and(|count| count > completions) {
        let detail = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        out.push(FieldError::invalid(path, count, detail));
    }
    if indexes.is_some() && count.as_i64().is_some_and(|count| count > total) {
        let detail = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        out.push(FieldError::invalid(path, count, detail));
    }
}

/// Validates the pod replacement policy.
pub(super) fn replacement(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let value = at(spec, &["podReplacementPolicy"]);
    let supported: &[&str] = if at(spec, &["podFailurePolicy"]).is_object() {
        &["Failed"]
    } else {
        &["Failed", "TerminatingOrFailed"]
    };
    if value
        .as_str()
        .is_some_and(|policy| !supported.contains(&policy))
    {
        out.push(FieldError::not_supported(path, value, supported));
    }
}

/// Returns the number of indexes in a string such as `0,3-5`.
pub(super) fn count_indexes(indexes: &str, completions: i64) -> Result<i64, String> {
    Ok(intervals(indexes, completions)?
        .iter()
        .map(|(first, last)| last - first + 1)
        .sum())
}

/// Parses a string such as `0,3-5` into intervals, in ascending order and below `completions`.
pub(super) fn intervals(indexes: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut all: Vec<(i64, i64)> = Vec::new();
    for part in indexes.split(',').filter(|_| !indexes.is_empty()) {
        let (first, last) = interval(part, completions)?;
        if let Some((_, before)) = all.last().filter(|(_, before)| *before >= first) {
            return Err(format!(
                "non-increasing order, previous: {before}, current: {first}"
            ));
        }
        all.push((first, last));
    }
    Ok(all)
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let edges: Vec<&str> = part.split('-').collect();
    if edges.len() > 2 {
        let words = "violates the requirement that an index interval can have at most two parts separated by '-'";
        return Err(format!("the fragment {part:?} {words}"));
    }
    let edge = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!(
            "cannot convert string to integer for index: {text:?}"
        )),
        Ok(number) if number >= completions => Err(format!("too large index: {text:?}")),
        Ok(number) => Ok(number),
    };
    let first = edge(edges[0])?;
    let Some(last) = edges.get(1) else {
        return Ok((first, first));
    };
    let last = edge(last)?;
    if first >= last {
        return Err(format!(
            "non-increasing order, previous: {first}, current: {last}"
        ));
    }
    Ok((first, last))
}

/// Returns `true` if a string of indexes is set and not empty.
pub(super) fn is_given(value: &Tree) -> bool {
    !is_empty(value)
}
