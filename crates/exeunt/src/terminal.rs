//! The only place that prints: data on standard output, messages on standard error, colours only on
//! a terminal and without `NO_COLOR`.

use std::io::{IsTerminal as _, Write as _};

/// Whether output is coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    colour: bool,
}

/// The meaning of a piece of output, shown as a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextStyle {
    /// A heading.
    Heading,
    /// Times and other side information.
    Faint,
    /// A success.
    Success,
    /// A refusal or an error.
    Failure,
    /// One of several pods; the number selects the colour.
    Series(usize),
}

impl Terminal {
    /// Colours if standard output is a terminal and `NO_COLOR` is unset or empty.
    pub(crate) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: wanted && std::io::stdout().is_terminal(),
        }
    }

    /// No colours, whatever standard output is.
    #[cfg(test)]
    pub(crate) fn without_colour() -> Self {
        Self { colour: false }
    }

    /// Returns the text in this style, or unchanged if output is not coloured.
    pub(crate) fn paint(self, style: TextStyle, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            TextStyle::Heading => "1",
            TextStyle::Faint => "2",
            TextStyle::Success => "32",
            TextStyle::Failure => "31",
            TextStyle::Series(number) => ["36", "35", "33", "34", "96", "95"][number % 6],
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Prints a line of data on standard output. A closed pipe is not an error.
pub(crate) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// Prints a line for people on standard error.
pub(crate) fn print_message(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Returns whether standard output is a terminal on which lines can be overwritten.
pub(crate) fn is_live() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
}

/// Returns the columns and rows of the terminal; 80 by 24 if it reports none.
pub(crate) fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or((80, 24), |(columns, rows)| {
        (usize::from(columns.0), usize::from(rows.0))
    })
}

/// Replaces the last `drawn` lines of the terminal with these.
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
