//! The documents that describe the API: the place where discovery and OpenAPI answer.
//!
//! `answer` gets every authorized request whose path is not that of a resource and not one of the
//! server's own (health, version, metrics). Whoever adds a document matches its path here and lays
//! it out with `respond::document`; a path that nobody takes is 404.

use http::{HeaderMap, Method, Response};
use kinds::status::Status;

use crate::body::Body;
use crate::catalogue::Catalogue;
use crate::negotiate::{self, RouteTypes};
use crate::query::Query;
use crate::respond::{self, Manner};

/// A request for a document.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a Method,
    /// The path, decoded.
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query<'a>,
    pub(crate) headers: &'a HeaderMap,
    /// What is served.
    pub(crate) catalogue: &'a Catalogue,
    /// How refusals are to be shown.
    pub(crate) manner: Manner,
}

/// Answers for a document.
pub(crate) fn answer(ask: &Ask<'_>) -> Response<Body> {
    let parts: Vec<&str> = ask.path.trim_matches('/').split('/').collect();
    let known = match parts[..] {
        ["api" | "apis"] => Ok(()),
        ["api", version] => check(ask.catalogue.has_version("", version)),
        ["apis", group, ..] if !ask.catalogue.has_group(group) => return respond::page_not_found(),
        ["apis", _] => Ok(()),
        ["apis", group, version] => check(ask.catalogue.has_version(group, version)),
        _ => return respond::page_not_found(),
    };
    // `/apis` is no route of the router: any method reads it, and it judges `Accept` by itself.
    let judged = known.and_then(|()| match parts[..] {
        ["apis"] if !matches!(*ask.method, Method::HEAD | Method::OPTIONS) => Ok(()),
        _ if ask.method != Method::GET => Err(Status::method_not_allowed()),
        ["api"] => Ok(()),
        _ => negotiate::check_route(ask.headers, RouteTypes::Objects),
    });
    match judged {
        Err(refused) => respond::refusal(ask.manner, &refused, &[]),
        Ok(()) => respond::page_not_found(),
    }
}

fn check(known: bool) -> Result<(), Status> {
    if known { Ok(()) } else { Err(Status::no_such_resource()) }
}
