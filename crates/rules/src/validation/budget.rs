//! Validation of the spec of a `PodDisruptionBudget`. It checks the limits before the selector,
//! because clients see the order of faults.

use kinds::Tree;
use kinds::status::FieldErrors;

use super::path::SPEC;
use super::{at, at_most_all, invalid_shown, number_or_percent, one_of_if_set, selector};

const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

/// Appends what is wrong with the spec of a budget. `lenient_values` skips the values of the
/// selector's expressions, for updates of budgets whose stored selector is already invalid.
pub fn spec(budget: &Tree, lenient_values: bool, out: &mut FieldErrors) {
    let spec = at(budget, &["spec"]);
    let (least, most) = (at(spec, &["minAvailable"]), at(spec, &["maxUnavailable"]));
    if !least.is_null() && !most.is_null() {
        out.push(invalid_shown(
            SPEC,
            &shown_spec(spec),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let path = SPEC.child(field);
        number_or_percent(at(spec, &[field]), &path, out);
        at_most_all(at(spec, &[field]), &path, out);
    }
    selector::faults(
        at(spec, &["selector"]),
        &SPEC.child("selector"),
        lenient_values,
        out,
    );
    one_of_if_set(spec, "unhealthyPodEvictionPolicy", &POLICIES, &SPEC, out);
}

/// Renders the spec as the fault of two limits shows it: with the field names of upstream's Go
/// structs, which clients see.
fn shown_spec(spec: &Tree) -> String {
    format!(
        "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
        at(spec, &["minAvailable"]),
        selector::shown(at(spec, &["selector"])),
        at(spec, &["maxUnavailable"]),
        at(spec, &["unhealthyPodEvictionPolicy"]),
    )
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn every_fault_of_a_budget_has_the_text_of_the_server() {
        let numeric = kinds::names::percent("1").join(" ");
        let cases = [
            (json!({}), Vec::new()),
            (json!({"minAvailable": 1, "selector": {}}), Vec::new()),
            (
                json!({"minAvailable": -1}),
                vec![
                    "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"
                        .to_owned(),
                ],
            ),
            (
                json!({"maxUnavailable": "1"}),
                vec![format!("spec.maxUnavailable: Invalid value: \"1\": {numeric}")],
            ),
            (
                json!({"maxUnavailable": "120%"}),
                vec![
                    "spec.maxUnavailable: Invalid value: \"120%\": must not be greater than 100%"
                        .to_owned(),
                ],
            ),
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                vec!["spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set".to_owned()],
            ),
            (
                json!({"unhealthyPodEvictionPolicy": "Never"}),
                vec!["spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"".to_owned()],
            ),
            (
                json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
                vec!["spec.selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator".to_owned()],
            ),
        ];
        for (spec, expected) in cases {
            let mut faults = FieldErrors::default();
            super::spec(&json!({"spec": spec.clone()}), false, &mut faults);
            let found: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{spec}");
        }
    }
}
