//! The server as clients from elsewhere meet it: kubectl of two ages, the clients for Python and
//! JavaScript, and kube-rs over TLS.
//!
//! Every test has a server of its own. The scripts beside this file say what they assert as they
//! go; a test only runs them and shows what they printed. Which tools are needed, and which
//! variables name them, stands in `tools`; a missing one is a loud skip, and a failure when
//! `EXEUNT_REQUIRE_TOOLS=1`. `.ci/run` installs them all.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "all of this is a test: a panic is how it fails, a skip must be seen, and real processes live in real time"
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
