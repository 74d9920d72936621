//! The store as its users see it, on every engine.

// The name that the other crates give it.
extern crate exeunt_store as store;

mod conformance;
mod crash;
mod disk;
mod engines;
mod faulty;
mod index;
mod kill;
mod model;
mod ops;
