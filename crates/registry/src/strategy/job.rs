//! `Job` and `CronJob`.

use kinds::tree::json;
use kinds::{Tree, status::FieldError};

use super::checks::{Faults, nonnegative, one_of, one_of_if_set};
use super::meta::invalid_text;
use super::path::Path;
use super::workload::SPEC;
use super::{Context, DefaultPropagation, Strategy, podspec, same, selector};
use crate::tree::{at, carry, ensure, fill, flag, int, list_mut, put, take, text};

pub(crate) struct Job;

/// Labels by which the pods of a job are known, with the names that they had before.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

const JOB_SPEC: &str = "io.k8s.api.batch.v1.JobSpec";

/// What can never change; the template has rules of its own.
const IMMUTABLE: [&str; 6] = ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy", "manualSelector"];

/// The pods of a suspended job may still be told where to run.
const SCHEDULING: [&str; 5] = ["affinity", "nodeSelector", "tolerations", "schedulingGates", "containers"];

impl Strategy for Job {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        let labels = at(object, &["spec", "template", "metadata", "labels"]).clone();
        if !crate::tree::is_empty(&labels) && crate::tree::is_empty(at(object, &["metadata", "labels"])) {
            put(object, &["metadata", "labels"], labels);
        }
        if at(object, &["spec", "completions"]).is_null() && at(object, &["spec", "parallelism"]).is_null() {
            put(object, &["spec", "completions"], 1);
        }
        job_spec_defaults(&mut object["spec"]);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Tree) {
        if !flag(object, &["spec", "manualSelector"]) {
            generate_selector(object);
        }
    }

    fn validate_create(&self, _context: &Context<'_>, object: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        let spec = at(object, &["spec"]);
        job_spec(spec, &SPEC, &mut out);
        if flag(spec, &["manualSelector"]) && !selector::matches(at(spec, &["selector"]), at(spec, &["template", "metadata", "labels"])) {
            let labels = at(spec, &["template", "metadata", "labels"]);
            out.push(FieldError::invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
        }
        out
    }

    fn validate_update(&self, context: &Context<'_>, new: &Tree, old: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        if context.subresource == "status" {
            super::workload::status_figures(new, &["active", "succeeded", "failed", "terminating", "ready"], &mut out);
        } else {
            job_spec(at(new, &["spec"]), &SPEC, &mut out);
            job_change(at(new, &["spec"]), at(old, &["spec"]), &mut out);
        }
        out
    }

    fn fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn selectable(&self, object: &Tree, _field: &str) -> String {
        int(object, &["status", "succeeded"]).unwrap_or_default().to_string()
    }

    fn field_refusal(&self, field: &str) -> String {
        format!("field label {field:?} not supported for Job")
    }

    fn default_propagation(&self) -> DefaultPropagation {
        DefaultPropagation::Orphan
    }
}

fn job_spec_defaults(spec: &mut Tree) {
    fill(spec, &["parallelism"], 1);
    let is_per_index = !at(spec, &["backoffLimitPerIndex"]).is_null();
    fill(spec, &["backoffLimit"], if is_per_index { i64::from(i32::MAX) } else { 6 });
    fill(spec, &["completionMode"], "NonIndexed");
    fill(spec, &["suspend"], false);
    let replacement = if at(spec, &["podFailurePolicy"]).is_object() { "Failed" } else { "TerminatingOrFailed" };
    fill(spec, &["podReplacementPolicy"], replacement);
    for rule in list_mut(spec, &["podFailurePolicy", "rules"]) {
        for condition in list_mut(rule, &["onPodConditions"]) {
            fill(condition, &["status"], "True");
        }
    }
    ensure(spec, &["template"]);
    podspec::template_defaults(&mut spec["template"]);
}

/// The selector and the labels that make a job's pods its own.
fn generate_selector(object: &mut Tree) {
    let uid = text(object, &["metadata", "uid"]).to_owned();
    let name = text(object, &["metadata", "name"]).to_owned();
    let labels = ensure(object, &["spec", "template", "metadata", "labels"]);
    for (keys, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
        for key in keys {
            labels.insert(key.to_owned(), Tree::from(value.as_str()));
        }
    }
    put(object, &["spec", "selector"], json!({"matchLabels": {(UID_LABELS[0]): uid}}));
}

fn job_spec(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        nonnegative(spec, field, path, out);
    }
    one_of_if_set(spec, "completionMode", &["Indexed", "NonIndexed"], path, out);
    let is_indexed = text(spec, &["completionMode"]) == "Indexed";
    if is_indexed && at(spec, &["completions"]).is_null() {
        out.push(FieldError::required(path.child("completions"), "when completion mode is Indexed"));
    }
    if !is_indexed {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if !at(spec, &[field]).is_null() {
                let detail = "requires indexed completion mode";
                out.push(FieldError::invalid(path.child(field), at(spec, &[field]), detail));
            }
        }
    }
    one_of_if_set(spec, "podReplacementPolicy", &["Failed", "TerminatingOrFailed"], path, out);
    let at_template = path.child("template");
    podspec::template_faults(at(spec, &["template"]), &at_template, out);
    restart_policy(spec, &at_template.child("spec"), out);
}

