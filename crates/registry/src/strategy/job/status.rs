//! Validation of the status of a job.
//!
//! Rejects status that contradicts itself or the spec. Most rules apply only to fields that an
//! update changes, so that an invalid stored status never blocks later updates.

use std::collections::BTreeSet;

use kinds::{Tree, status::FieldError};

use super::policy::{count_indexes, intervals, invalid_whole, is_given};
use crate::strategy::checks::{Faults, nonnegative};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, int, is_empty, list, text};

const STATUS: Path<'static> = Path::root("status");

fn is_true(job: &Tree, condition: &str) -> bool {
    let holds =
        |found: &&Tree| text(found, &["type"]) == condition && text(found, &["status"]) == "True";
    list(job, &["status", "conditions"])
        .iter()
        .any(|found| holds(&found))
}

/// Conditions that determine the outcome of a job.
#[derive(PartialEq)]
struct Ends {
    complete: bool,
    failed: bool,
    failing: bool,
    succeeding: bool,
}

impl Ends {
    fn of(job: &Tree) -> Self {
        Self {
            complete: is_true(job, "Complete"),
            failed: is_true(job, "Failed"),
            failing: is_true(job, "FailureTarget"),
            succeeding: is_true(job, "SuccessCriteriaMet"),
        }
    }

    fn is_finished(&self) -> bool {
        self.complete || self.failed
    }
}

/// Validates a new status.
pub(super) fn faults(new: &Tree, old: &Tree, out: &mut Faults) {
    let status = at(new, &["status"]);
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        nonnegative(status, name, &STATUS, out);
    }
    uncounted(status, out);
    let (now, before) = (Ends::of(new), Ends::of(old));
    conditions(new, old, &now, &before, out);
    counts(new, old, &now, &before, out);
    indexes(new, old, out);
    let (ready, active) = (
        int(status, &["ready"]).unwrap_or_default(),
        int(status, &["active"]).unwrap_or_default(),
    );
    if changed(new, old, "ready") && ready > active {
        out.push(FieldError::invalid(
            STATUS.child("ready"),
            &Tree::from(ready),
            "cannot set more ready pods than active",
        ));
    }
    agreement(new, &now, out);
    history(new, old, &now, &before, out);
}

fn changed(new: &Tree, old: &Tree, field: &str) -> bool {
    let (now, before) = (at(new, &["status", field]), at(old, &["status", field]));
    now != before && !(is_empty(now) && is_empty(before))
}

/// Validates that each finished pod is counted only once.
fn uncounted(status: &Tree, out: &mut Faults) {
    let path = STATUS.child("uncountedTerminatedPods");
    let mut seen = BTreeSet::new();
    for kind in ["succeeded", "failed"] {
        let path = path.child(kind);
        for (index, uid) in list(status, &["uncountedTerminatedPods", kind])
            .iter()
            .enumerate()
        {
            let uid = uid.as_str().unwrap_or_default();
            if uid.is_empty() {
                out.push(invalid_text(path.index(index), uid, "must not be empty"));
            } else if !seen.insert(uid) {
                out.push(FieldError::duplicate(path.index(index), &Tree::from(uid)));
            }
        }
    }
}

