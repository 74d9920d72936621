//! Defaults and validation of `Job` and `CronJob`.
//!
//! The API server generates the selector and the labels of a job unless `manualSelector` is set.
//! Most of the spec is immutable, but a suspended job accepts new scheduling directives in its
//! template.
//!
//! Read next: [`policy`] for the rules about failed and succeeded pods, [`status`] for what a
//! controller may write.

mod policy;
mod status;

use kinds::schedule::{self, Schedule};
use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::{Faults, nonnegative, required_one_of};
use super::meta::{invalid_shown, invalid_text};
use super::path::{Path, SPEC};
use super::{DefaultPropagation, FieldNames, Strategy, StrategyContext, podspec, same, selector};
use crate::tree::{at, carry, ensure, fill, flag, int, is_empty, list, list_mut, put, take, text};

pub(crate) struct Job;

/// Labels with the UID of the job that owns a pod: the unprefixed legacy key and the current one.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

const JOB_SPEC: &str = "io.k8s.api.batch.v1.JobSpec";

/// Immutable fields of the spec. Completions, selector and template have rules of their own.
const IMMUTABLE: [&str; 5] = [
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
];

/// Pod template fields that may change while the job is suspended.
const SCHEDULING: [&str; 3] = ["nodeSelector", "tolerations", "schedulingGates"];

/// Limits of indexed jobs. The status stores their completed and failed indexes in one string.
const INDEXED_PARALLELISM_LIMIT: i64 = 100_000;
const FAILED_INDEXES_LIMIT: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
const LIMIT_FOR_MANY_COMPLETIONS: i64 = 10_000;
const MANAGED_BY_LIMIT: usize = 63;

impl Strategy for Job {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        labels_of_template(object);
        if at(object, &["spec", "completions"]).is_null()
            && at(object, &["spec", "parallelism"]).is_null()
        {
            put(object, &["spec", "completions"], 1);
        }
        job_spec_defaults(&mut object["spec"]);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        if !flag(object, &["spec", "manualSelector"]) {
            generate_selector(object);
        }
        // Upstream applies defaults again when it decodes the stored object.
        labels_of_template(object);
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let spec = at(object, &["spec"]);
        generated_selector(object, &mut out);
        job_spec(spec, &SPEC, &mut out);
        selector_faults(spec, &mut out);
        let completions = int(spec, &["completions"]).unwrap_or_default();
        if text(spec, &["completionMode"]) == "Indexed" && completions > 0 {
            let name = text(object, &["metadata", "name"]);
            let host = format!("{name}-{}", completions - 1);
            if !names::dns_label(&host).is_empty() {
                let detail = format!("will not able to create pod with invalid DNS label: {host}");
                out.push(invalid_text("metadata.name", name, detail));
            }
        }
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
            status::faults(new, old, &mut out);
        } else {
            job_spec(at(new, &["spec"]), &SPEC, &mut out);
            selector_faults(at(new, &["spec"]), &mut out);
            job_change(at(new, &["spec"]), at(old, &["spec"]), &mut out);
        }
        out
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&["status.successful"])
    }

    fn selectable(&self, object: &Tree, _field: &str) -> String {
        int(object, &["status", "succeeded"])
            .unwrap_or_default()
            .to_string()
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label {field:?} not supported for Job"))
    }

    fn default_propagation(&self) -> DefaultPropagation {
        DefaultPropagation::Orphan
    }
}

/// Copies the labels of the pod template to a job that has no labels.
fn labels_of_template(object: &mut Tree) {
    let labels = at(object, &["spec", "template", "metadata", "labels"]).clone();
    if !is_empty(&labels) && is_empty(at(object, &["metadata", "labels"])) {
        put(object, &["metadata", "labels"], labels);
    }
}

