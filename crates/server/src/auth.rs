//! Authentication: client certificates, bearer tokens, and the anonymous user for requests without
//! credentials.
//!
//! A certificate takes precedence over a token. Invalid credentials are refused with 401. A request
//! without credentials belongs to the anonymous user, for whom authorization decides. Impersonation
//! comes afterwards and is subject to authorization itself.

mod accounts;
mod certificate;
mod impersonate;
mod tokens;

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use kinds::status::Status;
use registry::request::User;

pub use accounts::ServiceAccountTokens;
pub(crate) use accounts::{AUDIENCE, AuthenticatedAccount};
pub(crate) use certificate::{ClientVerifier, Peer};
pub(crate) use impersonate::requested_impersonation;
pub use tokens::{TokenFile, TokenFileError};

/// Group of all authenticated users.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Group of the anonymous user.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of the anonymous user.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// Returns the user of requests without credentials.
#[must_use]
pub fn anonymous() -> User {
    User {
        name: ANONYMOUS.to_owned(),
        groups: vec![UNAUTHENTICATED.to_owned()],
        ..User::default()
    }
}

/// Returns a user in `system:masters`, who may do everything.
#[must_use]
pub fn administrator(name: &str) -> User {
    User {
        name: name.to_owned(),
        groups: vec!["system:masters".to_owned(), AUTHENTICATED.to_owned()],
        ..User::default()
    }
}

/// The outcome of a successful authentication.
#[derive(Clone, Debug)]
pub(crate) enum Authenticated {
    /// A user whose credentials are valid by themselves.
    User(Arc<User>),
    /// A service account with a valid token. `ServerState::is_current` checks that the account
    /// still exists.
    ServiceAccount(AuthenticatedAccount),
}

impl Authenticated {
    pub(crate) fn user(&self) -> &Arc<User> {
        match self {
            Self::User(user) => user,
            Self::ServiceAccount(account) => &account.user,
        }
    }
}

/// Authenticates requests.
#[derive(Debug)]
pub(crate) struct Authenticator {
    tokens: TokenFile,
    accounts: Option<ServiceAccountTokens>,
    anonymous: Option<Arc<User>>,
}

impl Authenticator {
    /// `allow_anonymous` accepts requests without credentials as the anonymous user.
    pub(crate) fn new(
        tokens: TokenFile,
        accounts: Option<ServiceAccountTokens>,
        allow_anonymous: bool,
    ) -> Self {
        Self {
            tokens,
            accounts,
            anonymous: allow_anonymous.then(|| Arc::new(anonymous())),
        }
    }

    /// Returns the issuer of service account tokens; `None` if this server issues none.
    pub(crate) fn accounts(&self) -> Option<&ServiceAccountTokens> {
        self.accounts.as_ref()
    }

    /// Authenticates a request by its connection and its headers.
    pub(crate) fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Authenticated, Status> {
        if let Some(user) = peer.user() {
            return Ok(Authenticated::User(user.clone()));
        }
        let token = bearer(headers);
        if let Some(known) = token
            .as_deref()
            .and_then(|token| self.token(token, &[AUDIENCE], now))
        {
            return Ok(known);
        }
        // Wrong credentials never fall back to the anonymous user, whose answers would hide the
        // mistake.
        if token.is_some() || peer.is_refused() {
            return Err(Status::unauthorized());
        }
        self.anonymous
            .clone()
            .map(Authenticated::User)
            .ok_or_else(Status::unauthorized)
    }

    /// Returns the identity of a token that is valid for one of `audiences`. Tokens of the token
    /// file are for the API server only.
    pub(crate) fn token(
        &self,
        token: &str,
        audiences: &[&str],
        now: Timestamp,
    ) -> Option<Authenticated> {
        let listed = self
            .tokens
            .user(token)
            .filter(|_| audiences.contains(&AUDIENCE));
        listed.map(Authenticated::User).or_else(|| {
            self.accounts
                .as_ref()?
                .account(token, audiences, now)
                .map(Authenticated::ServiceAccount)
        })
    }
}

/// Returns the bearer token of a request, with anything that is no UTF-8 replaced: such a token is
/// wrong, not missing. As in upstream, the token ends at a space, and other schemes and empty
/// tokens count as no token.
fn bearer(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let value = headers.get(AUTHORIZATION)?.as_bytes().trim_ascii();
    let mut words = value.split(|byte| *byte == b' ');
    let is_bearer = words.next()?.eq_ignore_ascii_case(b"bearer");
    let token = words
        .next()
        .filter(|token| is_bearer && !token.is_empty())?;
    Some(String::from_utf8_lossy(token))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn who(header: &'static str, peer: &Peer) -> String {
        let tokens = TokenFile::default().with(
            "t0k",
            User {
                name: "alice".to_owned(),
                ..User::default()
            },
        );
        let headers = if header.is_empty() {
            HeaderMap::new()
        } else {
            let value = HeaderValue::from_bytes(header.as_bytes()).expect("a valid header");
            HeaderMap::from_iter([(AUTHORIZATION, value)])
        };
        match Authenticator::new(tokens, None, true).authenticate(
            peer,
            &headers,
            Timestamp::UNIX_EPOCH,
        ) {
            Ok(known) => known.user().name.clone(),
            Err(status) => status.code.to_string(),
        }
    }

    #[test]
    fn a_token_that_is_no_text_is_wrong_and_not_missing() {
        let value = HeaderValue::from_bytes(b"Bearer t\xffk").expect("a valid header");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let outcome = Authenticator::new(TokenFile::default(), None, true).authenticate(
            &Peer::Unknown,
            &headers,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(outcome.err().map(|status| status.code), Some(401));
    }

    #[test]
    fn invalid_credentials_are_refused_and_missing_ones_are_anonymous() {
        let certified = Peer::Certified(Arc::new(User {
            name: "carol".to_owned(),
            ..User::default()
        }));
        for (header, peer, expected) in [
            ("", &Peer::Unknown, ANONYMOUS),
            ("Bearer t0k", &Peer::Unknown, "alice"),
            ("bearer t0k", &Peer::Unknown, "alice"),
            (" Bearer t0k more ", &Peer::Unknown, "alice"),
            ("Bearer  t0k", &Peer::Unknown, ANONYMOUS),
            ("Bearer t\u{f8}k", &Peer::Unknown, "401"),
            ("Bearer", &Peer::Unknown, ANONYMOUS),
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
