//! Defaults and validation of `Deployment`, `ReplicaSet`, `ReplicationController` and
//! `PodTemplate`.
//!
//! Selectors are immutable in the `apps` group, but not in the core group. An update of a
//! deployment's annotations also raises its generation, because the controller copies them.

use kinds::facts::Type;
use kinds::tree::json;
use kinds::{
    Tree,
    status::{FieldError, FieldErrors},
};

use super::checks::{Faults, at_most_all, nonnegative, number_or_percent, percent};
use super::path::{Path, SPEC};
use super::workload;
use super::{FieldNames, FieldPath, ScalePaths, Strategy, StrategyContext, podspec, same_part};
use crate::tree::{at, carry, ensure, fill, int, put, take, text};

pub(crate) struct Deployment;

/// Paths of the scale fields in kinds of the group `apps`.
pub(crate) const SCALE: ScalePaths = ScalePaths {
    spec_replicas: FieldPath::BuiltIn(&["spec", "replicas"]),
    status_replicas: FieldPath::BuiltIn(&["status", "replicas"]),
    selector: FieldPath::BuiltIn(&["spec", "selector"]),
    selector_is_map: false,
};

impl Strategy for Deployment {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        fill(object, &["spec", "replicas"], 1);
        fill(object, &["spec", "strategy", "type"], "RollingUpdate");
        if text(object, &["spec", "strategy", "type"]) == "RollingUpdate" {
            fill(
                object,
                &["spec", "strategy", "rollingUpdate", "maxUnavailable"],
                "25%",
            );
            fill(
                object,
                &["spec", "strategy", "rollingUpdate", "maxSurge"],
                "25%",
            );
        }
        fill(object, &["spec", "revisionHistoryLimit"], 10);
        fill(object, &["spec", "progressDeadlineSeconds"], 600);
        ensure(object, &["spec", "template"]);
        podspec::template_defaults(&mut object["spec"]["template"]);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn raises_generation(&self, ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        // The controller copies annotations to the replica sets, so a change must raise the
        // generation.
        [&["spec"][..], &["metadata", "annotations"]]
            .iter()
            .any(|part| !same_part(ty, part, new, old))
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        if context.subresource == "status" {
            carry(old, new, &["metadata", "labels"]);
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        spec(at(object, &["spec"]), &mut out);
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
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "collisionCount",
                "terminatingReplicas",
            ];
            workload::replica_counts(new, &counts, &counts[2..5], "readyReplicas", &mut out);
            workload::collision_count(new, old, &mut out);
        } else {
            spec(at(new, &["spec"]), &mut out);
            workload::immutable_selector(new, old, &mut out);
        }
        out
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(SCALE)
    }
}

fn spec(spec: &Tree, out: &mut Faults) {
    nonnegative(spec, "replicas", &SPEC, out);
    workload::required_selector(spec, "deployment", out);
    workload::selected_template(spec, "ReplicaSet", "invalid label selector", out);
    strategy(at(spec, &["strategy"]), &SPEC.child("strategy"), out);
    for field in [
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        nonnegative(spec, field, &SPEC, out);
    }
    let deadline = at(spec, &["progressDeadlineSeconds"]);
    if deadline
        .as_i64()
        .is_some_and(|seconds| seconds <= int(spec, &["minReadySeconds"]).unwrap_or_default())
    {
        out.push(FieldError::invalid(
            SPEC.child("progressDeadlineSeconds"),
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
}

fn strategy(strategy: &Tree, path: &Path<'_>, out: &mut Faults) {
    let rolling = at(strategy, &["rollingUpdate"]);
    match text(strategy, &["type"]) {
        "Recreate" => {
            if !rolling.is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                out.push(FieldError::forbidden(path.child("rollingUpdate"), detail));
            }
        }
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            for field in ["maxUnavailable", "maxSurge"] {
                number_or_percent(at(rolling, &[field]), &path.child(field), out);
            }
            if is_zero(at(rolling, &["maxUnavailable"])) && is_zero(at(rolling, &["maxSurge"])) {
                let detail = "may not be 0 when `maxSurge` is 0";
                out.push(FieldError::invalid(
                    path.child("maxUnavailable"),
                    at(rolling, &["maxUnavailable"]),
                    detail,
                ));
            }
            at_most_all(
                at(rolling, &["maxUnavailable"]),
                &path.child("maxUnavailable"),
                out,
            );
        }
        other => out.push(unsupported_strategy(
            other,
            rolling,
            &["Recreate", "RollingUpdate"],
            path,
        )),
    }
}

/// Returns the fault of an unknown strategy type. The message prints the whole strategy with the
/// field names of upstream's Go structs.
pub(crate) fn unsupported_strategy(
    kind: &str,
    rolling: &Tree,
    supported: &[&str],
    path: &Path<'_>,
) -> FieldError {
    let list: Vec<String> = supported.iter().map(|word| format!("{word:?}")).collect();
    let shown = format!(
        "{{\"Type\":{},\"RollingUpdate\":{rolling}}}",
        Tree::from(kind)
    );
    let body = format!(
        "Unsupported value: {shown}: supported values: {}",
        list.join(", ")
    );
    FieldError {
        body,
        ..FieldError::not_supported(path, &Tree::Null, supported)
    }
}

/// Returns `true` for a number or percentage that equals zero.
pub(crate) fn is_zero(value: &Tree) -> bool {
    value.as_i64() == Some(0) || value.as_str().and_then(percent) == Some(0)
}

pub(crate) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        fill(object, &["spec", "replicas"], 1);
        ensure(object, &["spec", "template"]);
        podspec::template_defaults(&mut object["spec"]["template"]);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        reset_replicas(object);
    }

    fn validate_create(&self, context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        spec_or_replica_status(context, object, replica_set_spec)
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = spec_or_replica_status(context, new, replica_set_spec);
        if context.subresource != "status" {
            workload::immutable_selector(new, old, &mut out);
        }
        out
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(SCALE)
    }
}

