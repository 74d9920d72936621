//! Findings as text for people.

use super::{Finding, Severity};

/// All findings that are not suppressed, and a line that sums up.
#[must_use]
pub fn text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings.iter().filter(|finding| !finding.suppressed) {
        let place = finding
            .source
            .as_ref()
            .map(|source| format!(" ({}:{})", source.file, source.line))
            .unwrap_or_default();
        lines.push(format!(
            "{}: {}{place}: {} [{}]",
            finding.severity.word(),
            finding.object,
            finding.message,
            finding.rule
        ));
        lines.push(format!("  way out: {}", finding.way));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(summary(findings));
    lines.push(String::new());
    lines.join("\n")
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity: Severity| {
        findings
            .iter()
            .filter(|finding| !finding.suppressed && finding.severity == severity)
            .count()
    };
    let suppressed = findings.iter().filter(|finding| finding.suppressed).count();
    let plural = |count: usize, noun: &str| crate::words::plural(count, noun);
    let (errors, warnings, notes) = (
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note),
    );
    let more = if suppressed > 0 {
        format!("; {suppressed} suppressed")
    } else {
        String::new()
    };
    match errors + warnings + notes {
        0 => format!("nothing found{more}"),
        _ => format!(
            "{}, {}, {}{more}",
            plural(errors, "error"),
            plural(warnings, "warning"),
            plural(notes, "note")
        ),
    }
}
