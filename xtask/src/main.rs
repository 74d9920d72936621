//! Chores of the repository: `cargo xtask tidy|ci|schema|soak`.
//!
//! `tidy` checks what the compiler cannot: which crate may use which, file sizes, module headers
//! and links between documents; it also runs as a test. `ci` is everything that has to pass before
//! a change lands. `schema` makes the table of facts. `soak` kills a server again and again for
//! minutes.

mod ci;
mod schema;
mod soak;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy [--circles|--phrases|--types|--width] | ci [--fast] | schema [--facts DIR] | soak [--minutes N] [--seed N] [--release]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy::run(&root()),
        ["tidy", check] => tidy::report(&root(), check),
        ["ci"] => ci::run(&root(), ci::Extent::Everything),
        ["ci", "--fast"] => ci::run(&root(), ci::Extent::Fast),
        ["schema"] => schema::run(&root(), &root().join("facts")),
        ["schema", "--facts", directory] => schema::run(&root(), std::path::Path::new(directory)),
        ["soak", rest @ ..] => soak::run(&root(), rest),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: this crate lies directly below it.
fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

#[expect(
    clippy::print_stderr,
    reason = "the one place where this program talks"
)]
fn say(line: &str) {
    eprintln!("{line}");
}
