//! Defaults and validation of `StatefulSet`, `DaemonSet` and `ControllerRevision`.
//!
//! Most of a stateful set's spec is immutable. Its template is validated only when an update
//! changes it, so that stored objects that predate a rule remain editable. Daemon sets count
//! changes of their template in a deprecated annotation.

use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::{Faults, at_most_all, nonnegative, number_or_percent};
use super::deployment::{SCALE, is_zero, unsupported_strategy};
use super::meta::{invalid_shown, invalid_text};
use super::path::{Path, SPEC};
use super::workload;
use super::{FieldNames, ScalePaths, Strategy, StrategyContext, claim, podspec, same, selector};
use crate::tree::{at, carry, ensure, fill, int, list, list_mut, put, take, text};

pub(crate) struct StatefulSet;

/// Dropped from what clients send, because the feature gate `MaxUnavailableStatefulSet` is off in
/// 1.36.
const MAX_UNAVAILABLE: [&str; 4] = ["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];

/// Fields of a stateful set's spec that may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const ONLY_MUTABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        fill(object, &["spec", "podManagementPolicy"], "OrderedReady");
        fill(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
        if text(object, &["spec", "updateStrategy", "type"]) == "RollingUpdate" {
            fill(
                object,
                &["spec", "updateStrategy", "rollingUpdate", "partition"],
                0,
            );
        }
        for moment in ["whenDeleted", "whenScaled"] {
            fill(
                object,
                &["spec", "persistentVolumeClaimRetentionPolicy", moment],
                "Retain",
            );
        }
        fill(object, &["spec", "replicas"], 1);
        fill(object, &["spec", "revisionHistoryLimit"], 10);
        ensure(object, &["spec", "template"]);
        podspec::template_defaults(&mut object["spec"]["template"]);
        for claim in list_mut(object, &["spec", "volumeClaimTemplates"]) {
            fill(claim, &["apiVersion"], "v1");
            fill(claim, &["kind"], "PersistentVolumeClaim");
            claim::defaults(claim);
        }
    }

    fn name_faults(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        take(object, &MAX_UNAVAILABLE);
    }

    fn prepare_update(&self, _context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        if at(old, &MAX_UNAVAILABLE).is_null() {
            take(new, &MAX_UNAVAILABLE);
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let spec = at(object, &["spec"]);
        stateful_spec(spec, true, true, &mut out);
        let service = text(spec, &["serviceName"]);
        if !service.is_empty() {
            out.extend(
                names::dns_label(service)
                    .into_iter()
                    .map(|fault| invalid_text(SPEC.child("serviceName"), service, fault)),
            );
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
            let counts = [
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ];
            workload::replica_counts(
                new,
                &counts,
                &counts[1..5],
                "status.readyReplicas",
                &mut out,
            );
            workload::collision_count(new, old, &mut out);
            return out;
        }
        // Parts that did not change are not validated again, because they may predate a rule.
        let is_new =
            |part: &str| !same("io.k8s.api.apps.v1.StatefulSet", &["spec", part], new, old);
        stateful_spec(
            at(new, &["spec"]),
            is_new("template"),
            is_new("volumeClaimTemplates"),
            &mut out,
        );
        let mut undone = new.clone();
        for field in MUTABLE {
            carry(old, &mut undone, &["spec", field]);
        }
        if !same("io.k8s.api.apps.v1.StatefulSet", &["spec"], &undone, old) {
            out.push(FieldError::forbidden(SPEC, ONLY_MUTABLE));
        }
        out
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&["status.successful"])
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!(
            "field label not supported for appsv1.StatefulSet: {field}"
        ))
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(SCALE)
    }
}

fn stateful_spec(spec: &Tree, judges_template: bool, judges_claims: bool, out: &mut Faults) {
    match text(spec, &["podManagementPolicy"]) {
        "" => out.push(FieldError::required(SPEC.child("podManagementPolicy"), "")),
        "OrderedReady" | "Parallel" => {}
        other => out.push(invalid_text(
            SPEC.child("podManagementPolicy"),
            other,
            "must be 'OrderedReady' or 'Parallel'",
        )),
    }
    stateful_strategy(
        at(spec, &["updateStrategy"]),
        &SPEC.child("updateStrategy"),
        out,
    );
    let retention = SPEC.child("persistentVolumeClaimRetentionPolicy");
    for moment in ["whenDeleted", "whenScaled"] {
        let policy = text(spec, &["persistentVolumeClaimRetentionPolicy", moment]);
        if !matches!(policy, "Retain" | "Delete") {
            out.push(FieldError::not_supported(
                retention.child(moment),
                &Tree::from(policy),
                &["Retain", "Delete"],
            ));
        }
    }
    let claims = list(spec, &["volumeClaimTemplates"]);
    if judges_claims {
        let path = SPEC.child("volumeClaimTemplates");
        for (index, claim) in claims.iter().enumerate() {
            claim::spec_faults(at(claim, &["spec"]), &path.index(index).child("spec"), out);
        }
    }
    nonnegative(spec, "replicas", &SPEC, out);
    nonnegative(spec, "minReadySeconds", &SPEC, out);
    nonnegative(
        at(spec, &["ordinals"]),
        "start",
        &SPEC.child("ordinals"),
        out,
    );
    workload::required_selector(spec, "statefulset", out);
    let wanted = at(spec, &["selector"]);
    if selector::is_sound(wanted) {
        workload::selector_matches_template(spec, out);
    } else {
        out.push(invalid_shown(
            SPEC.child("selector"),
            &selector::shown(wanted),
            "",
        ));
    }
    if judges_template && selector::is_sound(wanted) {
        workload::lasting_template(spec, "StatefulSet", claims, out);
    }
    nonnegative(spec, "revisionHistoryLimit", &SPEC, out);
}