fn conditions(new: &Tree, old: &Tree, now: &Ends, before: &Ends, out: &mut Faults) {
    let path = STATUS.child("conditions");
    let mut refuse = |is_wrong: bool, detail: &str| {
        if is_wrong {
            out.push(invalid_whole(path, detail));
        }
    };
    let completes = now.complete != before.complete;
    let fails = now.failed != before.failed;
    refuse(
        (completes || fails) && now.complete && now.failed,
        "cannot set Complete=True and Failed=true conditions",
    );
    refuse(
        (completes || now.failing != before.failing) && now.complete && now.failing,
        "cannot set Complete=True and FailureTarget=true conditions",
    );
    let (start, end) = (
        at(new, &["status", "startTime"]),
        at(new, &["status", "completionTime"]),
    );
    let ends = completes || changed(new, old, "completionTime");
    if ends && !end.is_null() && !now.complete {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        out.push(FieldError::invalid(
            STATUS.child("completionTime"),
            end,
            detail,
        ));
    }
    if ends && end.is_null() && now.complete {
        out.push(FieldError::required(
            STATUS.child("completionTime"),
            "completionTime is required for Complete jobs",
        ));
    }
    let moves = changed(new, old, "startTime") || changed(new, old, "completionTime");
    // Timestamps of this format sort lexicographically.
    if let (true, Some(start), Some(stop)) = (moves, start.as_str(), end.as_str())
        && stop < start
    {
        out.push(FieldError::invalid(
            STATUS.child("completionTime"),
            end,
            "completionTime cannot be set before startTime",
        ));
    }
    let mut refuse = |is_wrong: bool, detail: &str| {
        if is_wrong {
            out.push(invalid_whole(path, detail));
        }
    };
    refuse(
        (fails || now.failing != before.failing) && now.failed && !now.failing,
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    refuse(
        (completes || now.succeeding != before.succeeding) && now.complete && !now.succeeding,
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
}

fn counts(new: &Tree, old: &Tree, now: &Ends, before: &Ends, out: &mut Faults) {
    let status = at(new, &["status"]);
    let finishes = now.is_finished() != before.is_finished();
    let done = now.is_finished();
    if finishes && done && int(status, &["active"]).unwrap_or_default() > 0 {
        out.push(FieldError::invalid(
            STATUS.child("active"),
            at(status, &["active"]),
            "active>0 is invalid for finished job",
        ));
    }
    if (finishes || changed(new, old, "startTime")) && done && at(status, &["startTime"]).is_null()
    {
        out.push(FieldError::required(
            STATUS.child("startTime"),
            "startTime is required for finished job",
        ));
    }
    let left = at(status, &["uncountedTerminatedPods"]);
    let has_left = ["succeeded", "failed"]
        .iter()
        .any(|kind| !list(left, &[kind]).is_empty());
    if (finishes || changed(new, old, "uncountedTerminatedPods")) && done && has_left {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        out.push(FieldError::invalid(
            STATUS.child("uncountedTerminatedPods"),
            left,
            detail,
        ));
    }
    let stopping = at(status, &["terminating"]);
    if (finishes || changed(new, old, "terminating"))
        && done
        && stopping.as_i64().unwrap_or_default() > 0
    {
        out.push(FieldError::invalid(
            STATUS.child("terminating"),
            stopping,
            "terminating>0 is invalid for finished job",
        ));
    }
}

fn indexes(new: &Tree, old: &Tree, out: &mut Faults) {
    let (spec, status) = (at(new, &["spec"]), at(new, &["status"]));
    let (done, failed) = (
        text(status, &["completedIndexes"]),
        at(status, &["failedIndexes"]),
    );
    let (done_moves, failed_moves) = (
        changed(new, old, "completedIndexes"),
        changed(new, old, "failedIndexes"),
    );
    let completions = int(spec, &["completions"]);
    let is_per_index = !at(spec, &["backoffLimitPerIndex"]).is_null();
    if let (true, Some(completions)) = (done_moves, completions)
        && let Err(fault) = count_indexes(done, completions)
    {
        out.push(invalid_text(
            STATUS.child("completedIndexes"),
            done,
            format!("error parsing completedIndexes: {fault}"),
        ));
    }
    let failed_text = failed.as_str().unwrap_or_default();
    if let (true, true, Some(completions)) = (failed_moves, is_per_index, completions)
        && let Err(fault) = count_indexes(failed_text, completions)
    {
        out.push(invalid_text(
            STATUS.child("failedIndexes"),
            failed_text,
            format!("error parsing failedIndexes: {fault}"),
        ));
    }
    if done_moves && !done.is_empty() && text(spec, &["completionMode"]) != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        out.push(invalid_text(STATUS.child("completedIndexes"), done, detail));
    }
    if failed_moves && !is_per_index && !failed.is_null() {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        out.push(invalid_text(
            STATUS.child("failedIndexes"),
            failed_text,
            detail,
        ));
    }
    if (done_moves || failed_moves) && is_given(failed) {
        let limit = completions.unwrap_or_default();
        let both = (intervals(done, limit), intervals(failed_text, limit));
        if let (Ok(done), Ok(failed)) = both
            && let Some(index) = overlap(&done, &failed)
        {
            let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
            out.push(invalid_text(
                STATUS.child("failedIndexes"),
                failed_text,
                detail,
            ));
        }
    }
}

fn overlap(done: &[(i64, i64)], failed: &[(i64, i64)]) -> Option<i64> {
    let meet = |one: &(i64, i64), other: &(i64, i64)| {
        (one.0 <= other.1 && other.0 <= one.1).then(|| one.0.max(other.0))
    };
    done.iter()
        .find_map(|one| failed.iter().find_map(|other| meet(one, other)))
}

/// Validates that the conditions about the outcome agree with each other and with the policy.
fn agreement(new: &Tree, now: &Ends, out: &mut Faults) {
    let path = STATUS.child("conditions");
    let has_policy = at(new, &["spec", "successPolicy"]).is_object();
    for (is_wrong, detail) in [
        (
            now.succeeding && now.failed,
            "cannot set SuccessCriteriaMet=True and Failed=true conditions",
        ),
        (
            now.succeeding && now.failing,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
        (
            has_policy && !now.succeeding && now.complete,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ] {
        if is_wrong {
            out.push(invalid_whole(path, detail));
        }
    }
}

/// Validates that terminal conditions, counters and times do not revert.
fn history(new: &Tree, old: &Tree, now: &Ends, before: &Ends, out: &mut Faults) {
    let path = STATUS.child("conditions");
    for (kind, was, is) in [
        ("Failed", before.failed, now.failed),
        ("Complete", before.complete, now.complete),
        ("FailureTarget", before.failing, now.failing),
    ] {
        if was && !is {
            out.push(invalid_whole(
                path,
                &format!("cannot disable the terminal {kind}=True condition"),
            ));
        }
    }
    let is_elastic = text(new, &["spec", "completionMode"]) == "Indexed"
        && at(new, &["spec", "completions"]) != at(old, &["spec", "completions"]);
    for (name, may_fall) in [("failed", false), ("succeeded", is_elastic)] {
        let count = |job: &Tree| int(job, &["status", name]).unwrap_or_default();
        if !may_fall && count(new) < count(old) {
            let detail = format!("cannot decrease the {name} counter");
            out.push(FieldError::invalid(
                STATUS.child(name),
                &Tree::from(count(new)),
                detail,
            ));
        }
    }
    let (end, was) = (
        at(new, &["status", "completionTime"]),
        at(old, &["status", "completionTime"]),
    );
    if !end.is_null() && !was.is_null() && end != was {
        out.push(FieldError::invalid(
            STATUS.child("completionTime"),
            end,
            "completionTime cannot be mutated",
        ));
    }
    let is_suspended = at(new, &["spec", "suspend"]) == &Tree::Bool(true);
    if !at(old, &["status", "startTime"]).is_null()
        && changed(new, old, "startTime")
        && !is_suspended
    {
        out.push(FieldError::required(
            STATUS.child("startTime"),
            "startTime cannot be removed for unsuspended job",
        ));
    }
    if before.succeeding && !now.succeeding {
        out.push(invalid_whole(
            path,
            "cannot disable the SuccessCriteriaMet=True condition",
        ));
    }
    if before.complete && !before.succeeding && now.succeeding {
        out.push(invalid_whole(
            path,
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        ));
    }
}
