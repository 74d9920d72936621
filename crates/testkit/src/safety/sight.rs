//! What the ledger sees of pods and budgets. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

/// A pod, as far as budgets are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodSight {
    pub(super) uid: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) ready: bool,
    pub(super) terminating: bool,
    /// It goes because of an eviction.
    pub(super) evicted: bool,
}

impl PodSight {
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

/// A budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BudgetSight {
    pub(super) uid: String,
    selector: BTreeMap<String, String>,
    floor: Floor,
    pub(super) generation: i64,
    pub(super) observed: i64,
    pub(super) healthy: i64,
    pub(super) desired: i64,
    pub(super) expected: i64,
    pub(super) allowed: i64,
    pub(super) notes: BTreeMap<String, Timestamp>,
    /// The controller could not work it out.
    pub(super) failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Floor {
    MinAvailable(Value),
    MaxUnavailable(Value),
    None,
}

impl BudgetSight {
    pub(super) fn of(budget: &Value) -> Self {
        let (spec, status) = (&budget["spec"], &budget["status"]);
        let figure = |name: &str| status[name].as_i64().unwrap_or(0);
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let notes = status["disruptedPods"].as_object().into_iter().flatten();
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
            observed: figure("observedGeneration"),
            healthy: figure("currentHealthy"),
            desired: figure("desiredHealthy"),
            expected: figure("expectedPods"),
            allowed: figure("disruptionsAllowed"),
            notes: notes
                .filter_map(|(name, at)| Some((name.clone(), at.as_str()?.parse().ok()?)))
                .collect(),
            failed: conditions.into_iter().any(|found| {
                found["type"] == "DisruptionAllowed" && found["reason"] == "SyncFailed"
            }),
        }
    }

    pub(super) fn selects(&self, pod: &PodSight) -> bool {
        !self.selector.is_empty()
            && self
                .selector
                .iter()
                .all(|(key, value)| pod.labels.get(key) == Some(value))
    }

    /// How many of `expected` pods have to be healthy.
    pub(super) fn demand(&self, expected: i64) -> i64 {
        match &self.floor {
            Floor::MinAvailable(least) => portion(least, expected),
            Floor::MaxUnavailable(most) => (expected - portion(most, expected)).max(0),
            Floor::None => 0,
        }
    }

    /// True when it expects as many pods as it finds, and not as many as their controllers want.
    pub(super) fn counts_pods(&self) -> bool {
        matches!(&self.floor, Floor::MinAvailable(least) if least.is_i64())
    }
}

/// A number as it is, or a percentage of something, rounded up.
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
