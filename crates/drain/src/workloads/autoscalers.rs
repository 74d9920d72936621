//! Autoscalers: HorizontalPodAutoscalers, and the ScaledObjects of KEDA in files.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::cluster::{ClusterSnapshot, CustomObject};
use crate::pods;

/// `maxReplicaCount` of a ScaledObject that does not set it.
const KEDA_MOST: i32 = 100;

/// An autoscaler and the range in which it scales its target.
#[derive(Clone, Debug)]
pub(crate) struct Autoscaler<'a> {
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) annotations: Option<&'a BTreeMap<String, String>>,
    pub(crate) target_kind: &'a str,
    pub(crate) target_name: &'a str,
    /// The minimum, zero for a ScaledObject that stops its target when it is idle.
    pub(crate) least: i32,
    pub(crate) most: i32,
}

impl<'a> Autoscaler<'a> {
    fn new(
        kind: &'a str,
        meta: &'a ObjectMeta,
        target: (&'a str, &'a str),
        range: (i32, i32),
    ) -> Self {
        Self {
            kind,
            namespace: pods::namespace_of(meta),
            name: meta.name.as_deref().unwrap_or_default(),
            annotations: meta.annotations.as_ref(),
            target_kind: target.0,
            target_name: target.1,
            least: range.0,
            most: range.1.max(range.0),
        }
    }

    /// Returns the smallest number of pods at which the target runs.
    pub(crate) fn low(&self) -> i32 {
        self.least.max(1)
    }

    /// Returns true when it scales this workload.
    pub(crate) fn scales(&self, namespace: &str, kind: &str, name: &str) -> bool {
        (self.namespace, self.target_kind, self.target_name) == (namespace, kind, name)
    }
}

/// Returns the autoscalers of a snapshot. The HorizontalPodAutoscaler that KEDA makes of a
/// ScaledObject of the snapshot is left out.
pub(crate) fn autoscalers(snapshot: &ClusterSnapshot) -> Vec<Autoscaler<'_>> {
    let mut found: Vec<Autoscaler<'_>> = snapshot.custom.iter().filter_map(scaled_object).collect();
    let scaled_objects: HashMap<(&str, &str), ()> = found
        .iter()
        .map(|scaler| ((scaler.namespace, scaler.name), ()))
        .collect();
    let own = snapshot.autoscalers.iter().filter(|scaler| {
        let owner = pods::controller(&scaler.metadata);
        !owner.is_some_and(|owner| {
            let of_object = (pods::namespace_of(&scaler.metadata), owner.name.as_str());
            owner.kind == "ScaledObject" && scaled_objects.contains_key(&of_object)
        })
    });
    found.extend(own.map(|scaler| {
        let target = &scaler.spec.scale_target_ref;
        let range = (
            scaler.spec.min_replicas.unwrap_or(1),
            scaler.spec.max_replicas,
        );
        Autoscaler::new(
            "HorizontalPodAutoscaler",
            &scaler.metadata,
            (&target.kind, &target.name),
            range,
        )
    }));
    found
}

fn scaled_object(object: &CustomObject) -> Option<Autoscaler<'_>> {
    if object.kind != "ScaledObject" || !object.api_version.starts_with("keda.sh/") {
        return None;
    }
    let target = &object.spec["scaleTargetRef"];
    let kind = target["kind"].as_str().unwrap_or("Deployment");
    let number = |member: &str| {
        let number = object.spec.get(member).and_then(Value::as_i64);
        number.and_then(|number| i32::try_from(number).ok())
    };
    let range = (
        number("minReplicaCount").unwrap_or(0),
        number("maxReplicaCount").unwrap_or(KEDA_MOST),
    );
    let name = target["name"].as_str()?;
    Some(Autoscaler::new(
        &object.kind,
        &object.metadata,
        (kind, name),
        range,
    ))
}
