//! The binary with real processes, sockets and kubectl.
//!
//! Every test has its own server on a free port, with its own data directory. Tests wait for
//! conditions, with a limit. A test whose tool is missing prints that it is skipped, or fails if
//! `EXEUNT_REQUIRE_TOOLS` is 1.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, print skips, and run real processes in real time"
)]

mod demo;
mod drain;
mod durability;
mod eviction;
mod explain;
mod files;
mod hostile;
mod identity;
mod kubectl;
mod plan;
mod refusals;
#[expect(dead_code, reason = "the interop tests use the rest of it")]
mod support;
mod terminal;
