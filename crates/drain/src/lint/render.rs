//! Renders findings as text for people.

use super::{Finding, FindingSeverity};
use crate::format::plural;

/// Renders all findings that are not suppressed, and a summary line.
#[must_use]
pub fn text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings.iter().filter(|finding| !finding.suppressed) {
        let location = finding
            .source
            .as_ref()
            .map(|source| format!(" ({}:{})", source.file, source.line))
            .unwrap_or_default();
        lines.push(format!(
            "{}: {}{location}: {} [{}]",
            finding.severity.as_str(),
            finding.object,
            finding.message,
            finding.rule
        ));
        lines.push(format!("  fix: {}", finding.fix));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(summary(findings));
    lines.push(String::new());
    lines.join("\n")
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity: FindingSeverity| {
        findings
            .iter()
            .filter(|finding| !finding.suppressed && finding.severity == severity)
            .count()
    };
    let suppressed = findings.iter().filter(|finding| finding.suppressed).count();
    let (errors, warnings, notes) = (
        count(FindingSeverity::Error),
        count(FindingSeverity::Warning),
        count(FindingSeverity::Note),
    );
    let more = if suppressed > 0 {
        format!("; {suppressed} suppressed")
    } else {
        String::new()
    };
    match errors + warnings + notes {
        0 => format!("no findings{more}"),
        _ => format!(
            "{}, {}, {}{more}",
            plural(errors, "error"),
            plural(warnings, "warning"),
            plural(notes, "note")
        ),
    }
}
