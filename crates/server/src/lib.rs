//! The HTTP face: TLS, authentication, authorization, flow control, negotiation, discovery,
//! OpenAPI, watch streams, metrics and health. Knows no storage engine.
//!
//! A request comes in through [`listen`] or, from inside this process, through a [`Service`];
//! `handle` tells its story: `attributes` (what is it about), `auth` (who), `authorize` (may they),
//! `flow` (is there a seat), `route` (which resource, which action), `negotiate` and `query` (in
//! which form, with which options), then one call to the [`Backend`], and `respond` or `watch` for
//! the answer.
//!
//! Invariants: a `Status` becomes HTTP in `respond` and nowhere else; the bytes of stored objects
//! are never encoded again for JSON; a panic or a client that goes away ends one request, never
//! the server.

mod attributes;
mod auth;
mod authorize;
mod backend;
mod body;
mod catalogue;
pub mod certs;

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
mod watch;
mod websocket;

pub use auth::{AccountTokens, TokenFile, TokenFileError, administrator, anonymous};
pub use backend::Backend;
pub use body::Body;
pub use kubelet::{PodLogOptions, PodLogs};
pub use service::{Answering, Config, Server, Service};
