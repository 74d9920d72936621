//! Objects that a server refuses, and budgets that stand alone in their file.

use super::{Finding, findings};

fn found<'f>(findings: &'f [Finding], rule: &str) -> Vec<&'f str> {
    let of_rule = findings.iter().filter(|finding| finding.rule == rule);
    of_rule.map(|finding| finding.message.as_str()).collect()
}

fn budget(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
    )
}

#[test]
fn what_the_server_refuses_is_reported_in_its_words() {
    let invalid = |why: &str| format!("PodDisruptionBudget.policy \"b\" is invalid: {why} (422)");
    let percent = kinds::names::percent("1").join(" ");
    let cases = [
        ("{maxUnavailable: 1, selector: {matchLabels: {a: b}}}", None),
        (
            "{minAvailable: 1, maxUnavailable: 1}",
            Some(invalid("spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set")),
        ),
        (
            "{minAvailable: -1}",
            Some(invalid(
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            )),
        ),
        (
            "{maxUnavailable: '1'}",
            Some(invalid(&format!("spec.maxUnavailable: Invalid value: \"1\": {percent}"))),
        ),
        (
            "{maxUnavailable: 120%}",
            Some(invalid(
                "spec.maxUnavailable: Invalid value: \"120%\": must not be greater than 100%",
            )),
        ),
        (
            "{maxUnavailable: 1, unhealthyPodEvictionPolicy: Sometimes}",
            Some(invalid("spec.unhealthyPodEvictionPolicy: Unsupported value: \"Sometimes\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"")),
        ),
        (
            "{maxUnavailable: 1, selector: {app: web}}",
            Some("PodDisruptionBudget in version \"v1\" cannot be handled as a PodDisruptionBudget: strict decoding error: unknown field \"spec.selector.app\" (400)".to_owned()),
        ),
        (
            "{maxUnavailable: [1]}",
            Some("PodDisruptionBudget in version \"v1\" cannot be handled as a PodDisruptionBudget: json: cannot unmarshal array into Go struct field PodDisruptionBudgetSpec.spec.maxUnavailable of type int32 (400)".to_owned()),
        ),
    ];
    for (spec, expected) in cases {
        let findings = findings(&budget("b", spec));
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_eq!(found(&findings, "server-refuses"), expected, "{spec}");
    }
}

#[test]
fn a_version_that_is_not_served_is_refused_and_judged_all_the_same() {
    let old = budget("b", "{maxUnavailable: 0, selector: {matchLabels: {a: b}}}")
        .replace("policy/v1", "policy/v1beta1");
    let findings = findings(&old);
    assert_eq!(
        found(&findings, "server-refuses"),
        [
            "no matches for kind \"PodDisruptionBudget\" in version \"policy/v1beta1\": it is not served since Kubernetes 1.25; policy/v1 is served"
        ]
    );
    assert_eq!(found(&findings, "pdb-never-allows").len(), 1);
    assert!(findings.iter().all(|finding| finding.source.is_some()));
}

#[test]
fn budgets_alone_in_a_file_are_judged() {
    let never = [
        "{maxUnavailable: 0, selector: {matchLabels: {a: b}}}",
        "{maxUnavailable: 0%, selector: {matchLabels: {a: b}}}",
        "{minAvailable: 100%, selector: {}}",
    ];
    for spec in never {
        let findings = findings(&budget("b", spec));
        assert_eq!(found(&findings, "pdb-never-allows").len(), 1, "{spec}");
        assert!(found(&findings, "pdb-selects-nothing").is_empty(), "{spec}");
    }
    for spec in [
        "{maxUnavailable: 1, selector: {}}",
        "{maxUnavailable: 1%, selector: {}}",
        "{minAvailable: 99%, selector: {}}",
        "{minAvailable: 3, selector: {}}",
    ] {
        let findings = findings(&budget("b", spec));
        let errors = findings
            .iter()
            .filter(|finding| finding.severity == super::FindingSeverity::Error);
        assert_eq!(errors.count(), 0, "{spec}");
    }
    let bare = findings(&budget("b", "{maxUnavailable: 1}"));
    assert_eq!(
        found(&bare, "pdb-selects-nothing"),
        ["it has no selector, so it selects nothing"]
    );
}

#[test]
fn selectors_show_an_overlap_without_any_pod() {
    let pair = |first: &str, second: &str| {
        let text = budget("one", &format!("{{maxUnavailable: 1, selector: {first}}}"))
            + &budget("two", &format!("{{maxUnavailable: 1, selector: {second}}}"));
        let findings = findings(&text);
        let messages: Vec<String> = found(&findings, "pdb-overlap")
            .into_iter()
            .map(str::to_owned)
            .collect();
        messages
    };
    let web = "{matchLabels: {app: web}}";
    assert_eq!(
        pair(web, web),
        [
            "budget two has an equivalent selector, so it selects the same pods",
            "budget one has an equivalent selector, so it selects the same pods",
        ]
    );
    assert_eq!(
        pair(web, "{}"),
        [
            "budget two selects all pods of this budget as well",
            "budget one selects pods of this budget as well",
        ]
    );
    assert_eq!(pair(web, "{matchLabels: {app: db}}"), Vec::<String>::new());
    assert_eq!(
        pair(web, "{matchLabels: {tier: front}}"),
        Vec::<String>::new()
    );
}
