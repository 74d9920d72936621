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

pub use accounts::AccountTokens;
pub(crate) use accounts::{AUDIENCE, ServiceAccount};
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
    User {
        name: ANONYMOUS.to_owned(),
        uid: String::new(),
        groups: vec![UNAUTHENTICATED.to_owned()],
    }
}

/// The administrator: may do everything.
#[must_use]
pub fn administrator(name: &str) -> User {
    User {
        name: name.to_owned(),
        uid: String::new(),
        groups: vec!["system:masters".to_owned(), AUTHENTICATED.to_owned()],
    }
}

/// Who showed credentials.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Somebody for whom the credentials speak.
    User(Arc<User>),
    /// A service account, if it still lives.
    ServiceAccount(ServiceAccount),
}

impl Identity {
    pub(crate) fn user(&self) -> &Arc<User> {
        match self {
            Self::User(user) => user,
            Self::ServiceAccount(account) => &account.user,
        }
    }
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
    pub(crate) fn new(
        tokens: TokenFile,
        accounts: Option<AccountTokens>,
        allow_anonymous: bool,
    ) -> Self {
        Self {
            tokens,
            accounts,
            anonymous: allow_anonymous.then(|| Arc::new(anonymous())),
        }
    }

    /// Who makes tokens of service accounts, if anybody.
    pub(crate) fn accounts(&self) -> Option<&AccountTokens> {
        self.accounts.as_ref()
    }

    /// Who sent these headers over this connection. Of a service account it remains to be asked
    /// whether it lives.
    pub(crate) fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Identity, Status> {
        if let Some(user) = peer.user() {
            return Ok(Identity::User(user.clone()));
        }
        let token = bearer(headers);
        if let Some(known) = token.and_then(|token| self.token(token, &[AUDIENCE], now)) {
            return Ok(known);
        }
        if token.is_some() || peer.is_refused() {
            return Err(Status::unauthorized());
        }
        self.anonymous
            .clone()
            .map(Identity::User)
            .ok_or_else(Status::unauthorized)
    }

    /// Whose token this is, if it is for one of `audiences`; those of a file are for the API
    /// server.
    pub(crate) fn token(
        &self,
        token: &str,
        audiences: &[&str],
        now: Timestamp,
    ) -> Option<Identity> {
        let listed = self
            .tokens
            .user(token)
            .filter(|_| audiences.contains(&AUDIENCE));
        listed.map(Identity::User).or_else(|| {
            self.accounts
                .as_ref()?
                .account(token, audiences, now)
                .map(Identity::ServiceAccount)
        })
    }
}

/// The bearer token of a request; other schemes and empty tokens are none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .trim()
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
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
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))])
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
    fn a_bad_credential_is_not_the_same_as_none() {
        let certified = Peer::Certified(Arc::new(User {
            name: "carol".to_owned(),
            ..User::default()
        }));
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
