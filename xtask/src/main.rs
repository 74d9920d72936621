//! Tasks of the repository: `cargo xtask tidy|ci|dist|schema|soak`.
//!
//! `tidy` checks what the compiler cannot check; it also runs as a test. `ci` runs everything that
//! has to pass before a change lands. `dist` packs a release. `schema` generates the table of facts
//! in the crate `kinds`. `soak` kills a running server repeatedly and checks what survives.

mod ci;
mod dist;
mod schema;
mod soak;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy [--circles|--phrases|--types|--width] | ci [--fast] | dist | schema [--facts DIR] | soak [--minutes N] [--seed N] [--release]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy::run(&root()),
        ["tidy", check] => tidy::report(&root(), check),
        ["ci"] => ci::run(&root(), ci::Extent::Everything),
        ["ci", "--fast"] => ci::run(&root(), ci::Extent::Fast),
        ["dist"] => dist::run(&root()),
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

/// The root directory of the workspace.
fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

#[expect(
    clippy::print_stderr,
    reason = "the only place where this program prints"
)]
fn say(line: &str) {
    eprintln!("{line}");
}
