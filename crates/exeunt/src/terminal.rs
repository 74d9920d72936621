//! The one place that prints: data on standard output, talk on standard error, colour only for a
//! terminal that wants it (`NO_COLOR`).

use std::io::{IsTerminal as _, Write as _};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    colour: bool,
}

/// What a piece of text is, for those who see colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A heading.
    Strong,
    /// Times and asides.
    Faint,
    /// It went well.
    Good,
    /// It was refused.
    Bad,
    /// One of several things that are told apart by colour.
    Thing(usize),
}

impl Terminal {
    /// As standard output wants it.
    pub(crate) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: wanted && std::io::stdout().is_terminal(),
        }
    }

    /// Without colours, whatever standard output is.
    #[cfg(test)]
    pub(crate) fn without_colour() -> Self {
        Self { colour: false }
    }

    /// The text in its tone; as it is where there are no colours.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Thing(number) => ["36", "35", "33", "34", "96", "95"][number % 6],
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// A line of data. A reader who has gone away is not an error.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// A line of talk.
pub(crate) fn remark(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Whether somebody looks: lines may be drawn over.
pub(crate) fn is_live() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
}

/// Columns and rows of the window.
pub(crate) fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or((80, 24), |(columns, rows)| {
        (usize::from(columns.0), usize::from(rows.0))
    })
}

/// Draws these lines over the last `drawn` ones.
pub(crate) fn redraw(drawn: usize, lines: &[String]) {
    let mut text = String::new();
    if drawn > 0 {
        text.push_str(&format!("\u{1b}[{drawn}A\r\u{1b}[J"));
    }
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
