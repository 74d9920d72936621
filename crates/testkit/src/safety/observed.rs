//! The fields of pods and budgets that the ledger needs. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

/// The fields of a pod that matter for budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObservedPod {
    pub(super) uid: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) ready: bool,
    pub(super) terminating: bool,
    /// Whether it has the `DisruptionTarget` condition of an API-initiated eviction.
    pub(super) evicted: bool,
}

impl ObservedPod {
    pub(super) fn of(pod: &Value) -> Self {
        let condition = |kind: &str| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions
                .into_iter()
                .find(|found| found["type"] == kind && found["status"] == "True")
        };
        let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
        Self {
            uid: text(&pod["metadata"]["uid"]),
            labels: labels
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
            ready: condition("Ready").is_some(),
            terminating: pod["metadata"]["deletionTimestamp"].is_string(),
            evicted: condition("DisruptionTarget")
                .is_some_and(|found| found["reason"] == "EvictionByEvictionAPI"),
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.ready && !self.terminating
    }
}

/// The fields of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObservedBudget {
    pub(super) uid: String,
    selector: BTreeMap<String, String>,
    floor: Floor,
    pub(super) generation: i64,
    pub(super) observed: i64,
    pub(super) healthy: i64,
    pub(super) desired: i64,
    pub(super) expected: i64,
    pub(super) allowed: i64,
    pub(super) disrupted_pods: BTreeMap<String, Timestamp>,
    /// Whether the controller reports that it could not compute the status.
    pub(super) failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Floor {
    MinAvailable(Value),
    MaxUnavailable(Value),
    None,
}

impl ObservedBudget {
    pub(super) fn of(budget: &Value) -> Self {
        let (spec, status) = (&budget["spec"], &budget["status"]);
        let number = |name: &str| status[name].as_i64().unwrap_or(0);
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let disrupted_pods = status["disruptedPods"].as_object().into_iter().flatten();
        let selector = spec["selector"]["matchLabels"]
            .as_object()
            .into_iter()
            .flatten();
        Self {
            uid: text(&budget["metadata"]["uid"]),
            selector: selector
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
            floor: match (&spec["minAvailable"], &spec["maxUnavailable"]) {
                (Value::Null, Value::Null) => Floor::None,
                (Value::Null, most) => Floor::MaxUnavailable(most.clone()),
                (least, _) => Floor::MinAvailable(least.clone()),
            },
            generation: budget["metadata"]["generation"].as_i64().unwrap_or(0),
            observed: number("observedGeneration"),
            healthy: number("currentHealthy"),
            desired: number("desiredHealthy"),
            expected: number("expectedPods"),
            allowed: number("disruptionsAllowed"),
            disrupted_pods: disrupted_pods
                .filter_map(|(name, at)| Some((name.clone(), at.as_str()?.parse().ok()?)))
                .collect(),
            failed: conditions.into_iter().any(|found| {
                found["type"] == "DisruptionAllowed" && found["reason"] == "SyncFailed"
            }),
        }
    }

    pub(super) fn selects(&self, pod: &ObservedPod) -> bool {
        !self.selector.is_empty()
            && self
                .selector
                .iter()
                .all(|(key, value)| pod.labels.get(key) == Some(value))
    }

    /// Returns how many of `expected` pods must be healthy.
    pub(super) fn demand(&self, expected: i64) -> i64 {
        match &self.floor {
            Floor::MinAvailable(least) => portion(least, expected),
            Floor::MaxUnavailable(most) => (expected - portion(most, expected)).max(0),
            Floor::None => 0,
        }
    }

    /// Returns whether the expected number of pods is the number of existing pods, and not the
    /// replicas of their controllers.
    pub(super) fn counts_pods(&self) -> bool {
        matches!(&self.floor, Floor::MinAvailable(least) if least.is_i64())
    }
}

/// Returns the value of an integer or of a percentage of `of`, rounded up.
fn portion(value: &Value, of: i64) -> i64 {
    let percent = value
        .as_str()
        .and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    percent.map_or_else(
        || value.as_i64().unwrap_or(0),
        |percent| (of * percent + 99).div_euclid(100),
    )
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
