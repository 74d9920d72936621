//! Who may do what.
//!
//! Members of `system:masters` may do everything. A few paths that clients need before anything
//! else are open. For the rest the rules of RBAC objects decide.

mod cache;
mod defaults;
mod escalation;
mod rbac;

use kinds::status::{Details, GroupResource, Status};
use registry::request::User;

use crate::attributes::Attributes;
use crate::auth::AUTHENTICATED;

pub(crate) use cache::{GROUP, PolicyCache};
pub(crate) use defaults::ensure as ensure_defaults;
pub(crate) use escalation::{check_escalation, may_escalate};

/// One question to authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessRequest<'a> {
    /// Lower-case verb.
    pub(crate) verb: &'a str,
    /// AccessTarget what.
    pub(crate) about: AccessTarget<'a>,
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessTarget<'a> {
    /// A path outside the resource tree, for example `/metrics`.
    NonResource(&'a str),
    /// A resource.
    Resource {
        /// Group; empty for core.
        group: &'a str,
        /// Plural.
        resource: &'a str,
        /// Subresource; empty for none.
        subresource: &'a str,
        /// Namespace; empty for cluster scope and all namespaces.
        namespace: &'a str,
        /// Name; empty for collections.
        name: &'a str,
    },
}

impl<'a> AccessRequest<'a> {
    /// What a request asks. `selected` is the name to which the field selector of a collection
    /// limits it.
    pub(crate) fn of(attributes: &'a Attributes<'a>, selected: &'a str) -> Self {
        let is_collection = matches!(attributes.verb, "list" | "watch" | "deletecollection");
        let about = match &attributes.resource {
            None => AccessTarget::NonResource(attributes.path),
            Some(at) => AccessTarget::Resource {
                group: at.group,
                resource: at.resource,
                subresource: at.subresource,
                namespace: at.namespace,
                name: if at.name.is_empty() && is_collection {
                    selected
                } else {
                    at.name
                },
            },
        };
        Self {
            verb: attributes.verb,
            about,
        }
    }
}

/// True for those who may do everything.
pub(crate) fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == "system:masters")
}

/// True for what is open without any rule: health and version for everybody, discovery for
/// everybody who is known.
pub(crate) fn is_open(user: &User, ask: &AccessRequest<'_>) -> bool {
    let AccessTarget::NonResource(path) = ask.about else {
        return false;
    };
    if !matches!(ask.verb, "get" | "head") {
        return false;
    }
    let path = path.trim_end_matches('/');
    let first = path.split('/').nth(1).unwrap_or_default();
    match first {
        "livez" | "readyz" | "healthz" => true,
        "version" => path == "/version",
        "api" | "apis" | "openapi" => user.groups.iter().any(|group| group == AUTHENTICATED),
        _ => false,
    }
}

/// 403 in the API's words.
pub(crate) fn forbidden(user: &User, ask: &AccessRequest<'_>) -> Status {
    let name = kinds::status::quoted(&user.name);
    match ask.about {
        AccessTarget::NonResource(path) => {
            let message = format!(
                "forbidden: User {name} cannot {} path {}",
                ask.verb,
                kinds::status::quoted(path)
            );
            Status::failure(403, "Forbidden", message, Some(Details::default()))
        }
        AccessTarget::Resource {
            group,
            resource,
            subresource,
            namespace,
            name: object,
        } => {
            let full = if subresource.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}/{subresource}")
            };
            let place = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {}", kinds::status::quoted(namespace))
            };
            let why = format!(
                "User {name} cannot {} resource \"{full}\" in API group \"{group}\" {place}",
                ask.verb
            );
            Status::forbidden(GroupResource { group, resource }, object, why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{administrator, anonymous};

    #[test]
    fn refusals_say_who_what_and_where() {
        let bob = User {
            name: "bob".to_owned(),
            ..User::default()
        };
        let about = AccessTarget::Resource {
            group: "",
            resource: "pods",
            subresource: "eviction",
            namespace: "shop",
            name: "p",
        };
        let status = forbidden(
            &bob,
            &AccessRequest {
                verb: "create",
                about,
            },
        );
        let expected = r#"pods "p" is forbidden: User "bob" cannot create resource "pods/eviction" in API group "" in the namespace "shop""#;
        assert_eq!(status.message, expected);
        let details = status.details.expect("details");
        assert_eq!(
            (details.name.as_str(), details.kind.as_str()),
            ("p", "pods")
        );
        let about = AccessTarget::Resource {
            group: "apps",
            resource: "deployments",
            subresource: "",
            namespace: "",
            name: "",
        };
        let expected = r#"deployments.apps is forbidden: User "bob" cannot list resource "deployments" in API group "apps" at the cluster scope"#;
        assert_eq!(
            forbidden(
                &bob,
                &AccessRequest {
                    verb: "list",
                    about
                }
            )
            .message,
            expected
        );
        let status = forbidden(
            &anonymous(),
            &AccessRequest {
                verb: "get",
                about: AccessTarget::NonResource("/metrics"),
            },
        );
        assert_eq!(
            status.message,
            r#"forbidden: User "system:anonymous" cannot get path "/metrics""#
        );
        assert_eq!(status.details, Some(Details::default()));
    }

    #[test]
    fn health_is_open_to_everybody_and_discovery_to_the_known() {
        let known = administrator("a");
        for (path, verb, anybody, everybody) in [
            ("/healthz", "get", true, true),
            ("/readyz/ping", "get", true, true),
            ("/version/", "get", true, true),
            ("/versions", "get", false, false),
            ("/apis", "get", false, true),
            ("/openapi/v3/api/v1", "get", false, true),
            ("/metrics", "get", false, false),
            ("/apis", "post", false, false),
        ] {
            let ask = AccessRequest {
                verb,
                about: AccessTarget::NonResource(path),
            };
            assert_eq!(
                (is_open(&anonymous(), &ask), is_open(&known, &ask)),
                (anybody, everybody),
                "{path}"
            );
        }
    }
}
