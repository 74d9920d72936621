//! Conversion of kinds that are served in two versions and stored in one: events (core and
//! `events.k8s.io`) and horizontal pod autoscalers (v1 and v2).
//!
//! A body is converted to the stored form before anything is decided, and an answer to the
//! requested version when it is returned. For all other kinds both are the same bytes. Fields that
//! v1 of an autoscaler lacks are kept in annotations, as upstream does, so that a client of v1
//! loses nothing.

use std::borrow::Cow;

use bytes::Bytes;
use kinds::facts::Resource;
use kinds::tree::json as tree_of;
use kinds::{Tree, json};

use crate::target::Target;
use crate::{Registry, record, schema, tree};

impl Registry {
    /// Returns stored bytes in the version of the request. A conversion is cached for all readers.
    pub(crate) fn present(&self, target: &Target, stored: &Bytes) -> Bytes {
        if is_in_requested_version(target, stored) {
            return stored.clone();
        }
        let version = target.resource.clone();
        self.converted().get(stored, version, || {
            json::encode(
                &to_requested(target, &record::parse(stored)),
                target.resource.ty,
            )
        })
    }
}

/// Returns true when stored bytes need no conversion. Objects of a custom kind may have been stored
/// while another of its versions was the storage version.
fn is_in_requested_version(target: &Target, stored: &[u8]) -> bool {
    if !target.resource.is_custom() {
        return target.resource.is_stored();
    }
    // Encoded custom objects begin with `apiVersion`, because their type lists it first.
    let head = format!("{{\"apiVersion\":\"{}\"", target.resource.api_version());
    stored.starts_with(head.as_bytes())
}

/// Converts a decoded body to the stored form.
pub(crate) fn to_stored(target: &Target, object: &mut Tree) {
    if target.resource.is_stored() {
        return;
    }
    match target.resource.plural.as_str() {
        "events" => rename(
            object,
            EVENT_MEMBERS.iter().map(|(core, new)| (*new, *core)),
        ),
        "horizontalpodautoscalers" => autoscaler_to_v2(object),
        _ => {}
    }
    name_type(object, &target.stored);
}

/// Converts a stored object to the version of the request.
pub(crate) fn to_requested<'a>(target: &Target, object: &'a Tree) -> Cow<'a, Tree> {
    let renamed = target.resource.is_custom()
        && tree::text(object, &["apiVersion"]) != target.resource.api_version();
    if target.resource.is_stored() && !renamed {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    match target.resource.plural.as_str() {
        "events" => rename(&mut object, EVENT_MEMBERS.iter().copied()),
        "horizontalpodautoscalers" => autoscaler_to_v1(&mut object),
        _ => {}
    }
    if let Some(version) = target.resource.custom() {
        // Versions of a custom kind differ by their fields alone.
        schema::prune(&mut object, &version.schema, &mut Vec::new());
    }
    name_type(&mut object, &target.resource);
    Cow::Owned(object)
}

fn name_type(object: &mut Tree, resource: &Resource) {
    tree::put(object, &["kind"], resource.kind.as_str());
    tree::put(object, &["apiVersion"], resource.api_version());
}

/// The members of an event that are named differently: in the core group, in `events.k8s.io`.
const EVENT_MEMBERS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename<'a>(object: &mut Tree, names: impl Iterator<Item = (&'a str, &'a str)>) {
    for (from, to) in names {
        if let Some(value) = tree::take(object, &[from]) {
            tree::put(object, &[to], value);
        }
    }
}

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

fn autoscaler_to_v1(scaler: &mut Tree) {
    let (cpu, others) = take_metrics(scaler, &["spec", "metrics"]);
    if let Some(percent) = cpu
        .as_ref()
        .and_then(|cpu| tree::int(cpu, &["resource", "target", "averageUtilization"]))
    {
        tree::put(scaler, &["spec", "targetCPUUtilizationPercentage"], percent);
    }
    annotate(scaler, METRICS, others);
    let (cpu, others) = take_metrics(scaler, &["status", "currentMetrics"]);
    if let Some(percent) = cpu
        .as_ref()
        .and_then(|cpu| tree::int(cpu, &["resource", "current", "averageUtilization"]))
    {
        tree::put(
            scaler,
            &["status", "currentCPUUtilizationPercentage"],
            percent,
        );
    }
    annotate(scaler, CURRENT_METRICS, others);
    for (path, annotation) in [
        (["spec", "behavior"], BEHAVIOR),
        (["status", "conditions"], CONDITIONS),
    ] {
        let value = tree::take(scaler, &path);
        annotate(scaler, annotation, value);
    }
}

