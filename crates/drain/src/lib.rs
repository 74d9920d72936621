//! Drains nodes, evicts pods, and explains, plans and lints evictions, through nothing but a
//! Kubernetes client. Works with every conformant cluster.
//!
//! # Layers
//!
//! Imports go down only: a module uses modules of lower layers, never of its own layer or above.
//! `cargo xtask tidy` fails on an import circle.
//!
//! - 7: [`explain`]: the explanation of a pod, node or budget.
//! - 6: [`plan`], [`lint`], [`node`]: the simulation of a drain; the checks of a cluster; one call
//!   for a whole drain.
//! - 5: [`engine`], [`budget`], [`order`]: the requests of a drain; the arithmetic of a budget;
//!   dependencies between pods.
//! - 4: [`state`], [`prediction`], [`readiness`], `webhooks`, `workloads`: the state of a drain;
//!   the server's decision; unready pods; webhooks called for evictions; what makes pods.
//! - 3: [`cluster`], [`selection`], [`event`], `watch`: the snapshot; the pods of a node; the
//!   events of a drain; its watches.
//! - 2: [`pdb`], [`filter`], [`progress`], [`termination`], [`surge`]: accessors of budgets;
//!   decisions about one pod; scaling up workloads.
//! - 1: [`pods`], [`tier`], [`cordon`], [`evict`], [`dynamic`], `list`, [`mod@format`]: accessors
//!   of pods; tiers; single requests; watches of typed objects; formatting.
//!
//! A drain is a [`engine::DrainEngine`] around a [`state::DrainState`], which is pure and asks
//! [`progress::next`] about each pod. [`node::drain`] runs one with default options.
//! [`explain`], [`plan`] and [`lint`] are pure functions of a [`cluster::ClusterSnapshot`].
//!
//! Invariant: every eviction and deletion has the pod's uid as a precondition, so that a
//! replacement with the same name is never touched.

pub mod budget;
pub mod cluster;
pub mod cordon;
pub mod dynamic;
pub mod engine;
pub mod event;
pub mod evict;
pub mod explain;
pub mod filter;
pub mod format;
pub mod lint;
mod list;
pub mod node;
pub mod order;
pub mod pdb;
pub mod plan;
pub mod pods;
pub mod prediction;
pub mod progress;
pub mod readiness;
pub mod selection;
pub mod state;
pub mod surge;
pub mod termination;
pub mod tier;
mod watch;
mod webhooks;
mod workloads;
