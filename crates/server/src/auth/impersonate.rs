//! Acting as somebody else: the `Impersonate-*` headers.
//!
//! What is wanted is read here; whether the real user may do that is asked of authorization, one
//! question for the user, each group and the uid.

use http::HeaderMap;
use registry::request::User;

use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};

/// Somebody whom the user wants to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Impersonation {
    /// The user to act as.
    pub(crate) user: User,
    /// What the real user must be allowed to impersonate.
    pub(crate) questions: Vec<Question>,
}

/// One thing to be allowed: `impersonate` on a resource with a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Reads the headers; none when nobody is to be impersonated.
///
/// # Errors
/// The text for headers that make no sense (groups without a user).
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Option<Impersonation>, String> {
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
    let mut questions = Vec::new();
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => {
            let (namespace, name) = (namespace.to_owned(), account.to_owned());
            questions.push(Question {
                group: "",
                resource: "serviceaccounts",
                namespace,
                name,
            });
        }
        None => questions.push(Question {
            group: "",
            resource: "users",
            namespace: String::new(),
            name: name.clone(),
        }),
    }
    for group in &groups {
        questions.push(Question {
            group: "",
            resource: "groups",
            namespace: String::new(),
            name: group.clone(),
        });
    }
    if !uid.is_empty() {
        questions.push(Question {
            group: "authentication.k8s.io",
            resource: "uids",
            namespace: String::new(),
            name: uid.clone(),
        });
    }
    if let Some((namespace, _)) = account.filter(|_| groups.is_empty()) {
        groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
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
        questions,
    }))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Option<Impersonation>, String> {
        wanted(
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
    fn each_part_of_an_identity_is_asked_for() {
        let bob = read(&[
            ("impersonate-user", "bob"),
            ("impersonate-group", "dev"),
            ("impersonate-uid", "u"),
        ])
        .expect("valid")
        .expect("wanted");
        assert_eq!(bob.user.groups, ["dev", AUTHENTICATED]);
        let asked: Vec<_> = bob
            .questions
            .iter()
            .map(|question| (question.resource, question.name.as_str()))
            .collect();
        assert_eq!(asked, [("users", "bob"), ("groups", "dev"), ("uids", "u")]);
    }

    #[test]
    fn a_service_account_brings_its_groups() {
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
        assert_eq!(account.questions[0].resource, "serviceaccounts");
        assert_eq!(
            (
                account.questions[0].namespace.as_str(),
                account.questions[0].name.as_str()
            ),
            ("kube-system", "drainer")
        );
    }
}