fn job_spec_defaults(spec: &mut Tree) {
    fill(spec, &["parallelism"], 1);
    let is_per_index = !at(spec, &["backoffLimitPerIndex"]).is_null();
    fill(
        spec,
        &["backoffLimit"],
        if is_per_index { i64::from(i32::MAX) } else { 6 },
    );
    fill(spec, &["completionMode"], "NonIndexed");
    fill(spec, &["suspend"], false);
    let replacement = if at(spec, &["podFailurePolicy"]).is_object() {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    fill(spec, &["podReplacementPolicy"], replacement);
    fill(spec, &["manualSelector"], false);
    for rule in list_mut(spec, &["podFailurePolicy", "rules"]) {
        for condition in list_mut(rule, &["onPodConditions"]) {
            fill(condition, &["status"], "True");
        }
    }
    ensure(spec, &["template"]);
    podspec::template_defaults(&mut spec["template"]);
}

/// Generates the selector and the labels that tie pods to this job. Values from the client are
/// kept, and validation rejects those that differ from the generated ones.
fn generate_selector(object: &mut Tree) {
    let uid = text(object, &["metadata", "uid"]).to_owned();
    let name = text(object, &["metadata", "name"]).to_owned();
    let labels = ensure(object, &["spec", "template", "metadata", "labels"]);
    for (keys, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
        for key in keys {
            labels
                .entry(key)
                .or_insert_with(|| Tree::from(value.as_str()));
        }
    }
    ensure(object, &["spec", "selector", "matchLabels"])
        .entry(UID_LABELS[1])
        .or_insert_with(|| Tree::from(uid));
}

/// Validates that client-supplied labels and selectors equal the generated ones.
fn generated_selector(object: &Tree, out: &mut Faults) {
    let (spec, meta) = (at(object, &["spec"]), at(object, &["metadata"]));
    if flag(spec, &["manualSelector"]) || at(spec, &["selector"]).is_null() {
        return;
    }
    let (uid, name) = (text(meta, &["uid"]), text(meta, &["name"]));
    let labels = at(spec, &["template", "metadata", "labels"]);
    let path = Path::root("spec.template.metadata.labels");
    let mut expected = kinds::tree::Map::new();
    for (key, value) in [
        (UID_LABELS[0], uid),
        (NAME_LABELS[0], name),
        (UID_LABELS[1], uid),
        (NAME_LABELS[1], name),
    ] {
        if labels.get(key).and_then(Tree::as_str) != Some(value) {
            out.push(FieldError::invalid(
                path.key(key),
                labels,
                format!("must be '{value}'"),
            ));
        }
        expected.insert(key.to_owned(), value.into());
    }
    if selector::is_sound(at(spec, &["selector"]))
        && !selector::matches(at(spec, &["selector"]), &Tree::Object(expected))
    {
        let shown = selector::shown(at(spec, &["selector"]));
        out.push(invalid_shown(
            SPEC.child("selector"),
            &shown,
            "`selector` not auto-generated",
        ));
    }
}

fn selector_faults(spec: &Tree, out: &mut Faults) {
    let wanted = at(spec, &["selector"]);
    if wanted.is_null() {
        out.push(FieldError::required(SPEC.child("selector"), ""));
    }
    selector::faults(wanted, &SPEC.child("selector"), false, out);
    let labels = at(spec, &["template", "metadata", "labels"]);
    if selector::is_sound(wanted) && !selector::matches(wanted, labels) {
        out.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        ));
    }
}

fn job_spec(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    const COUNTS: [&str; 7] = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for field in COUNTS {
        nonnegative(spec, field, path, out);
    }
    if !at(spec, &["maxFailedIndexes"]).is_null() && at(spec, &["backoffLimitPerIndex"]).is_null() {
        out.push(FieldError::required(
            path.child("backoffLimitPerIndex"),
            "when maxFailedIndexes is specified",
        ));
    }
    managed_by(spec, &path.child("managedBy"), out);
    completion_mode(spec, path, out);
    policy::failure(spec, &path.child("podFailurePolicy"), out);
    policy::success(spec, &path.child("successPolicy"), out);
    policy::replacement(spec, &path.child("podReplacementPolicy"), out);
    let at_template = path.child("template");
    podspec::template_faults(at(spec, &["template"]), &[], &at_template, out);
    restart_policy(spec, &at_template.child("spec"), out);
}

fn managed_by(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let Some(manager) = at(spec, &["managedBy"]).as_str() else {
        return;
    };
    match manager.split_once('/') {
        _ if manager.is_empty() => out.push(FieldError::required(path, "")),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            out.extend(
                names::dns_subdomain(domain)
                    .into_iter()
                    .map(|fault| invalid_text(path, domain, fault)),
            );
        }
        _ => out.push(invalid_text(
            path,
            manager,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        )),
    }
    if manager.len() > MANAGED_BY_LIMIT {
        out.push(FieldError::too_long(path, MANAGED_BY_LIMIT));
    }
}

fn completion_mode(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let mode = text(spec, &["completionMode"]);
    if !matches!(mode, "NonIndexed" | "Indexed") && !at(spec, &["completionMode"]).is_null() {
        out.push(FieldError::not_supported(
            path.child("completionMode"),
            &Tree::from(mode),
            &["NonIndexed", "Indexed"],
        ));
    }
    if mode == "Indexed" {
        indexed(spec, path, out);
        return;
    }
    if matches!(mode, "" | "NonIndexed") {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if !at(spec, &[field]).is_null() {
                out.push(FieldError::invalid(
                    path.child(field),
                    at(spec, &[field]),
                    "requires indexed completion mode",
                ));
            }
        }
    }
}

