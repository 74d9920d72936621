//! Impersonation: the `Impersonate-*` headers.
//!
//! This module reads the headers. Authorization then decides about each part of the identity: the
//! user, the uid, each group and each value of each extra. A part that is not listed among the
//! checks is not part of the identity.

use std::collections::BTreeMap;

use http::HeaderMap;
use kinds::names;
use kinds::status::{Status, quoted};
use percent_encoding::percent_decode_str;
use registry::request::User;

use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
/// The prefix of headers whose rest is the key of an extra.
const EXTRA: &str = "impersonate-extra-";

/// A requested impersonation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Impersonation {
    /// The user that the request acts as.
    pub(crate) user: User,
    /// The checks that the authenticated user must pass, all of them.
    pub(crate) checks: Vec<ImpersonationCheck>,
}

/// An access check: the verb `impersonate` on a named resource.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ImpersonationCheck {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Reads the headers. Returns `None` if the request impersonates nobody.
///
/// # Errors
/// 400 for groups, a uid or extras without a user name, and for values that are not UTF-8.
pub(crate) fn requested_impersonation(
    headers: &HeaderMap,
) -> Result<Option<Impersonation>, Status> {
    let Some(user) = requested_user(headers)? else {
        return Ok(None);
    };
    let checks = checks_of(&user);
    Ok(Some(Impersonation {
        user: with_implied_groups(user),
        checks,
    }))
}

/// Returns the identity as the headers name it.
fn requested_user(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            let key = unescaped(key);
            extra
                .entry(key)
                .or_default()
                .extend(all(headers, name.as_str())?);
        }
    }
    let first = |name| Ok::<_, Status>(all(headers, name)?.into_iter().next().unwrap_or_default());
    let user = User {
        name: first(USER)?,
        uid: first(UID)?,
        groups: all(headers, GROUP)?,
        extra,
    };
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::bad_request(format!(
        "requested {} without impersonating a user name",
        shown(&user)
    )))
}

/// Returns all values of a header. Dropping one that cannot be read would drop its check as well.
fn all(headers: &HeaderMap, name: &str) -> Result<Vec<String>, Status> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Status::bad_request(format!(
                "the header {name} is not UTF-8"
            ))),
        })
        .collect()
}

/// Returns the key of an extra, percent-decoded. A malformed key is taken as it is.
fn unescaped(key: &str) -> String {
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        let is_hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        if byte == b'%' && !(is_hex(bytes.next()) && is_hex(bytes.next())) {
            return key.to_owned();
        }
    }
    let decoded = percent_decode_str(key).decode_utf8();
    decoded.map_or_else(|_| key.to_owned(), std::borrow::Cow::into_owned)
}

/// Returns what must be allowed, in upstream's order.
fn checks_of(user: &User) -> Vec<ImpersonationCheck> {
    const AUTHENTICATION: &str = "authentication.k8s.io";
    let check = |resource, name: &str| ImpersonationCheck {
        resource,
        name: name.to_owned(),
        ..ImpersonationCheck::default()
    };
    let mut checks = vec![match service_account(&user.name) {
        Some((namespace, account)) => ImpersonationCheck {
            namespace: namespace.to_owned(),
            ..check("serviceaccounts", account)
        },
        None => check("users", &user.name),
    }];
    if !user.uid.is_empty() {
        checks.push(ImpersonationCheck {
            group: AUTHENTICATION,
            ..check("uids", &user.uid)
        });
    }
    checks.extend(user.groups.iter().map(|group| check("groups", group)));
    for (key, values) in &user.extra {
        checks.extend(values.iter().map(|value| ImpersonationCheck {
            group: AUTHENTICATION,
            subresource: key.clone(),
            ..check("userextras", value)
        }));
    }
    checks
}

/// Returns namespace and name of a service account by its user name. Other user names with the
/// prefix are those of users.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let rest = user.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = rest.split_once(':')?;
    let valid = names::dns_label(namespace).is_empty() && names::dns_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

