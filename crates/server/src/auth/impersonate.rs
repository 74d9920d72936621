//! Impersonation: the `Impersonate-*` headers.
//!
//! This module reads the headers. Authorization then decides about each part of the identity: the
//! user, each group and the uid.

use http::HeaderMap;
use registry::request::User;

use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};

/// A requested impersonation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Impersonation {
    /// The user that the request acts as.
    pub(crate) user: User,
    /// The checks that the authenticated user must pass, all of them.
    pub(crate) checks: Vec<ImpersonationCheck>,
}

/// An access check: the verb `impersonate` on a named resource.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ImpersonationCheck {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Reads the headers. Returns `None` if the request impersonates nobody.
///
/// # Errors
/// The message for groups or a uid without a user name.
pub(crate) fn requested_impersonation(
    headers: &HeaderMap,
) -> Result<Option<Impersonation>, String> {
    let all = |name: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let one = |name: &str| all(name).into_iter().next().unwrap_or_default();
    if headers
        .keys()
        .all(|name| !name.as_str().starts_with("impersonate-"))
    {
        return Ok(None);
    }
    let (name, uid, mut groups) = (
        one("impersonate-user"),
        one("impersonate-uid"),
        all("impersonate-group"),
    );
    if name.is_empty() {
        let requested = groups
            .iter()
            .map(|group| kinds::status::quoted(group))
            .collect::<Vec<_>>()
            .join(" ");
        return Err(format!(
            "requested [{requested}] without impersonating a user name"
        ));
    }
    let mut checks = Vec::new();
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => {
            let (namespace, name) = (namespace.to_owned(), account.to_owned());
            checks.push(ImpersonationCheck {
                group: "",
                resource: "serviceaccounts",
                namespace,
                name,
            });
        }
        None => checks.push(ImpersonationCheck {
            group: "",
            resource: "users",
            namespace: String::new(),
            name: name.clone(),
        }),
    }
    for group in &groups {
        checks.push(ImpersonationCheck {
            group: "",
            resource: "groups",
            namespace: String::new(),
            name: group.clone(),
        });
    }
    if !uid.is_empty() {
        checks.push(ImpersonationCheck {
            group: "authentication.k8s.io",
            resource: "uids",
            namespace: String::new(),
            name: uid.clone(),
        });
    }
    // A service account that is impersonated without groups has those that its token would give it.
    if let Some((namespace, _)) = account.filter(|_| groups.is_empty()) {
        groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
    // Every real request of the user would have this group.
    let missing = if name == ANONYMOUS {
        UNAUTHENTICATED
    } else {
        AUTHENTICATED
    };
    if !groups.iter().any(|group| group == missing) {
        groups.push(missing.to_owned());
    }
    Ok(Some(Impersonation {
        user: User { name, uid, groups },
        checks,
    }))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Option<Impersonation>, String> {
        requested_impersonation(
            &headers
                .iter()
                .map(|(name, value)| {
                    (
                        HeaderName::from_static(name),
                        HeaderValue::from_static(value),
                    )
                })
                .collect(),
        )
    }

    #[test]
    fn nobody_is_impersonated_without_headers() {
        assert_eq!(read(&[("accept", "*/*")]), Ok(None));
        assert!(read(&[("impersonate-group", "dev")]).is_err());
    }

    #[test]
    fn each_part_of_an_identity_is_checked() {
        let bob = read(&[
            ("impersonate-user", "bob"),
            ("impersonate-group", "dev"),
            ("impersonate-uid", "u"),
        ])
        .expect("valid")
        .expect("wanted");
        assert_eq!(bob.user.groups, ["dev", AUTHENTICATED]);
        let asked: Vec<_> = bob
            .checks
            .iter()
            .map(|check| (check.resource, check.name.as_str()))
            .collect();
        assert_eq!(asked, [("users", "bob"), ("groups", "dev"), ("uids", "u")]);
    }

    #[test]
    fn a_service_account_has_its_default_groups() {
        let account = read(&[(
            "impersonate-user",
            "system:serviceaccount:kube-system:drainer",
        )])
        .expect("valid")
        .expect("wanted");
        assert_eq!(
            account.user.groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:kube-system",
                AUTHENTICATED
            ]
        );
        assert_eq!(account.checks[0].resource, "serviceaccounts");
        assert_eq!(
            (
                account.checks[0].namespace.as_str(),
                account.checks[0].name.as_str()
            ),
            ("kube-system", "drainer")
        );
    }
}
