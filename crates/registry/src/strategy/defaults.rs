//! Defaults of kinds that need no other rules.
//!
//! Each function stands for the defaulting functions of one kind upstream. The table of all of them
//! is `defaults/table.yaml`, which a test reads.

use kinds::Tree;
use kinds::tree::json;

use crate::tree::{at, ensure, fill, int, list_mut, put, text};

/// Fills in the seven defaults of a `CSIDriver`.
pub(super) fn csi_driver(driver: &mut Tree) {
    for (field, value) in [
        ("attachRequired", true),
        ("podInfoOnMount", false),
        ("storageCapacity", false),
        ("requiresRepublish", false),
        ("seLinuxMount", false),
    ] {
        fill(driver, &["spec", field], value);
    }
    fill(
        driver,
        &["spec", "fsGroupPolicy"],
        "ReadWriteOnceWithFSType",
    );
    let modes = at(driver, &["spec", "volumeLifecycleModes"]);
    if modes.as_array().is_none_or(|modes| modes.is_empty()) {
        put(
            driver,
            &["spec", "volumeLifecycleModes"],
            json!(["Persistent"]),
        );
    }
}

/// Fills in the defaults of an admission policy, validating or mutating.
pub(super) fn admission_policy(policy: &mut Tree) {
    fill(policy, &["spec", "failurePolicy"], "Fail");
    match_resources(policy, "matchConstraints");
}

/// Fills in the defaults of the binding of an admission policy.
pub(super) fn policy_binding(binding: &mut Tree) {
    match_resources(binding, "matchResources");
}

fn match_resources(object: &mut Tree, member: &str) {
    if !at(object, &["spec", member]).is_object() {
        return;
    }
    fill(object, &["spec", member, "matchPolicy"], "Equivalent");
    ensure(object, &["spec", member, "namespaceSelector"]);
    ensure(object, &["spec", member, "objectSelector"]);
    for rules in ["resourceRules", "excludeResourceRules"] {
        for rule in list_mut(object, &["spec", member, rules]) {
            fill(rule, &["scope"], "*");
        }
    }
}

/// Fills in the default of a `FlowSchema`.
pub(super) fn flow_schema(schema: &mut Tree) {
    fill_zero(schema, &["spec", "matchingPrecedence"], 1000);
}

/// Fills in the defaults of a `PriorityLevelConfiguration`.
pub(super) fn priority_level(level: &mut Tree) {
    if at(level, &["spec", "exempt"]).is_object() {
        fill(level, &["spec", "exempt", "nominalConcurrencyShares"], 0);
        fill(level, &["spec", "exempt", "lendablePercent"], 0);
    }
    if !at(level, &["spec", "limited"]).is_object() {
        return;
    }
    fill(level, &["spec", "limited", "nominalConcurrencyShares"], 30);
    fill(level, &["spec", "limited", "lendablePercent"], 0);
    let queuing = ["spec", "limited", "limitResponse", "queuing"];
    if at(level, &queuing).is_object() {
        for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
            let path: Vec<&str> = queuing.iter().copied().chain([field]).collect();
            fill_zero(level, &path, value);
        }
    }
}

/// Fills in the defaults of the device requests of a `ResourceClaim`.
pub(super) fn resource_claim(claim: &mut Tree) {
    device_requests(claim, &["spec", "devices", "requests"]);
}

/// Fills in the defaults of the device requests of a `ResourceClaimTemplate`.
pub(super) fn resource_claim_template(template: &mut Tree) {
    device_requests(template, &["spec", "spec", "devices", "requests"]);
}

fn device_requests(object: &mut Tree, path: &[&str]) {
    for request in list_mut(object, path) {
        if let Some(exactly) = request.get_mut("exactly").filter(|part| part.is_object()) {
            device_request(exactly);
        }
        for alternative in list_mut(request, &["firstAvailable"]) {
            device_request(alternative);
        }
    }
}

fn device_request(request: &mut Tree) {
    fill(request, &["allocationMode"], "ExactCount");
    if text(request, &["allocationMode"]) == "ExactCount" {
        fill_zero(request, &["count"], 1);
    }
    for toleration in list_mut(request, &["tolerations"]) {
        fill(toleration, &["operator"], "Equal");
    }
}

/// Sets a default where the number is absent or zero.
fn fill_zero(tree: &mut Tree, path: &[&str], value: i64) {
    if int(tree, path).unwrap_or_default() == 0 {
        put(tree, path, value);
    }
}
