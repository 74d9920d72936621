//! What a budget asks for: how many pods it expects, and how many of them must stay healthy.

use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How long a granted eviction may take to show at the pod before it no longer counts.
pub const DELETION_SECONDS: i64 = 120;

/// What a budget asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// How many pods there should be.
    pub expected: i32,
    /// How many of them must be healthy at the least.
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

/// A share that is no percentage, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for IntOrString: invalid type: string is not a percentage")]
pub struct NotAPercentage;

/// True when the number of pods is what their controllers want, not what is there.
#[must_use]
pub fn asks_controllers(spec: Option<&PodDisruptionBudgetSpec>) -> bool {
    let Some(spec) = spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// The numbers that follow from the spec, with `pods` covered by the selector and `replicas` wanted
/// by their controllers. Percentages are rounded up on both sides.
///
/// # Errors
/// For a text that is no percentage.
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
    let rounded_up = (i64::from(of) * percent + 99).div_euclid(100);
    Ok(i32::try_from(rounded_up).unwrap_or(i32::MAX))
}
