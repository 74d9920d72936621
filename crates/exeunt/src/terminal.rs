//! The only place that prints: data on standard output, messages on standard error, colours only on
//! a terminal and without `NO_COLOR`.
//!
//! Much of what is printed comes from others: names, messages, file names, arguments. Characters
//! that a terminal obeys instead of showing them, and characters that hide or reorder text, are
//! printed as escapes (see [`escape()`]). Lines end only where this program ends them, except in
//! [`print_block`] and [`print_json`]. `clippy.toml` forbids standard output and standard error
//! everywhere else.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that writes to the terminal"
)]

mod escape;

use std::io::{IsTerminal as _, Write as _};

pub(crate) use escape::{escape, escape_block};

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

/// Text that is safe to write: escaped, with the codes of colours in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StyledText(String);

impl StyledText {
    /// Appends text without a style.
    #[must_use]
    pub(crate) fn plain(mut self, text: &str) -> Self {
        self.0.push_str(&escape(text));
        self
    }

    /// Appends other text.
    #[must_use]
    pub(crate) fn then(mut self, other: &Self) -> Self {
        self.0.push_str(&other.0);
        self
    }

    /// Appends the beginning of another line.
    #[must_use]
    pub(crate) fn new_line(mut self) -> Self {
        self.0.push('\n');
        self
    }

    /// Returns the text as it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
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

    /// Returns the text in this style, or only escaped if output is not coloured.
    pub(crate) fn paint(self, style: TextStyle, text: &str) -> StyledText {
        let text = escape(text);
        if !self.colour {
            return StyledText(text.into_owned());
        }
        let code = match style {
            TextStyle::Heading => "1",
            TextStyle::Faint => "2",
            TextStyle::Success => "32",
            TextStyle::Failure => "31",
            TextStyle::Series(number) => ["36", "35", "33", "34", "96", "95"][number % 6],
        };
        StyledText(format!("\u{1b}[{code}m{text}\u{1b}[0m"))
    }
}

/// Prints a line of data on standard output. A closed pipe is not an error.
pub(crate) fn print_line(line: &str) {
    write_out(&escape(line));
}

/// Prints styled lines on standard output.
pub(crate) fn print_styled(text: &StyledText) {
    write_out(text.as_str());
}

/// Prints several lines on standard output. The caller has made sure that text of others contains
/// no line breaks, or accepts them.
pub(crate) fn print_block(text: &str) {
    write_out(&escape_block(text));
}

/// Prints JSON on standard output, with the escapes of JSON, so that programs read what was meant.
pub(crate) fn print_json(json: &str) {
    write_out(&escape::escape_json(json));
}

fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Prints a line for people on standard error.
pub(crate) fn print_message(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", escape(line)));
}

/// Prints several lines for people on standard error, see [`print_block`].
pub(crate) fn print_message_block(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", escape_block(text)));
}

/// Prints a question on standard error, without ending its line.
pub(crate) fn print_prompt(question: &str) {
    let mut out = std::io::stderr().lock();
    drop(write!(out, "{}", escape(question)).and_then(|()| out.flush()));
}

/// Returns whether a person can be asked: standard input and standard error are a terminal.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
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
pub(crate) fn redraw(drawn: usize, lines: &[StyledText]) {
    let mut text = String::new();
    if drawn > 0 {
        text.push_str(&format!("\u{1b}[{drawn}A\r\u{1b}[J"));
    }
    for line in lines {
        text.push_str(line.as_str());
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes the lines of the log to standard error. Each call gets the line of one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogWriter;

impl std::io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = match text.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (&*text, ""),
        };
        write!(std::io::stderr().lock(), "{}{end}", escape(text))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
