//! Draining nodes through nothing but a Kubernetes client, and finding out why a drain is stuck. It
//! works on every conformant cluster.
//!
//! A drain is an [`engine::Engine`]: it makes the requests that a [`board::Board`], which is pure,
//! decides on; the board asks [`stage`] about each pod. [`survey`] and [`filter`] say which pods of
//! a node go, [`evict`] is one eviction with its answer taken apart, [`leaving`] why an accepted
//! pod is still there. [`node::drain`] is all of it with everything at its default.
//!
//! [`cluster::Snapshot`] is a cluster that was read once; [`budget`], [`health`] and [`explain`]
//! reason about it.
//!
//! Invariant: a pod is evicted by its uid, so that a same-named successor is never touched.

pub mod board;
pub mod budget;
pub mod cluster;
pub mod cordon;
pub mod dynamic;
pub mod engine;
pub mod event;
pub mod evict;
pub mod explain;
pub mod filter;
pub mod health;
pub mod leaving;
pub mod lint;
pub mod node;
pub mod order;
pub mod plan;
pub mod stage;
pub mod surge;
pub mod survey;
pub mod tier;
mod watch;
mod words;
