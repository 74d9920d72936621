//! The server with other clients: two versions of kubectl, the official clients for Python and
//! JavaScript, and kube-rs over TLS.
//!
//! Every test has its own server. Scripts print what they assert; their tests run them and print
//! their output. `tools` lists the tools and the variables that name them. A test whose tool is
//! missing prints that it is skipped, or fails if `EXEUNT_REQUIRE_TOOLS` is 1. `.ci/run` installs
//! all tools.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, print skips, and run real processes in real time"
)]

mod javascript;
mod kube_rs;
mod kubectl;
mod kubectl_1_20;
mod python;
#[expect(dead_code, reason = "the tests of the command line use the rest of it")]
#[path = "../cli/support.rs"]
mod support;
mod tools;
