//! The HTTP side of the API server: TLS, authentication, authorization, flow control, content
//! negotiation, discovery, OpenAPI, watch streams, metrics and health. Knows no storage engine.
//!
//! A request arrives through [`listen`] or, inside this process, through a [`CallerService`].
//! `handle` takes it through `attributes` (what the request is about), `auth` (the user),
//! `authorize` (whether the user may), `flow` (the in-flight limit), `route` (resource and action),
//! `negotiate` and `query` (media types and options), one call to the [`Backend`], and `respond` or
//! `watch` for the answer.
//!
//! Invariants: a `Status` becomes HTTP only in `respond`; the bytes of stored objects are never
//! encoded again for JSON; a panic, or a client that disconnects, ends one request and never the
//! server.

mod attributes;
mod auth;
mod authorize;
mod backend;
mod body;
mod catalogue;
pub mod certs;
mod connection;

mod documents;
mod encode;
mod encodings;
mod flow;
mod handle;
mod health;
mod json;
pub mod kubeconfig;
mod kubelet;
pub mod listen;

mod metrics;
mod negotiate;
mod query;
mod respond;
mod reviews;
mod route;
mod served;
mod service;
mod state;
mod table;
#[cfg(test)]
mod testing;
mod version;
mod warnings;
mod watch;
mod websocket;

pub use auth::{ServiceAccountTokens, TokenFile, TokenFileError, administrator, anonymous};
pub use backend::Backend;
pub use body::Body;
pub use kubelet::{PodLogOptions, PodLogs};
pub use service::{CallerService, ResponseFuture, Server, ServerConfig};
