//! Draining nodes through nothing but a Kubernetes client: cordon, evict, wait.
//!
//! What is here is the part that `exeunt demo` drives: one eviction with its answer taken apart
//! ([`evict`]), cordoning ([`cordon`]), and the drain of one node that reacts to watches instead of
//! polling ([`node`]). It works on every conformant cluster.
//!
//! Invariant: a pod is evicted by its uid, so that a same-named successor is never touched.

pub mod budget;
pub mod cluster;
pub mod cordon;
pub mod evict;
pub mod explain;
pub mod health;
pub mod lint;
pub mod node;
mod view;
mod words;