/// Adds the groups that every request of the user would have.
fn with_implied_groups(mut user: User) -> User {
    if let Some((namespace, _)) = service_account(&user.name).filter(|_| user.groups.is_empty()) {
        user.groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
    let has = |wanted: &str| user.groups.iter().any(|group| group == wanted);
    let missing = if user.name == ANONYMOUS {
        (!has(UNAUTHENTICATED)).then_some(UNAUTHENTICATED)
    } else {
        (!has(AUTHENTICATED) && !has(UNAUTHENTICATED)).then_some(AUTHENTICATED)
    };
    user.groups.extend(missing.map(str::to_owned));
    user
}

/// Renders an identity as upstream's message does, which is Go syntax.
fn shown(user: &User) -> String {
    let list = |list: &[String]| {
        if list.is_empty() {
            return "[]string(nil)".to_owned();
        }
        let items: Vec<String> = list.iter().map(|item| quoted(item)).collect();
        format!("[]string{{{}}}", items.join(", "))
    };
    let extra: Vec<String> = user
        .extra
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(key, values)| format!("{}:{}", quoted(key), list(values)))
        .collect();
    let extra = if extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        format!("map[string][]string{{{}}}", extra.join(", "))
    };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{}, Extra:{extra}}}",
        quoted(&user.name),
        quoted(&user.uid),
        list(&user.groups)
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Option<Impersonation>, Status> {
        requested_impersonation(
            &headers
                .iter()
                .map(|(name, value)| {
                    (
                        HeaderName::from_static(name),
                        HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
                    )
                })
                .collect(),
        )
    }

    fn wanted(headers: &[(&'static str, &'static str)]) -> Impersonation {
        read(headers).expect("valid").expect("an impersonation")
    }

    /// Returns the checks as `resource/subresource.group namespace/name`.
    fn checks(headers: &[(&'static str, &'static str)]) -> Vec<String> {
        let checks = wanted(headers).checks;
        let shown = |check: &ImpersonationCheck| {
            format!(
                "{}/{}.{} {}/{}",
                check.resource, check.subresource, check.group, check.namespace, check.name
            )
        };
        checks.iter().map(shown).collect()
    }

    #[test]
    fn nobody_is_impersonated_without_headers() {
        assert_eq!(read(&[("accept", "*/*")]), Ok(None));
        assert_eq!(read(&[("impersonate-user", "")]), Ok(None));
        assert_eq!(read(&[("impersonate-unknown", "x")]), Ok(None));
    }

    #[test]
    fn an_identity_needs_a_user_name() {
        for (headers, expected) in [
            (
                &[("impersonate-group", "dev")][..],
                r#"Name:"", UID:"", Groups:[]string{"dev"}, Extra:map[string][]string(nil)"#,
            ),
            (
                &[("impersonate-uid", "u")],
                r#"Name:"", UID:"u", Groups:[]string(nil), Extra:map[string][]string(nil)"#,
            ),
            (
                &[("impersonate-extra-scopes", "view")],
                r#"Name:"", UID:"", Groups:[]string(nil), Extra:map[string][]string{"scopes":[]string{"view"}}"#,
            ),
        ] {
            let status = read(headers).expect_err("no user name");
            assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
            assert_eq!(
                status.message,
                format!(
                    "requested &user.DefaultInfo{{{expected}}} without impersonating a user name"
                )
            );
        }
    }

    #[test]
    fn each_part_of_an_identity_is_checked() {
        assert_eq!(
            checks(&[
                ("impersonate-user", "bob"),
                ("impersonate-group", "dev"),
                ("impersonate-group", "ops"),
                ("impersonate-uid", "u"),
                ("impersonate-extra-scopes", "view"),
                ("impersonate-extra-scopes", "edit"),
                ("impersonate-extra-example.com%2fkey", "v"),
                ("impersonate-extra-bad%2", "w"),
            ]),
            [
                "users/. /bob",
                "uids/.authentication.k8s.io /u",
                "groups/. /dev",
                "groups/. /ops",
                "userextras/bad%2.authentication.k8s.io /w",
                "userextras/example.com/key.authentication.k8s.io /v",
                "userextras/scopes.authentication.k8s.io /view",
                "userextras/scopes.authentication.k8s.io /edit",
            ]
        );
    }

    #[test]
    fn an_identity_is_what_was_checked_and_the_groups_that_follow() {
        let user = wanted(&[
            ("impersonate-user", "jürgen"),
            ("impersonate-uid", "u"),
            ("impersonate-extra-scopes", "view"),
        ])
        .user;
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jürgen", "u"));
        assert_eq!(user.groups, [AUTHENTICATED]);
        assert_eq!(user.extra["scopes"], ["view"]);
        for (name, group, expected) in [
            ("bob", "dev", &["dev", AUTHENTICATED][..]),
            ("bob", AUTHENTICATED, &[AUTHENTICATED]),
            ("bob", UNAUTHENTICATED, &[UNAUTHENTICATED]),
            (ANONYMOUS, UNAUTHENTICATED, &[UNAUTHENTICATED]),
            (ANONYMOUS, AUTHENTICATED, &[AUTHENTICATED, UNAUTHENTICATED]),
        ] {
            let user = wanted(&[("impersonate-user", name), ("impersonate-group", group)]).user;
            assert_eq!(user.groups, expected, "{name} {group}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_read_is_refused() {
        let headers = HeaderMap::from_iter([
            (
                HeaderName::from_static(USER),
                HeaderValue::from_static("bob"),
            ),
            (
                HeaderName::from_static(GROUP),
                HeaderValue::from_bytes(b"\xff").expect("a value"),
            ),
        ]);
        let status = requested_impersonation(&headers).expect_err("not UTF-8");
        assert_eq!(status.code, 400);
    }

    #[test]
    fn a_service_account_has_its_default_groups() {
        let name = "system:serviceaccount:kube-system:drainer";
        let account = wanted(&[("impersonate-user", name)]);
        assert_eq!(
            account.user.groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:kube-system",
                AUTHENTICATED
            ]
        );
        assert_eq!(
            checks(&[("impersonate-user", name)]),
            ["serviceaccounts/. kube-system/drainer"]
        );
    }

    #[test]
    fn a_name_that_no_service_account_has_is_that_of_a_user() {
        for name in [
            "system:serviceaccount:shop:a:b",
            "system:serviceaccount::bot",
            "system:serviceaccount:shop:",
            "system:serviceaccount:Shop:bot",
            "system:serviceaccount:shop",
        ] {
            assert_eq!(
                checks(&[("impersonate-user", name)]),
                [format!("users/. /{name}")]
            );
        }
    }
}