/// Sets the initial status of a ReplicaSet or ReplicationController that its controller has not
/// seen yet.
fn reset_replicas(object: &mut Tree) {
    put(object, &["status"], json!({"replicas": 0}));
}

/// Validates the half of a ReplicaSet or ReplicationController that the request may write: the
/// status through the `status` subresource, else the spec.
fn spec_or_replica_status(
    context: &StrategyContext<'_>,
    object: &Tree,
    validate_spec: fn(&Tree, &mut Faults),
) -> FieldErrors {
    let mut out = FieldErrors::default();
    if context.subresource == "status" {
        replica_status(object, &mut out);
    } else {
        validate_spec(at(object, &["spec"]), &mut out);
    }
    out
}

fn replica_set_spec(spec: &Tree, out: &mut Faults) {
    nonnegative(spec, "replicas", &SPEC, out);
    nonnegative(spec, "minReadySeconds", &SPEC, out);
    workload::required_selector(spec, "deployment", out);
    workload::selected_template(spec, "ReplicaSet", "invalid label selector", out);
}

fn replica_status(object: &Tree, out: &mut Faults) {
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    workload::replica_counts(object, &counts, &counts[1..4], "readyReplicas", out);
}

pub(crate) struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        fill(object, &["spec", "replicas"], 1);
        let labels = at(object, &["spec", "template", "metadata", "labels"]).clone();
        if !crate::tree::is_empty(&labels) {
            for path in [&["spec", "selector"][..], &["metadata", "labels"]] {
                if crate::tree::is_empty(at(object, path)) {
                    put(object, path, labels.clone());
                }
            }
        }
        if !at(object, &["spec", "template"]).is_null() {
            podspec::template_defaults(&mut object["spec"]["template"]);
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        reset_replicas(object);
    }

    fn validate_create(&self, context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        spec_or_replica_status(context, object, controller_spec)
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        spec_or_replica_status(context, new, controller_spec)
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&["status.replicas"])
    }

    fn selectable(&self, object: &Tree, _field: &str) -> String {
        int(object, &["status", "replicas"])
            .unwrap_or_default()
            .to_string()
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        Some(ScalePaths {
            selector_is_map: true,
            ..SCALE
        })
    }

    fn default_propagation(&self) -> super::DefaultPropagation {
        super::DefaultPropagation::Orphan
    }
}

fn controller_spec(spec: &Tree, out: &mut Faults) {
    nonnegative(spec, "minReadySeconds", &SPEC, out);
    let wanted = at(spec, &["selector"]);
    if crate::tree::is_empty(wanted) {
        out.push(FieldError::required(SPEC.child("selector"), ""));
    }
    nonnegative(spec, "replicas", &SPEC, out);
    if at(spec, &["template"]).is_null() {
        out.push(FieldError::required(SPEC.child("template"), ""));
        return;
    }
    let labels = at(spec, &["template", "metadata", "labels"]);
    if crate::tree::entries(wanted, &[])
        .into_iter()
        .any(|(key, value)| labels.get(key) != Some(value))
    {
        out.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        ));
    }
    workload::lasting_template(spec, "ReplicationController", &[], out);
}

pub(crate) struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["template"]);
        podspec::template_defaults(&mut object["template"]);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn raises_generation(&self, ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        !same_part(ty, &["template"], new, old)
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        take(object, &["status"]);
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        podspec::template_faults(
            at(object, &["template"]),
            &[],
            &Path::root("template"),
            &mut out,
        );
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

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