fn indexed(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let field_value = |field: &str| int(spec, &[field]);
    let at_most = |field: &str, limit: i64, words: &str, out: &mut Faults| {
        if let Some(number) = field_value(field).filter(|number| *number > limit) {
            let detail = format!("must be less than or equal to {limit}{words}");
            out.push(FieldError::invalid(
                path.child(field),
                &Tree::from(number),
                detail,
            ));
        }
    };
    let (completions, failed) = (field_value("completions"), field_value("maxFailedIndexes"));
    if completions.is_none() {
        out.push(FieldError::required(
            path.child("completions"),
            "when completion mode is Indexed",
        ));
    }
    at_most(
        "parallelism",
        INDEXED_PARALLELISM_LIMIT,
        " when completion mode is Indexed",
        out,
    );
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        let detail = "must be less than or equal to completions";
        out.push(FieldError::invalid(
            path.child("maxFailedIndexes"),
            &Tree::from(failed),
            detail,
        ));
    }
    at_most("maxFailedIndexes", FAILED_INDEXES_LIMIT, "", out);
    if completions.is_none_or(|completions| completions <= MANY_COMPLETIONS)
        || field_value("backoffLimitPerIndex").is_none()
    {
        return;
    }
    if failed.is_none() {
        let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        out.push(FieldError::required(
            path.child("maxFailedIndexes"),
            &detail,
        ));
    }
    let words = format!(
        " when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
    );
    at_most("parallelism", LIMIT_FOR_MANY_COMPLETIONS, &words, out);
    at_most("maxFailedIndexes", LIMIT_FOR_MANY_COMPLETIONS, &words, out);
}

fn restart_policy(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let policy = text(spec, &["template", "spec", "restartPolicy"]);
    let path = path.child("restartPolicy");
    match policy {
        // A template without a restart policy defaults to Always, which jobs do not support.
        "Always" | "" => out.push(FieldError::required(
            path,
            "valid values: \"OnFailure\", \"Never\"",
        )),
        "OnFailure" if at(spec, &["podFailurePolicy"]).is_object() => {
            out.push(invalid_text(
                path,
                policy,
                "only \"Never\" is supported when podFailurePolicy is specified",
            ));
        }
        "OnFailure" | "Never" => {}
        other => out.push(FieldError::not_supported(
            path,
            &Tree::from(other),
            &["OnFailure", "Never"],
        )),
    }
}

fn job_change(new: &Tree, old: &Tree, out: &mut Faults) {
    completions_change(new, old, out);
    if !selector::same(at(new, &["selector"]), at(old, &["selector"])) {
        let shown = selector::shown(at(new, &["selector"]));
        out.push(invalid_shown(
            SPEC.child("selector"),
            &shown,
            "field is immutable",
        ));
    }
    template_change(new, old, out);
    for field in IMMUTABLE {
        if !same(JOB_SPEC, &[field], new, old) {
            out.push(FieldError::invalid(
                SPEC.child(field),
                at(new, &[field]),
                "field is immutable",
            ));
        }
    }
}

/// Validates a change of completions, which indexed jobs may scale together with parallelism.
fn completions_change(new: &Tree, old: &Tree, out: &mut Faults) {
    let completions = at(new, &["completions"]);
    if completions == at(old, &["completions"]) {
        return;
    }
    if text(new, &["completionMode"]) != "Indexed" {
        out.push(FieldError::invalid(
            SPEC.child("completions"),
            completions,
            "field is immutable",
        ));
    } else if !completions.is_null() && completions != at(new, &["parallelism"]) {
        let detail = "can only be modified in tandem with spec.parallelism";
        out.push(FieldError::invalid(
            SPEC.child("completions"),
            completions,
            detail,
        ));
    }
}

fn template_change(new: &Tree, old: &Tree, out: &mut Faults) {
    let (now, before) = (at(new, &["template"]), at(old, &["template"]));
    if same(JOB_SPEC, &["template"], new, old) {
        return;
    }
    let template = SPEC.child("template");
    if !flag(old, &["suspend"]) {
        out.push(FieldError::invalid(template, now, "field is immutable"));
        return;
    }
    let mut undone = now.clone();
    for field in ["labels", "annotations"] {
        carry(before, &mut undone, &["metadata", field]);
    }
    for field in SCHEDULING {
        carry(before, &mut undone, &["spec", field]);
    }
    node_affinity_undone(before, &mut undone);
    for (container, was) in list_mut(&mut undone, &["spec", "containers"])
        .iter_mut()
        .zip(list(before, &["spec", "containers"]))
    {
        carry(was, container, &["resources"]);
    }
    if !same(
        "io.k8s.api.core.v1.PodTemplateSpec",
        &["spec"],
        &undone,
        before,
    ) {
        out.push(FieldError::invalid(
            template.child("spec"),
            at(now, &["spec"]),
            "field is immutable",
        ));
    }
}

