//! What a PodDisruptionBudget demands: how many pods it expects, and how many of them must be
//! healthy.

use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Seconds until a granted eviction whose pod was not deleted stops counting as a disruption.
///
/// Upstream: `DeletionTimeout` of the disruption controller.
pub const DELETION_SECONDS: i64 = 120;

/// The numbers that a budget's spec demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Number of pods that the budget expects (`status.expectedPods`).
    pub expected: i32,
    /// Number of pods that must be healthy (`status.desiredHealthy`).
    pub desired: i32,
}

impl Demand {
    /// Returns how many disruptions the budget allows while `healthy` pods are healthy. A budget
    /// that expects no pods allows none.
    #[must_use]
    pub fn allowed(self, healthy: i32) -> i32 {
        if self.expected > 0 {
            healthy.saturating_sub(self.desired).max(0)
        } else {
            0
        }
    }
}

/// The error for a string that is not a percentage. The message is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for IntOrString: invalid type: string is not a percentage")]
pub struct NotAPercentage;

/// Returns whether the expected number of pods comes from the scale of their controllers, and not
/// from the pods that exist.
#[must_use]
pub fn asks_controllers(spec: Option<&PodDisruptionBudgetSpec>) -> bool {
    let Some(spec) = spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// Computes the demand of a spec: `pods` is the number of selected pods, `replicas` the total scale
/// of their controllers. Percentages round up for both `minAvailable` and `maxUnavailable`.
///
/// # Errors
/// [`NotAPercentage`] for a string without a number and `%`.
pub fn demand(
    spec: Option<&PodDisruptionBudgetSpec>,
    pods: usize,
    replicas: i32,
) -> Result<Demand, NotAPercentage> {
    let Some(spec) = spec else {
        return Ok(Demand {
            expected: 0,
            desired: 0,
        });
    };
    if let Some(max) = &spec.max_unavailable {
        let unavailable = match max {
            IntOrString::Int(number) => *number,
            IntOrString::String(text) => share(text, replicas)?,
        };
        return Ok(Demand {
            expected: replicas,
            desired: replicas.saturating_sub(unavailable).max(0),
        });
    }
    match &spec.min_available {
        Some(IntOrString::Int(number)) => Ok(Demand {
            expected: i32::try_from(pods).unwrap_or(i32::MAX),
            desired: *number,
        }),
        Some(IntOrString::String(text)) => Ok(Demand {
            expected: replicas,
            desired: share(text, replicas)?,
        }),
        None => Ok(Demand {
            expected: 0,
            desired: 0,
        }),
    }
}

fn share(text: &str, of: i32) -> Result<i32, NotAPercentage> {
    let percent: i64 = text
        .strip_suffix('%')
        .and_then(|number| number.parse().ok())
        .ok_or(NotAPercentage)?;
    // Rounding up protects: more healthy pods for `minAvailable`. For `maxUnavailable` upstream
    // rounds up as well.
    let rounded_up = i64::from(of)
        .saturating_mul(percent)
        .saturating_add(99)
        .div_euclid(100);
    let bounded = rounded_up.clamp(i32::MIN.into(), i32::MAX.into());
    Ok(i32::try_from(bounded).expect("clamped to the range of the type"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_percentage_beyond_all_bounds_is_the_largest_number() {
        let found = |text: &str| share(text, 7).ok();
        assert_eq!(found("9000000000000000000%"), Some(i32::MAX));
        assert_eq!(found("-9000000000000000000%"), Some(i32::MIN));
        assert_eq!(found("90000000000000000000%"), None);
        assert_eq!(found("15%"), Some(2));
    }

    fn spec(json: Value) -> PodDisruptionBudgetSpec {
        serde_json::from_value(json).expect("a spec")
    }

    #[test]
    fn a_spec_demands_healthy_pods() {
        // Spec, selected pods, replicas of their controllers; expected and healthy pods.
        let cases = [
            (json!({"minAvailable": 2}), 5, 9, (5, 2)),
            (json!({"minAvailable": 7}), 5, 9, (5, 7)),
            (json!({"minAvailable": "50%"}), 5, 3, (3, 2)),
            (json!({"minAvailable": "50%"}), 5, 4, (4, 2)),
            (json!({"minAvailable": "0%"}), 5, 4, (4, 0)),
            (json!({"minAvailable": "100%"}), 5, 4, (4, 4)),
            (json!({"minAvailable": "1%"}), 5, 101, (101, 2)),
            (json!({"maxUnavailable": 1}), 5, 3, (3, 2)),
            (json!({"maxUnavailable": 4}), 5, 3, (3, 0)),
            (json!({"maxUnavailable": "50%"}), 5, 3, (3, 1)),
            (json!({"maxUnavailable": "0%"}), 5, 3, (3, 3)),
            (json!({}), 5, 3, (0, 0)),
        ];
        for (json, pods, replicas, (expected, desired)) in cases {
            assert_eq!(
                demand(Some(&spec(json.clone())), pods, replicas),
                Ok(Demand { expected, desired }),
                "{json}"
            );
        }
        assert_eq!(
            demand(None, 5, 3),
            Ok(Demand {
                expected: 0,
                desired: 0
            })
        );
    }

    #[test]
    fn strings_must_be_percentages() {
        for json in [
            json!({"minAvailable": "2"}),
            json!({"maxUnavailable": "x%"}),
        ] {
            assert_eq!(
                demand(Some(&spec(json.clone())), 1, 1),
                Err(NotAPercentage),
                "{json}"
            );
        }
    }

    #[test]
    fn only_a_number_of_available_pods_needs_no_controllers() {
        let cases = [
            (json!({"minAvailable": 2}), false),
            (json!({"minAvailable": "50%"}), true),
            (json!({"maxUnavailable": 1}), true),
            (json!({"maxUnavailable": "50%"}), true),
            (json!({}), false),
        ];
        for (json, expected) in cases {
            assert_eq!(
                asks_controllers(Some(&spec(json.clone()))),
                expected,
                "{json}"
            );
        }
        assert!(!asks_controllers(None));
    }

    #[test]
    fn healthy_pods_beyond_the_desired_number_may_be_disrupted() {
        let demand = |expected, desired| Demand { expected, desired };
        assert_eq!(demand(5, 3).allowed(5), 2);
        assert_eq!(demand(5, 3).allowed(3), 0);
        assert_eq!(demand(5, 3).allowed(1), 0);
        assert_eq!(demand(1, 0).allowed(1), 1);
        assert_eq!(demand(0, 0).allowed(5), 0);
    }
}
