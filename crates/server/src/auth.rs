//! Who asks: client certificates, bearer tokens, and otherwise the anonymous user.
//!
//! A certificate counts before a token. Credentials that are wrong are refused with 401; none at
//! all make the anonymous user, for whom authorization decides. Impersonation comes after, and is
//! itself subject to authorization.

mod accounts;
mod certificate;
mod impersonate;
mod tokens;

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use kinds::status::Status;
use registry::request::User;

pub(crate) use accounts::AUDIENCE;
pub use accounts::AccountTokens;
pub(crate) use certificate::{ClientVerifier, Peer};
pub(crate) use impersonate::{Question, wanted};
pub use tokens::{TokenFile, TokenFileError};

/// The group of everybody who proved who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody else.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of everybody else.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// The user who proved nothing.
#[must_use]
pub fn anonymous() -> User {
    User { name: ANONYMOUS.to_owned(), uid: String::new(), groups: vec![UNAUTHENTICATED.to_owned()] }
}

/// The administrator: may do everything.
#[must_use]
pub fn administrator(name: &str) -> User {
    User { name: name.to_owned(), uid: String::new(), groups: vec!["system:masters".to_owned(), AUTHENTICATED.to_owned()] }
}

/// Finds out who asks.
#[derive(Debug)]
pub(crate) struct Authenticator {
    tokens: TokenFile,
    accounts: Option<AccountTokens>,
    anonymous: Option<Arc<User>>,
}

impl Authenticator {
    /// `anonymous`: whether requests without credentials are let through as the anonymous user.
    pub(crate) fn new(tokens: TokenFile, accounts: Option<AccountTokens>, allow_anonymous: bool) -> Self {
        Self { tokens, accounts, anonymous: allow_anonymous.then(|| Arc::new(anonymous())) }
    }

    /// Who sent these headers over this connection.
    pub(crate) fn authenticate(&self, peer: &Peer, headers: &HeaderMap, now: Timestamp) -> Result<Arc<User>, Status> {
        if let Some(user) = peer.user() {
            return Ok(user.clone());
        }
        let token = bearer(headers);
        if let Some(user) = token.and_then(|token| self.token_user(token, now)) {
            return Ok(user);
        }
        if token.is_some() || peer.is_refused() {
            return Err(Status::unauthorized());
        }
        self.anonymous.clone().ok_or_else(Status::unauthorized)
    }

    /// The user whose token this is.
    pub(crate) fn token_user(&self, token: &str, now: Timestamp) -> Option<Arc<User>> {
        self.tokens.user(token).or_else(|| self.accounts.as_ref()?.user(token, now))
    }
}

/// The bearer token of a request; other schemes and empty tokens are none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn who(header: &'static str, peer: &Peer) -> String {
        let tokens = TokenFile::default().with("t0k", User { name: "alice".to_owned(), ..User::default() });
        let headers =
            if header.is_empty() { HeaderMap::new() } else { HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]) };
        match Authenticator::new(tokens, None, true).authenticate(peer, &headers, Timestamp::UNIX_EPOCH) {
            Ok(user) => user.name.clone(),
            Err(status) => status.code.to_string(),
        }
    }

    #[test]
    fn a_bad_credential_is_not_the_same_as_none() {
        let certified = Peer::Certified(Arc::new(User { name: "carol".to_owned(), ..User::default() }));
        for (header, peer, expected) in [
            ("", &Peer::Unknown, ANONYMOUS),
            ("Bearer t0k", &Peer::Unknown, "alice"),
            ("bearer  t0k", &Peer::Unknown, "alice"),
            ("Bearer nobody", &Peer::Unknown, "401"),
            ("Bearer ", &Peer::Unknown, ANONYMOUS),
            ("Basic eDp5", &Peer::Unknown, ANONYMOUS),
            ("", &Peer::Refused, "401"),
            ("Bearer t0k", &Peer::Refused, "alice"),
            ("Bearer nobody", &certified, "carol"),
        ] {
            assert_eq!(who(header, peer), expected, "{header}");
        }
    }
}