fn restart_policy(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let policy = text(spec, &["template", "spec", "restartPolicy"]);
    match policy {
        // Templates get Always when their author says nothing.
        "Always" | "" => out.push(FieldError::required(path.child("restartPolicy"), "valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" | "Never" => {}
        other => out.push(FieldError::not_supported(path.child("restartPolicy"), &Tree::from(other), &["OnFailure", "Never"])),
    }
    if at(spec, &["podFailurePolicy"]).is_object() && policy != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        out.push(invalid_text(path.child("restartPolicy"), policy, detail));
    }
}

fn job_change(new: &Tree, old: &Tree, out: &mut Faults) {
    let completions = at(new, &["completions"]);
    // An indexed job may grow and shrink with its parallelism.
    let is_elastic = text(new, &["completionMode"]) == "Indexed" && completions == at(new, &["parallelism"]);
    if completions != at(old, &["completions"]) && !is_elastic {
        out.push(FieldError::invalid(SPEC.child("completions"), completions, "field is immutable"));
    }
    if !selector::same(at(new, &["selector"]), at(old, &["selector"])) {
        let shown = selector::shown(at(new, &["selector"]));
        out.push(super::meta::invalid_shown(SPEC.child("selector"), &shown, "field is immutable"));
    }
    template_change(new, old, out);
    for field in IMMUTABLE {
        if !same(JOB_SPEC, &[field], new, old) {
            out.push(FieldError::invalid(SPEC.child(field), at(new, &[field]), "field is immutable"));
        }
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
    for field in &SCHEDULING[..4] {
        carry(before, &mut undone, &["spec", field]);
    }
    for (container, was) in
        list_mut(&mut undone, &["spec", SCHEDULING[4]]).iter_mut().zip(crate::tree::list(before, &["spec", "containers"]))
    {
        carry(was, container, &["resources"]);
    }
    if !same("io.k8s.api.core.v1.PodTemplateSpec", &["spec"], &undone, before) {
        out.push(FieldError::invalid(template.child("spec"), at(now, &["spec"]), "field is immutable"));
    }
}

pub(crate) struct CronJob;

/// The name of a cron job becomes part of the names of its jobs.
const CRON_NAME_LIMIT: usize = 52;

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

    fn validate_create(&self, context: &Context<'_>, object: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        let name = text(object, &["metadata", "name"]);
        if name.len() > CRON_NAME_LIMIT {
            out.push(invalid_text("metadata.name", name, format!("must be no more than {CRON_NAME_LIMIT} characters")));
        }
        out.extend(self.validate_update(context, object, object));
        out
    }

    fn validate_update(&self, context: &Context<'_>, new: &Tree, _old: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        if context.subresource != "status" {
            cron_spec(at(new, &["spec"]), &mut out);
        }
        out
    }
}

fn cron_spec(spec: &Tree, out: &mut Faults) {
    let schedule = text(spec, &["schedule"]);
    if schedule.is_empty() {
        out.push(FieldError::required(SPEC.child("schedule"), ""));
    } else if let Some(fault) = schedule_fault(schedule) {
        out.push(invalid_text(SPEC.child("schedule"), schedule, fault));
    }
    nonnegative(spec, "startingDeadlineSeconds", &SPEC, out);
    one_of(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], &SPEC, out);
    let template = SPEC.child("jobTemplate");
    let path = template.child("spec");
    let mut inner = at(spec, &["jobTemplate", "spec"]).clone();
    take(&mut inner, &["selector"]);
    job_spec(&inner, &path, out);
    nonnegative(spec, "successfulJobsHistoryLimit", &SPEC, out);
    nonnegative(spec, "failedJobsHistoryLimit", &SPEC, out);
}

const MACROS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with a schedule of five fields, or of one word.
fn schedule_fault(schedule: &str) -> Option<String> {
    if schedule.contains("TZ") {
        return Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if schedule.starts_with('@') {
        let known = MACROS.contains(&schedule) || schedule.starts_with("@every ");
        return (!known).then(|| format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields.iter().zip([(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]).find_map(|(field, bounds)| cron_field_fault(field, bounds))
}

fn cron_field_fault(field: &str, (least, most): (u32, u32)) -> Option<String> {
    const WORDS: [&str; 19] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun", "mon", "tue", "wed", "thu", "fri", "sat",
    ];
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        if step.is_some_and(|step| step.parse::<u32>().map_or(true, |step| step == 0)) {
            return Some(format!("step of range should be a positive number: {part}"));
        }
        if range == "*" || range == "?" {
            continue;
        }
        for edge in range.splitn(2, '-') {
            match edge.parse::<u32>() {
                Ok(number) if number < least => return Some(format!("beginning of range ({number}) below minimum ({least}): {part}")),
                Ok(number) if number > most => return Some(format!("end of range ({number}) above maximum ({most}): {part}")),
                Ok(_) => {}
                Err(_) if WORDS.contains(&edge.to_ascii_lowercase().as_str()) => {}
                Err(_) => return Some(format!("failed to parse int from {edge}: strconv.Atoi: parsing {edge:?}: invalid syntax")),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::schedule_fault;

    #[test]
    fn schedules_are_judged() {
        for sound in ["* * * * *", "*/5 0-6 1,15 jan-mar sun", "@hourly", "@every 5m", "0 0 ? * 1"] {
            assert_eq!(schedule_fault(sound), None, "{sound}");
        }
        for broken in ["* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "*/0 * * * *", "@never", "TZ=UTC * * * * *"] {
            assert!(schedule_fault(broken).is_some(), "{broken}");
        }
    }
}
