//! What hostile input costs. Each test doubles its input twice and compares the instructions that
//! it takes (see `measure.rs`): a loop in a loop over what a client sends fails it.
//!
//! A body has at most three megabytes, and a client may send as many as it wants. What costs the
//! square of a body's size keeps a processor busy for a minute, and others wait.

#![expect(clippy::print_stderr, reason = "a test that skips says so")]

extern crate exeunt_registry as registry;

mod codecs;
mod measure;
mod objects;
mod updates;
#[path = "../it/world.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod world;

pub(crate) use measure::costs;
