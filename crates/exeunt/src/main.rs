//! `exeunt`: Kubernetes eviction, whole, in one binary.
//!
//! This crate is arguments, signals and printing: `main` parses and hands over, and each command is
//! a file. What runs is assembled in the `cluster` crate.

mod bench;
mod cli;
mod connect;
mod demo;
mod drain;
mod error;
mod explain;
mod gates;
mod lint;
mod manual;
mod names;
mod open_files;
mod plan;
mod serve;
mod signals;
mod snapshot;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use error::CliError;

/// Objects are trees of small allocations that one thread makes and another frees. With glibc's
/// allocator this takes a quarter of the time of a write.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = start_log(&cli).and_then(|()| run(&cli.command));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            error.exit_code()
        }
    }
}

/// Prints help, which contains nothing but this program's own text, or what is wrong with the
/// arguments, which contains them.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        terminal::print_message_block(error.render().to_string().trim_end());
    } else {
        drop(error.print());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(command: &Command) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| CliError::new(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Serve(arguments) => Box::pin(serve::run(arguments)).await,
            Command::Demo(arguments) => Box::pin(demo::run(arguments)).await,
            Command::Drain(arguments) => Box::pin(drain::run(arguments)).await,
            Command::Cordon(arguments) => Box::pin(drain::cordon(arguments, true)).await,
            Command::Uncordon(arguments) => Box::pin(drain::cordon(arguments, false)).await,
            Command::Evict(arguments) => Box::pin(drain::evict(arguments)).await,
            Command::Explain(arguments) => Box::pin(explain::run(arguments)).await,
            Command::Plan(arguments) => Box::pin(plan::run(arguments)).await,
            Command::Lint(arguments) => Box::pin(lint::run(arguments)).await,
            Command::Bench(arguments) => Box::pin(bench::run(arguments)).await,
            Command::Completions(arguments) => manual::complete(arguments.shell),
            Command::Man(arguments) => manual::write(&arguments.dir),
        }
    })
}

fn start_log(cli: &Cli) -> Result<(), CliError> {
    let filter = &cli.log;
    // Commands that talk to a cluster report failed requests themselves.
    let quiet = if matches!(cli.command, Command::Serve(_) | Command::Demo(_)) {
        ""
    } else {
        "kube_client=off,kube_runtime=off,"
    };
    let filter =
        tracing_subscriber::EnvFilter::try_new(format!("{quiet}{filter}")).map_err(|error| {
            CliError::usage(
                format!("cannot parse --log {filter:?}: {error}"),
                "use a level or TARGET=LEVEL, for example info,registry=debug",
            )
        })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours would be escaped with everything else that a terminal obeys.
        .with_ansi(false)
        .with_writer(|| terminal::LogWriter)
        .init();
    Ok(())
}
