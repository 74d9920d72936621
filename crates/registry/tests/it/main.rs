//! Tests of the registry through `Registry::call`, on a memory store and a paused clock.

extern crate exeunt_registry as registry;

mod components;
mod custom;
mod custom_forms;
mod deletion;
mod eviction;
mod forget;
mod lists;
mod objects;
mod observe;
mod publish;
mod resize;
mod scale;
mod sizes;
mod subresources;
mod tokens;
mod watches;
mod world;
