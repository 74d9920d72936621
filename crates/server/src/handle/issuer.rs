//! Service account issuer discovery (KEP 1393): the OpenID configuration of the issuer and its
//! public key, with which others verify tokens.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use kinds::status::Status;

use crate::auth::AUDIENCE;
use crate::body::Body;
use crate::negotiate::MediaType;
use crate::respond::{self, ResponseFormat};
use crate::state::ServerState;

/// Clients may cache the keys.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");
/// The configuration depends on the `Host` of the request, so a cache must not share it.
const OWN: HeaderValue = HeaderValue::from_static("private, no-store");

/// Returns one of the two documents; 404 if this server issues no tokens.
pub(super) fn answer(
    state: &ServerState,
    parts: &Parts,
    path: &str,
    format: ResponseFormat,
) -> Response<Body> {
    if parts.method != Method::GET {
        return respond::refusal(format, &Status::method_not_allowed(), &[]);
    }
    let Some(accounts) = state.authenticator.accounts() else {
        return respond::page_not_found();
    };
    let (document, kind, kept) = if path == "/openid/v1/jwks" {
        (accounts.keys(), "application/jwk-set+json", KEPT)
    } else {
        (
            accounts.openid_configuration(&base(parts)),
            MediaType::Json.name(),
            OWN,
        )
    };
    let mut response = respond::document(
        ResponseFormat::plain(MediaType::Json, false),
        200,
        document.to_string().into_bytes(),
        None,
    );
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, kept);
    response
}

/// Returns the URL at which the client reached this server, or the in-cluster URL of the issuer.
fn base(parts: &Parts) -> String {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str))
        .filter(|host| !host.is_empty());
    host.map_or_else(|| AUDIENCE.to_owned(), |host| format!("https://{host}"))
}