/// Takes the metrics at a path: the CPU metric, which v1 has a field for, and the list of the
/// others if there are any.
fn take_metrics(scaler: &mut Tree, path: &[&str]) -> (Option<Tree>, Option<Tree>) {
    let all = tree::take(scaler, path).unwrap_or(Tree::Null);
    let (mut cpu, others): (Vec<Tree>, Vec<Tree>) = tree::list(&all, &[])
        .iter()
        .cloned()
        .partition(|metric| tree::text(metric, &["resource", "name"]) == "cpu");
    let others = if others.is_empty() {
        None
    } else {
        Some(Tree::from(others))
    };
    (cpu.pop(), others)
}

fn annotate(scaler: &mut Tree, annotation: &str, value: Option<Tree>) {
    if let Some(value) = value.filter(|value| !tree::is_empty(value)) {
        tree::put(
            scaler,
            &["metadata", "annotations", annotation],
            value.to_string(),
        );
    }
}

fn autoscaler_to_v2(scaler: &mut Tree) {
    let mut metrics = take_annotated_list(scaler, METRICS);
    if let Some(percent) = tree::take(scaler, &["spec", "targetCPUUtilizationPercentage"]) {
        metrics.insert(
            0,
            cpu_metric(
                "target",
                tree_of!({"type": "Utilization", "averageUtilization": percent}),
            ),
        );
    }
    put_list(scaler, &["spec", "metrics"], metrics);
    let mut current = take_annotated_list(scaler, CURRENT_METRICS);
    if let Some(percent) = tree::take(scaler, &["status", "currentCPUUtilizationPercentage"]) {
        current.insert(
            0,
            cpu_metric("current", tree_of!({"averageUtilization": percent})),
        );
    }
    put_list(scaler, &["status", "currentMetrics"], current);
    let conditions = take_annotated_list(scaler, CONDITIONS);
    put_list(scaler, &["status", "conditions"], conditions);
    if let Some(Ok(behavior)) =
        take_annotation(scaler, BEHAVIOR).map(|text| serde_json::from_str::<Tree>(&text))
    {
        tree::put(scaler, &["spec", "behavior"], behavior);
    }
}

fn cpu_metric(member: &str, value: Tree) -> Tree {
    let mut metric = tree_of!({"type": "Resource", "resource": {"name": "cpu"}});
    tree::put(&mut metric, &["resource", member], value);
    metric
}

fn put_list(scaler: &mut Tree, path: &[&str], items: Vec<Tree>) {
    if !items.is_empty() {
        tree::put(scaler, path, items);
    }
}

fn take_annotated_list(scaler: &mut Tree, annotation: &str) -> Vec<Tree> {
    take_annotation(scaler, annotation)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

fn take_annotation(scaler: &mut Tree, annotation: &str) -> Option<String> {
    let text = tree::take(scaler, &["metadata", "annotations", annotation])?;
    if tree::at(scaler, &["metadata", "annotations"])
        .as_object()
        .is_some_and(kinds::tree::Map::is_empty)
    {
        tree::take(scaler, &["metadata", "annotations"]);
    }
    text.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TreeCache;
    use crate::request::User;
    use crate::resource::ResourceRef;

    fn check(group: &str, version: &str, plural: &str, requested: &Tree, stored: &Tree) {
        let target = Target::new(
            ResourceRef::built_in(group, version, plural).expect("a built-in resource"),
            User::default().into(),
            jiff::Timestamp::UNIX_EPOCH,
            TreeCache::default(),
        );
        let mut object = requested.clone();
        to_stored(&target, &mut object);
        assert_eq!(&object, stored);
        assert_eq!(to_requested(&target, stored).as_ref(), requested);
    }

    #[test]
    fn an_event_is_stored_in_its_core_form() {
        check(
            "events.k8s.io",
            "v1",
            "events",
            &tree_of!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"},
                "note": "n", "regarding": {"kind": "Pod"}}),
            &tree_of!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"},
                "message": "n", "involvedObject": {"kind": "Pod"}}),
        );
    }

    #[test]
    fn fields_that_v1_of_an_autoscaler_lacks_are_kept_in_annotations() {
        let behavior = "{\"scaleDown\":{\"stabilizationWindowSeconds\":5}}";
        check(
            "autoscaling",
            "v1",
            "horizontalpodautoscalers",
            &tree_of!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1",
                "metadata": {"annotations": {BEHAVIOR: behavior}},
                "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}}),
            &tree_of!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2",
                "metadata": {}, "spec": {"maxReplicas": 3,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
                "metrics": [{"type": "Resource", "resource":
                    {"name": "cpu", "target": {"type": "Utilization",
                        "averageUtilization": 80}}}]}}),
        );
    }
}