/// Copies the node affinity from `before`, because it is the only part of an affinity that may
/// change.
fn node_affinity_undone(before: &Tree, undone: &mut Tree) {
    carry(before, undone, &["spec", "affinity", "nodeAffinity"]);
    if at(before, &["spec", "affinity"]).is_null() && is_empty(at(undone, &["spec", "affinity"])) {
        take(undone, &["spec", "affinity"]);
    }
}

pub(crate) struct CronJob;

/// Maximum length of a cron job's name. The controller appends a timestamp to name the jobs.
const CRON_NAME_LIMIT: usize = 52;
const ZONE_PART_LIMIT: usize = 14;

impl Strategy for CronJob {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        fill(object, &["spec", "concurrencyPolicy"], "Allow");
        fill(object, &["spec", "suspend"], false);
        fill(object, &["spec", "successfulJobsHistoryLimit"], 3);
        fill(object, &["spec", "failedJobsHistoryLimit"], 1);
        ensure(object, &["spec", "jobTemplate", "spec", "template"]);
        podspec::template_defaults(&mut object["spec"]["jobTemplate"]["spec"]["template"]);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        cron_spec(at(object, &["spec"]), &Tree::Null, &mut out);
        let name = text(object, &["metadata", "name"]);
        if name.len() > CRON_NAME_LIMIT {
            out.push(invalid_text(
                "metadata.name",
                name,
                format!("must be no more than {CRON_NAME_LIMIT} characters"),
            ));
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if context.subresource != "status" {
            cron_spec(at(new, &["spec"]), at(old, &["spec"]), &mut out);
        }
        out
    }
}

/// Validates the spec of a cron job. `old` is null for a new one.
fn cron_spec(spec: &Tree, old: &Tree, out: &mut Faults) {
    let text_of_schedule = text(spec, &["schedule"]);
    if text_of_schedule.is_empty() {
        out.push(FieldError::required(SPEC.child("schedule"), ""));
    } else {
        schedule_faults(text_of_schedule, spec, old, &SPEC.child("schedule"), out);
    }
    nonnegative(spec, "startingDeadlineSeconds", &SPEC, out);
    if old.is_null() || at(spec, &["timeZone"]) != at(old, &["timeZone"]) {
        time_zone(at(spec, &["timeZone"]), &SPEC.child("timeZone"), out);
    }
    required_one_of(
        spec,
        "concurrencyPolicy",
        &["Allow", "Forbid", "Replace"],
        &SPEC,
        out,
    );
    let template = SPEC.child("jobTemplate");
    let path = template.child("spec");
    let job = at(spec, &["jobTemplate", "spec"]);
    job_spec(job, &path, out);
    if !at(job, &["selector"]).is_null() {
        let shown = selector::shown(at(job, &["selector"]));
        out.push(invalid_shown(
            path.child("selector"),
            &shown,
            "`selector` will be auto-generated",
        ));
    }
    if flag(job, &["manualSelector"]) {
        out.push(FieldError::not_supported(
            path.child("manualSelector"),
            &Tree::Bool(true),
            &["nil", "false"],
        ));
    }
    nonnegative(spec, "successfulJobsHistoryLimit", &SPEC, out);
    nonnegative(spec, "failedJobsHistoryLimit", &SPEC, out);
}

fn schedule_faults(wanted: &str, spec: &Tree, old: &Tree, path: &Path<'_>, out: &mut Faults) {
    if let Err(fault) = Schedule::parse(wanted) {
        out.push(invalid_text(path, wanted, fault));
    }
    if !wanted.contains("TZ") {
        return;
    }
    // Stored schedules that contain a time zone predate this rule and remain valid.
    if !text(old, &["schedule"]).contains("TZ") {
        out.push(invalid_text(
            path,
            wanted,
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ));
    } else if !at(spec, &["timeZone"]).is_null() {
        out.push(invalid_text(
            path,
            wanted,
            "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        ));
    }
}

fn time_zone(zone: &Tree, path: &Path<'_>, out: &mut Faults) {
    let Some(zone) = zone.as_str() else { return };
    let is_sound = |part: &str| {
        let known =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
        !matches!(part, "" | "." | "..")
            && part.len() <= ZONE_PART_LIMIT
            && !part.starts_with('-')
            && part.bytes().all(known)
    };
    if zone.is_empty() {
        out.push(invalid_text(
            path,
            zone,
            "timeZone must be nil or non-empty string",
        ));
        return;
    }
    if !zone.split('/').all(is_sound) {
        out.push(invalid_text(
            path,
            zone,
            format!("unknown time zone {zone}"),
        ));
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        let detail =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        out.push(invalid_text(path, zone, detail));
    }
    if zone != "Local" && schedule::time_zone(zone).is_none() {
        out.push(invalid_text(
            path,
            zone,
            format!("unknown time zone {zone}"),
        ));
    }
}