fn stateful_strategy(strategy: &Tree, path: &Path<'_>, out: &mut Faults) {
    let rolling = at(strategy, &["rollingUpdate"]);
    match text(strategy, &["type"]) {
        "" => out.push(FieldError::required(path, "")),
        "OnDelete" => {
            if !rolling.is_null() {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                out.push(invalid_shown(
                    path.child("rollingUpdate"),
                    &shown_rolling(rolling),
                    detail,
                ));
            }
        }
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            nonnegative(rolling, "partition", &path, out);
            let most = at(rolling, &["maxUnavailable"]);
            number_or_percent(most, &path.child("maxUnavailable"), out);
            if is_zero(most) {
                out.push(FieldError::invalid(
                    path.child("maxUnavailable"),
                    most,
                    "cannot be 0",
                ));
            }
            at_most_all(most, &path.child("maxUnavailable"), out);
        }
        other => {
            let shown = format!(
                "{{\"Type\":{},\"RollingUpdate\":{}}}",
                Tree::from(other),
                shown_rolling(rolling)
            );
            out.push(invalid_shown(
                path,
                &shown,
                "must be 'RollingUpdate' or 'OnDelete'",
            ));
        }
    }
}

/// Renders a rolling update as errors show it: with the field names of upstream's Go structs.
fn shown_rolling(rolling: &Tree) -> String {
    if rolling.is_null() {
        return "null".to_owned();
    }
    let partition = int(rolling, &["partition"]).unwrap_or_default();
    format!(
        "{{\"Partition\":{partition},\"MaxUnavailable\":{}}}",
        at(rolling, &["maxUnavailable"])
    )
}

pub(crate) struct DaemonSet;

/// The annotation that replaced the field `templateGeneration`.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        fill(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
        if text(object, &["spec", "updateStrategy", "type"]) == "RollingUpdate" {
            fill(
                object,
                &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"],
                1,
            );
            fill(
                object,
                &["spec", "updateStrategy", "rollingUpdate", "maxSurge"],
                0,
            );
        }
        fill(object, &["spec", "revisionHistoryLimit"], 10);
        ensure(object, &["spec", "template"]);
        podspec::template_defaults(&mut object["spec"]["template"]);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        let given = template_generation(object).max(1);
        put(
            object,
            &["metadata", "annotations", TEMPLATE_GENERATION],
            given.to_string(),
        );
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        if context.subresource.is_empty() {
            let is_new = !same(
                "io.k8s.api.apps.v1.DaemonSet",
                &["spec", "template"],
                new,
                old,
            );
            let count = template_generation(old).saturating_add(i64::from(is_new));
            put(
                new,
                &["metadata", "annotations", TEMPLATE_GENERATION],
                count.to_string(),
            );
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        daemon_spec(at(object, &["spec"]), &mut out);
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
            let counts = [
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ];
            workload::status_counts(new, &counts, &mut out);
            workload::collision_count(new, old, &mut out);
        } else {
            workload::immutable_selector(new, old, &mut out);
            daemon_spec(at(new, &["spec"]), &mut out);
        }
        out
    }
}

fn template_generation(object: &Tree) -> i64 {
    text(object, &["metadata", "annotations", TEMPLATE_GENERATION])
        .parse()
        .unwrap_or_default()
}

fn daemon_spec(spec: &Tree, out: &mut Faults) {
    let wanted = at(spec, &["selector"]);
    selector::faults(wanted, &SPEC.child("selector"), false, out);
    workload::selector_matches_template(spec, out);
    if !wanted.is_null() && selector::is_empty(wanted) {
        out.push(invalid_shown(
            SPEC.child("selector"),
            &selector::shown(wanted),
            "empty selector is invalid for daemonset",
        ));
    }
    workload::lasting_template(spec, "DaemonSet", &[], out);
    nonnegative(spec, "minReadySeconds", &SPEC, out);
    daemon_strategy(
        at(spec, &["updateStrategy"]),
        &SPEC.child("updateStrategy"),
        out,
    );
    nonnegative(spec, "revisionHistoryLimit", &SPEC, out);
}

fn daemon_strategy(strategy: &Tree, path: &Path<'_>, out: &mut Faults) {
    let rolling = at(strategy, &["rollingUpdate"]);
    match text(strategy, &["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            let (most, surge) = (at(rolling, &["maxUnavailable"]), at(rolling, &["maxSurge"]));
            for (field, value) in [("maxUnavailable", most), ("maxSurge", surge)] {
                number_or_percent(value, &path.child(field), out);
            }
            for (field, value) in [("maxUnavailable", most), ("maxSurge", surge)] {
                at_most_all(value, &path.child(field), out);
            }
            match (is_zero(most), is_zero(surge)) {
                (true, true) => {
                    let detail = "cannot be 0 when maxSurge is 0";
                    out.push(FieldError::required(path.child("maxUnavailable"), detail));
                }
                (false, false) => {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    out.push(FieldError::invalid(path.child("maxSurge"), surge, detail));
                }
                _ => {}
            }
        }
        other => out.push(unsupported_strategy(
            other,
            rolling,
            &["RollingUpdate", "OnDelete"],
            path,
        )),
    }
}

pub(crate) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        if at(object, &["data"]).is_null() {
            out.push(FieldError::required("data", "data is mandatory"));
        }
        if int(object, &["revision"]).is_some_and(|revision| revision < 0) {
            out.push(FieldError::invalid(
                "revision",
                at(object, &["revision"]),
                "must be greater than or equal to 0",
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
        let mut out = self.validate_create(context, new);
        if at(new, &["data"]) != at(old, &["data"]) {
            out.push(FieldError::invalid(
                "data",
                at(new, &["data"]),
                "field is immutable",
            ));
        }
        out
    }
}
