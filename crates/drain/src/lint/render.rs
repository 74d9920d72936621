//! Renders findings as text for people.

use super::{Finding, FindingSeverity};
use crate::format::{one_line, plural};

/// Renders all findings that are not suppressed, and a summary line. `complete` is false when not
/// everything could be read.
#[must_use]
pub fn text(findings: &[Finding], complete: bool) -> String {
    let mut lines = Vec::new();
    for finding in findings.iter().filter(|finding| !finding.suppressed) {
        let location = finding
            .source
            .as_ref()
            .map(|source| format!(" ({}:{})", one_line(&source.file), source.line))
            .unwrap_or_default();
        lines.push(format!(
            "{}: {}{location}: {} [{}]",
            finding.severity.as_str(),
            one_line(&finding.object.to_string()),
            one_line(&finding.message),
            finding.rule
        ));
        lines.push(format!("  fix: {}", finding.fix));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(summary(findings, complete));
    lines.push(String::new());
    lines.join("\n")
}

fn summary(findings: &[Finding], complete: bool) -> String {
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
        0 if !complete => format!("no findings in what could be read{more}"),
        0 => format!("no findings{more}"),
        _ => format!(
            "{}, {}, {}{more}",
            plural(errors, "error"),
            plural(warnings, "warning"),
            plural(notes, "note")
        ),
    }
}
