//! The binary as its users meet it: real processes, real sockets, the real kubectl.
//!
//! Every test has a server of its own on a free port with a data directory of its own. Waiting is
//! for a condition, with a bound. A missing tool is a loud skip, and a failure when
//! `EXEUNT_REQUIRE_TOOLS=1`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "all of this is a test: a panic is how it fails, a skip must be seen, and real processes live in real time"
)]

mod demo;
mod drain;
mod durability;
mod eviction;
mod explain;
mod kubectl;
mod plan;
mod refusals;
#[expect(dead_code, reason = "the interop tests use the rest of it")]
mod support;
mod terminal;
