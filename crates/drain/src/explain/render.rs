//! An explanation as text: the headline, what it rests on, what is in the way, the ways out.

use super::{Explanation, Risk};

pub(super) fn text(explanation: &Explanation) -> String {
    let mut lines = vec![explanation.headline.clone()];
    if !explanation.evidence.is_empty() {
        lines.push(String::new());
    }
    for evidence in &explanation.evidence {
        lines.push(format!("  {}", evidence.text));
        lines.extend(evidence.parts.iter().map(|part| format!("    - {part}")));
    }
    for (title, blocks) in [("In the way", true), ("Good to know", false)] {
        let problems = explanation
            .problems
            .iter()
            .filter(|problem| problem.blocks == blocks);
        section(
            &mut lines,
            title,
            problems.map(|problem| format!("  - {} [{}]", problem.text, problem.id)),
        );
    }
    let ways = explanation.ways.iter().enumerate().map(|(index, way)| {
        let note = match way.risk {
            Risk::Safe => "",
            Risk::Protection => " (lowers protection)",
            Risk::Downtime => " (ends pods)",
        };
        let commands = way
            .commands
            .iter()
            .map(|command| format!("\n       {command}"))
            .collect::<String>();
        format!("  {}. {}{note}{commands}", index + 1, way.text)
    });
    section(&mut lines, "What to do, the safe things first", ways);
    section(
        &mut lines,
        "Not seen",
        explanation.unseen.iter().map(|line| format!("  - {line}")),
    );
    if let Some(answer) = &explanation.answer {
        let agrees = match answer.agrees {
            Some(true) => "; so it says here",
            Some(false) => {
                "; that is not what the objects say: they may have changed, or something outside the API decides"
            }
            None => "",
        };
        let code = if answer.code == 0 {
            "no answer".to_owned()
        } else {
            answer.code.to_string()
        };
        section(
            &mut lines,
            "The server, asked for a dry run",
            [format!("  {code}: {}{agrees}", answer.message)],
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
