//! Findings as SARIF 2.1.0, the format of code scanners.

use serde_json::{Value, json};

use super::{Finding, RULES};
use crate::cluster::Unread;

/// Renders the log: one run with all rules and all findings, including suppressed ones. The run
/// counts as failed when kinds could not be read, of which each gives a notification.
#[must_use]
pub fn sarif(findings: &[Finding], failed: &[Unread], version: &str) -> Value {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.title},
                "fullDescription": {"text": rule.why},
                "help": {"text": format!("Fix: {}.", rule.fix)},
                "defaultConfiguration": {"level": rule.severity.as_str()},
            })
        })
        .collect();
    let results: Vec<Value> = findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "exeunt lint", "version": version, "rules": rules}},
            "invocations": [{
                "executionSuccessful": failed.is_empty(),
                "toolExecutionNotifications": failed.iter().map(notification).collect::<Vec<_>>(),
            }],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn notification(unread: &Unread) -> Value {
    let text = format!("not checked: {}: {}", unread.resource, unread.why);
    json!({"level": "error", "message": {"text": text}})
}

fn result(finding: &Finding) -> Value {
    let object = finding.object.to_string();
    let mut location = json!({"logicalLocations": [{"name": finding.object.name,
        "fullyQualifiedName": object, "kind": "resource"}]});
    if let Some(source) = &finding.source {
        location["physicalLocation"] = json!({"artifactLocation": {"uri": uri(&source.file)},
            "region": {"startLine": source.line}});
    }
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": RULES.iter().position(|rule| rule.id == finding.rule),
        "level": finding.severity.as_str(),
        "message": {"text": format!("{object}: {}. Fix: {}.", finding.message, finding.fix)},
        "locations": [location],
        "partialFingerprints": {"objectAndRule/v1": format!("{object}:{}", finding.rule)},
    });
    if finding.suppressed {
        result["suppressions"] = json!([{"kind": "inSource"}]);
    }
    result
}

/// Converts a path to a URI reference, percent-encoding what a URI does not allow.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escaped = path.bytes().map(|byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    let reference: String = escaped.collect();
    if reference.starts_with('/') {
        format!("file://{reference}")
    } else {
        reference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uri_references() {
        assert_eq!(uri("manifests/my app.yaml"), "manifests/my%20app.yaml");
        assert_eq!(uri("/a/b.yaml"), "file:///a/b.yaml");
    }
}
