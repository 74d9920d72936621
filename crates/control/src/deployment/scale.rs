//! The arithmetic of rolling updates: how large each set may be. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::meta::annotation;
use crate::percentage::scaled;

/// The annotation that holds the size of the deployment.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The annotation that holds the size of the deployment plus its surge.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// The number of pods that the deployment wants.
pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1)
}

/// The number of pods that a set wants.
pub(super) fn replicas_of(set: &ReplicaSet) -> i32 {
    set.spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1)
}

/// The number of available pods of a set.
pub(super) fn available_of(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or_default()
}

/// The resolved `maxSurge` and `maxUnavailable`. They are never both zero, because then a rolling
/// update could not proceed.
fn limits(deployment: &Deployment) -> (i32, i32) {
    let rolling = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.strategy.as_ref()?.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let of = |value: Option<&IntOrString>, round_up: bool| {
        scaled(value.unwrap_or(&quarter), wanted(deployment), round_up)
    };
    let surge = of(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
    let unavailable = of(
        rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
        false,
    );
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    }
}

/// How many pods may exist beyond the wanted number.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) {
        0
    } else {
        limits(deployment).0
    }
}

/// How many of the wanted pods may be unavailable.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) || wanted(deployment) == 0 {
        0
    } else {
        limits(deployment).1.min(wanted(deployment))
    }
}

/// The annotations by which a later change of the deployment's size is recognised during a rollout.
pub(super) fn size_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let wanted = wanted(deployment);
    let max = wanted.saturating_add(max_surge(deployment));
    BTreeMap::from([
        (DESIRED.to_owned(), wanted.to_string()),
        (MAX.to_owned(), max.to_string()),
    ])
}

/// The value of such an annotation.
pub(super) fn annotated(set: &ReplicaSet, name: &str) -> Option<i32> {
    annotation(&set.metadata, name)?.parse().ok()
}

/// The size to which the set of the present template may grow now. `total` is the size of all sets
/// together.
pub(super) fn new_set_size(deployment: &Deployment, present: i32, total: i32) -> i32 {
    let wanted = wanted(deployment);
    if is_recreate(deployment) {
        return wanted;
    }
    let room = wanted.saturating_add(max_surge(deployment)) - total;
    if room <= 0 {
        present
    } else {
        present + room.min(wanted - present)
    }
}

/// Distributes a change of the deployment's size over its sets in proportion to their sizes; the
/// first set gets the rest. `sizes` holds the size and the annotated maximum of each set. The
/// result has the same order.
pub(super) fn proportional(deployment: &Deployment, sizes: &[(i32, Option<i32>)]) -> Vec<i32> {
    let wanted = wanted(deployment);
    let total: i32 = sizes.iter().map(|(size, _)| size).sum();
    let allowed = if wanted > 0 {
        wanted.saturating_add(max_surge(deployment))
    } else {
        0
    };
    let to_add = allowed - total;
    let mut added = 0;
    let mut result = Vec::with_capacity(sizes.len());
    for (size, max_before) in sizes {
        let part = if wanted == 0 || *size == 0 || to_add == added {
            0
        } else {
            let status = deployment
                .status
                .as_ref()
                .and_then(|status| status.replicas)
                .unwrap_or_default();
            let before = max_before.filter(|max| *max > 0).unwrap_or(status);
            let fraction = if before == 0 {
                0
            } else {
                rounded(i64::from(*size) * i64::from(allowed), i64::from(before)) - size
            };
            let left = to_add - added;
            if to_add > 0 {
                fraction.min(left)
            } else {
                fraction.max(left)
            }
        };
        added += part;
        result.push(size + part);
    }
    if let Some(first) = result.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    result
}

fn rounded(dividend: i64, divisor: i64) -> i32 {
    i32::try_from((dividend * 2 + divisor).div_euclid(divisor * 2)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: i32, strategy: serde_json::Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {"name": "web"},
            "spec": {"replicas": replicas, "strategy": strategy}}))
        .expect("a deployment")
    }

    fn rolling(surge: serde_json::Value, unavailable: serde_json::Value) -> serde_json::Value {
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge,
            "maxUnavailable": unavailable}})
    }

    #[test]
    fn surge_is_rounded_up_and_unavailability_down_and_not_both_are_zero() {
        let cases = [
            ((10, rolling(json!("25%"), json!("25%"))), (3, 2)),
            ((3, rolling(json!(1), json!(0))), (1, 0)),
            ((3, rolling(json!(0), json!(0))), (0, 1)),
            ((1, rolling(json!("0%"), json!("25%"))), (0, 1)),
            ((2, rolling(json!(0), json!(5))), (0, 2)),
            ((3, json!({"type": "Recreate"})), (0, 0)),
            ((4, json!(null)), (1, 1)),
        ];
        for ((replicas, strategy), expected) in cases {
            let deployment = deployment(replicas, strategy);
            assert_eq!(
                (max_surge(&deployment), max_unavailable(&deployment)),
                expected,
                "{deployment:?}"
            );
        }
    }

    #[test]
    fn the_new_set_grows_as_far_as_the_surge_allows() {
        let deployment = deployment(10, rolling(json!(2), json!(2)));
        assert_eq!(new_set_size(&deployment, 0, 10), 2);
        assert_eq!(new_set_size(&deployment, 2, 12), 2);
        assert_eq!(new_set_size(&deployment, 2, 8), 6);
        assert_eq!(new_set_size(&deployment, 0, 0), 10);
    }

    #[test]
    fn a_change_of_size_during_a_rollout_is_distributed_over_the_sets() {
        let grown = deployment(20, rolling(json!(0), json!(2)));
        assert_eq!(
            proportional(&grown, &[(8, Some(10)), (2, Some(10))]),
            [16, 4]
        );
        let shrunk = deployment(5, rolling(json!(0), json!(2)));
        assert_eq!(
            proportional(&shrunk, &[(8, Some(10)), (2, Some(10))]),
            [4, 1]
        );
        let uneven = deployment(5, rolling(json!(0), json!(2)));
        assert_eq!(
            proportional(&uneven, &[(3, Some(4)), (1, Some(4))])
                .iter()
                .sum::<i32>(),
            5
        );
    }
}
