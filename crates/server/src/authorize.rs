//! Authorization: whether a user may make a request.
//!
//! Members of `system:masters` may do everything. A few paths that clients need first are open.
//! RBAC rules decide about everything else.

mod cache;
mod defaults;
mod escalation;
mod node;
mod rbac;

use kinds::status::{Details, GroupResource, Status};
use registry::request::User;

use crate::attributes::Attributes;
use crate::auth::AUTHENTICATED;

pub(crate) use cache::PolicyCache;
pub(crate) use defaults::ensure as ensure_defaults;
pub(crate) use escalation::{check_escalation, writes_policy};
pub(crate) use node::allows as allows_node;

/// The API group of RBAC objects.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// What a user wants to do, as authorization sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessRequest<'a> {
    /// Lower-case verb.
    pub(crate) verb: &'a str,
    /// The object of the verb.
    pub(crate) target: AccessTarget<'a>,
}

/// What an access request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessTarget<'a> {
    /// A path outside the resource tree, for example `/metrics`.
    NonResource(&'a str),
    /// A resource or one of its objects.
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
    /// Returns the access request of an HTTP request. `selected` is the name to which the field
    /// selector restricts a collection, or empty.
    pub(crate) fn of(attributes: &'a Attributes<'a>, selected: &'a str) -> Self {
        let is_collection = matches!(attributes.verb, "list" | "watch" | "deletecollection");
        let target = match &attributes.resource {
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
            target,
        }
    }
}

/// Returns whether a user may do everything.
pub(crate) fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == "system:masters")
}

/// Returns whether a request needs no rule: health and version for everyone, discovery for
/// authenticated users.
pub(crate) fn is_open(user: &User, access: &AccessRequest<'_>) -> bool {
    let AccessTarget::NonResource(path) = access.target else {
        return false;
    };
    if !matches!(access.verb, "get" | "head") {
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

/// Renders a list of strings as upstream's messages do: `["a" "b"]`.
fn quoted_list(list: &[String]) -> String {
    let quoted: Vec<String> = list
        .iter()
        .map(|item| kinds::status::quoted(item))
        .collect();
    format!("[{}]", quoted.join(" "))
}

/// Returns the 403, in upstream's words.
pub(crate) fn forbidden(user: &User, access: &AccessRequest<'_>) -> Status {
    let name = kinds::status::quoted(&user.name);
    match access.target {
        AccessTarget::NonResource(path) => {
            let message = format!(
                "forbidden: User {name} cannot {} path {}",
                access.verb,
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
                access.verb
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
    fn refusals_name_user_verb_resource_and_scope() {
        let bob = User {
            name: "bob".to_owned(),
            ..User::default()
        };
        let target = AccessTarget::Resource {
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
                target,
            },
        );
        let expected = r#"pods "p" is forbidden: User "bob" cannot create resource "pods/eviction" in API group "" in the namespace "shop""#;
        assert_eq!(status.message, expected);
        let details = status.details.expect("details");
        assert_eq!(
            (details.name.as_str(), details.kind.as_str()),
            ("p", "pods")
        );
        let target = AccessTarget::Resource {
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
                    target
                }
            )
            .message,
            expected
        );
        let status = forbidden(
            &anonymous(),
            &AccessRequest {
                verb: "get",
                target: AccessTarget::NonResource("/metrics"),
            },
        );
        assert_eq!(
            status.message,
            r#"forbidden: User "system:anonymous" cannot get path "/metrics""#
        );
        assert_eq!(status.details, Some(Details::default()));
    }

    #[test]
    fn health_is_open_to_everyone_and_discovery_to_authenticated_users() {
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
            let access = AccessRequest {
                verb,
                target: AccessTarget::NonResource(path),
            };
            assert_eq!(
                (is_open(&anonymous(), &access), is_open(&known, &access)),
                (anybody, everybody),
                "{path}"
            );
        }
    }
}
