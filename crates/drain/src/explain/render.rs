//! Renders an explanation as text: headline, evidence, problems, remedies.

use super::{Explanation, Risk};
use crate::format::one_line;

pub(super) fn text(explanation: &Explanation) -> String {
    let mut lines = vec![one_line(&explanation.headline).into_owned()];
    if !explanation.evidence.is_empty() {
        lines.push(String::new());
    }
    for evidence in &explanation.evidence {
        lines.push(format!("  {}", one_line(&evidence.text)));
        let parts = evidence.parts.iter();
        lines.extend(parts.map(|part| format!("    - {}", one_line(part))));
    }
    for (title, blocks) in [("Blocking", true), ("Good to know", false)] {
        let problems = explanation
            .problems
            .iter()
            .filter(|problem| problem.blocks == blocks);
        section(
            &mut lines,
            title,
            problems.map(|problem| format!("  - {} [{}]", one_line(&problem.text), problem.id)),
        );
    }
    let remedies = explanation
        .remedies
        .iter()
        .enumerate()
        .map(|(index, remedy)| {
            let risk = match remedy.risk {
                Risk::Safe => "",
                Risk::Protection => " (weakens protection)",
                Risk::Downtime => " (stops pods)",
            };
            let commands = remedy
                .commands
                .iter()
                .map(|command| format!("\n       {}", one_line(command)))
                .collect::<String>();
            format!(
                "  {}. {}{risk}{commands}",
                index + 1,
                one_line(&remedy.text)
            )
        });
    section(&mut lines, "What to do, safest first", remedies);
    section(
        &mut lines,
        "Unknown, because it could not be read",
        explanation
            .unread
            .iter()
            .map(|line| format!("  - {}", one_line(line))),
    );
    if let Some(answer) = &explanation.dry_run {
        let agrees = match answer.agrees {
            Some(true) => "; this agrees with the explanation",
            Some(false) => {
                "; this contradicts the explanation: the objects may have changed since they were read, or a webhook decides"
            }
            None => "",
        };
        let code = if answer.code == 0 {
            "no response".to_owned()
        } else {
            answer.code.to_string()
        };
        section(
            &mut lines,
            "Dry run by the server",
            [format!("  {code}: {}{agrees}", one_line(&answer.message))],
        );
    }
    lines.push(String::new());
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, content: impl IntoIterator<Item = String>) {
    let mut content = content.into_iter().peekable();
    if content.peek().is_some() {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(content);
    }
}
