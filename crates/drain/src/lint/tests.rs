//! The rules of lint, each over a manifest that breaks it.

mod matrix;
mod refusals;

use super::*;

/// Manifests that break every rule; the names say which.
const MANIFESTS: &str = include_str!("tests/manifests.yaml");

fn options() -> LintOptions {
    LintOptions {
        max_grace: Duration::from_secs(600),
    }
}

fn findings(text: &str) -> Vec<Finding> {
    let snapshot = ClusterSnapshot::parse(text, jiff::Timestamp::UNIX_EPOCH).expect("manifests");
    let mut sources = SourceMap::default();
    sources.add("manifests.yaml", text);
    lint(&snapshot, &sources, &options())
}

#[test]
fn every_rule_finds_what_it_is_for_with_its_line() {
    insta::assert_snapshot!(text(&findings(MANIFESTS), true));
}

#[test]
fn every_rule_has_a_finding() {
    let found = findings(MANIFESTS);
    for rule in RULES {
        assert!(
            found.iter().any(|finding| finding.rule == rule.id),
            "{} found nothing",
            rule.id
        );
    }
}

#[test]
fn good_manifests_have_no_findings() {
    let good = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, lifecycle: {preStop: {sleep: {seconds: 5}}}}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, unhealthyPodEvictionPolicy: AlwaysAllow, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
";
    assert_eq!(
        text(&findings(good), true),
        "no findings
"
    );
}

#[test]
fn an_annotation_suppresses_a_rule_and_nothing_else() {
    let pod = |ignore: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, annotations: {{{IGNORE}: \"{ignore}\"}}}}\nspec: {{terminationGracePeriodSeconds: 0, containers: []}}\n"
        )
    };
    let rules = |ignore: &str| -> Vec<&str> {
        findings(&pod(ignore))
            .into_iter()
            .filter(|finding| !finding.suppressed)
            .map(|finding| finding.rule)
            .collect()
    };
    assert_eq!(rules(""), ["bare-pod", "no-grace"]);
    assert_eq!(rules("no-grace, other"), ["bare-pod"]);
    assert_eq!(rules("*"), Vec::<&str>::new());
    let log = sarif(&findings(&pod("*")), &[], "0");
    assert_eq!(
        log["runs"][0]["results"][0]["suppressions"][0]["kind"],
        "inSource"
    );
}

#[test]
fn the_sarif_log_has_what_the_format_demands() {
    let log = sarif(&findings(MANIFESTS), &[], "1.2.3");
    let rules = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .expect("rules");
    for result in log["runs"][0]["results"].as_array().expect("results") {
        let index =
            usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["note", "warning", "error"].contains(&result["level"].as_str().expect("a level")));
        assert!(
            result["locations"][0]["physicalLocation"]["region"]["startLine"].as_u64() > Some(0),
            "{result}"
        );
        assert!(result["message"]["text"].is_string());
    }
    assert_eq!(
        (&log["version"], rules.len()),
        (&"2.1.0".into(), RULES.len())
    );
}

#[test]
fn the_document_shows_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lint.md");
    let document = std::fs::read_to_string(path).expect("docs/lint.md");
    assert!(
        document.contains(&markdown()),
        "the table of docs/lint.md should be:\n{}",
        markdown()
    );
}

#[test]
fn every_resource_that_lint_reads_is_in_the_snapshot() {
    for resource in READS {
        assert!(crate::cluster::RESOURCES.contains(resource), "{resource}");
    }
}

#[test]
fn an_incomplete_check_does_not_claim_that_nothing_was_found() {
    assert_eq!(text(&[], false), "no findings in what could be read\n");
}
