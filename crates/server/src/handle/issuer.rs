//! What others need to judge the tokens of service accounts: the issuer's OpenID configuration and
//! its public key (KEP 1393).

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use kinds::status::Status;

use crate::auth::AUDIENCE;
use crate::body::Body;
use crate::negotiate::Media;
use crate::respond::{self, ResponseFormat};
use crate::state::ServerState;

/// How long others may keep the keys.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");
/// The configuration names the host by which it was asked for, so that what one was told is not for
/// others.
const OWN: HeaderValue = HeaderValue::from_static("private, no-store");

/// Answers for one of the two documents; 404 where nobody makes tokens.
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
            Media::Json.name(),
            OWN,
        )
    };
    let mut response = respond::document(
        ResponseFormat::plain(Media::Json, false),
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

/// Where this server was reached, or the address that the issuer has inside of a cluster.
fn base(parts: &Parts) -> String {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str))
        .filter(|host| !host.is_empty());
    host.map_or_else(|| AUDIENCE.to_owned(), |host| format!("https://{host}"))
}
