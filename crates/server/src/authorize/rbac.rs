//! RBAC roles and bindings, and what they allow. Pure: from objects to decisions.
//!
//! Evaluation and the guard against escalation find the role of a binding by the same code,
//! [`RoleRef::of`] and [`RbacPolicy::role`]. What the registry refuses today can be stored from
//! earlier versions, so bindings and subjects that it would refuse count for nothing here.

mod covers;
mod rule;

use std::collections::HashMap;
use std::fmt::Write as _;

use kinds::Tree;
use kinds::selector::LabelSelector;
use registry::request::User;

use super::{AccessRequest, AccessTarget, GROUP};

pub(crate) use covers::render;
pub(crate) use rule::PolicyRule;

/// A role by its scope and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoleRef {
    /// Namespace of a role; `None` for a cluster role.
    namespace: Option<String>,
    name: String,
}

/// A subject of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RbacSubject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

/// A binding whose role and subjects authorization knows.
#[derive(Clone, Debug)]
pub(crate) struct RoleBinding {
    name: String,
    /// Namespace of a role binding; `None` for a cluster role binding.
    namespace: Option<String>,
    subjects: Vec<RbacSubject>,
    role: RoleRef,
}

/// All roles and bindings of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct RbacPolicy {
    roles: HashMap<RoleRef, Vec<PolicyRule>>,
    bindings: Vec<RoleBinding>,
}

/// A rule that applies to a user, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppliedRule<'a> {
    binding: &'a RoleBinding,
    subject: &'a RbacSubject,
    pub(crate) rule: &'a PolicyRule,
}

impl RbacPolicy {
    /// Builds the policy of these objects. Objects that do not parse allow nothing.
    pub(crate) fn of(
        roles: &[Tree],
        cluster_roles: &[Tree],
        bindings: &[Tree],
        cluster_bindings: &[Tree],
    ) -> Self {
        let mut policy = Self::default();
        for role in roles {
            let at = RoleRef {
                namespace: Some(text(role, "/metadata/namespace")),
                name: text(role, "/metadata/name"),
            };
            policy.roles.insert(at, PolicyRule::of_role(role));
        }
        for role in cluster_roles {
            let mut rules = PolicyRule::of_role(role);
            rules.extend(aggregated(role, cluster_roles));
            let at = RoleRef {
                namespace: None,
                name: text(role, "/metadata/name"),
            };
            policy.roles.insert(at, rules);
        }
        let cluster_bindings = cluster_bindings.iter();
        policy
            .bindings
            .extend(cluster_bindings.filter_map(|binding| RoleBinding::of(binding, None)));
        policy
            .bindings
            .extend(bindings.iter().filter_map(|binding| {
                RoleBinding::of(binding, Some(&text(binding, "/metadata/namespace")))
            }));
        policy
    }

    /// Returns the reason why a user may do something; `None` if no rule allows it.
    pub(crate) fn allows(&self, user: &User, access: &AccessRequest<'_>) -> Option<String> {
        let namespace = match access.target {
            AccessTarget::Resource { namespace, .. } => namespace,
            AccessTarget::NonResource(_) => "",
        };
        self.rules_for(user, namespace)
            .find(|applied| applied.rule.allows(access))
            .map(|applied| applied.reason())
    }

    /// Returns the permissions in `given` that a user does not hold in a namespace (empty for
    /// cluster scope).
    pub(crate) fn missing(
        &self,
        user: &User,
        namespace: &str,
        given: &[PolicyRule],
    ) -> Vec<PolicyRule> {
        let held = self.rules_for(user, namespace);
        let held: Vec<&PolicyRule> = held.map(|applied| applied.rule).collect();
        covers::missing(&held, given)
    }

    /// Returns the rules of a role, including those that it aggregates; `None` if it does not
    /// exist.
    pub(crate) fn role(&self, role: &RoleRef) -> Option<&[PolicyRule]> {
        self.roles.get(role).map(Vec::as_slice)
    }

    /// Returns the rules that apply to a user in a namespace (empty for cluster scope).
    pub(crate) fn rules_for<'a>(
        &'a self,
        user: &User,
        namespace: &str,
    ) -> impl Iterator<Item = AppliedRule<'a>> + use<'a> {
        let applied: Vec<(&RoleBinding, &RbacSubject)> = self
            .bindings
            .iter()
            .filter(|binding| {
                binding
                    .namespace
                    .as_deref()
                    .is_none_or(|own| own == namespace)
            })
            .filter_map(|binding| Some((binding, binding.subject(user)?)))
            .collect();
        applied.into_iter().flat_map(|(binding, subject)| {
            let rules = self.role(&binding.role).unwrap_or_default();
            rules.iter().map(move |rule| AppliedRule {
                binding,
                subject,
                rule,
            })
        })
    }
}

impl RoleRef {
    /// Returns the role that a binding references. `namespace` is the binding's; `None` for a
    /// cluster role binding. Returns `None` for a reference that the registry refuses: another
    /// group or kind, or a role in a cluster role binding.
    pub(crate) fn of(binding: &Tree, namespace: Option<&str>) -> Option<Self> {
        if !is_rbac(&text(binding, "/roleRef/apiGroup")) {
            return None;
        }
        let namespace = match (text(binding, "/roleRef/kind").as_str(), namespace) {
            ("ClusterRole", _) => None,
            ("Role", Some(namespace)) => Some(namespace.to_owned()),
            _ => return None,
        };
        let name = text(binding, "/roleRef/name");
        (!name.is_empty()).then_some(Self { namespace, name })
    }

    /// Returns the resource of the role.
    pub(crate) fn resource(&self) -> &'static str {
        if self.namespace.is_some() {
            "roles"
        } else {
            "clusterroles"
        }
    }

    /// Returns the name of the role.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl RbacSubject {
    fn of(subject: &Tree, namespace: Option<&str>) -> Option<Self> {
        let (name, group) = (text(subject, "/name"), text(subject, "/apiGroup"));
        match text(subject, "/kind").as_str() {
            "User" if is_rbac(&group) => Some(Self::User(name)),
            "Group" if is_rbac(&group) => Some(Self::Group(name)),
            "ServiceAccount" if group.is_empty() => {
                let own = Some(text(subject, "/namespace")).filter(|own| !own.is_empty());
                let namespace = own.or_else(|| namespace.map(str::to_owned))?;
                Some(Self::ServiceAccount { namespace, name })
            }
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.groups.contains(name),
            Self::ServiceAccount { namespace, name } => user
                .name
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.strip_prefix(namespace.as_str()))
                .and_then(|rest| rest.strip_prefix(':'))
                .is_some_and(|rest| rest == name),
        }
    }
}

impl RoleBinding {
    fn of(tree: &Tree, namespace: Option<&str>) -> Option<Self> {
        let role = RoleRef::of(tree, namespace)?;
        let subjects = list(tree, "/subjects").iter();
        Some(Self {
            name: text(tree, "/metadata/name"),
            namespace: namespace.map(str::to_owned),
            subjects: subjects
                .filter_map(|subject| RbacSubject::of(subject, namespace))
                .collect(),
            role,
        })
    }

    fn subject(&self, user: &User) -> Option<&RbacSubject> {
        self.subjects.iter().find(|subject| subject.is(user))
    }
}

impl AppliedRule<'_> {
    /// Returns upstream's reason for a request that the rule allows.
    fn reason(&self) -> String {
        let binding = self.binding;
        let mut out = match &binding.namespace {
            Some(namespace) => format!(
                "RBAC: allowed by RoleBinding \"{}/{namespace}\"",
                binding.name
            ),
            None => format!("RBAC: allowed by ClusterRoleBinding \"{}\"", binding.name),
        };
        let role = if binding.role.namespace.is_some() {
            "Role"
        } else {
            "ClusterRole"
        };
        let _ = write!(out, " of {role} \"{}\" to ", binding.role.name);
        let _ = match self.subject {
            RbacSubject::User(name) => write!(out, "User \"{name}\""),
            RbacSubject::Group(name) => write!(out, "Group \"{name}\""),
            RbacSubject::ServiceAccount { namespace, name } => {
                write!(out, "ServiceAccount \"{name}/{namespace}\"")
            }
        };
        out
    }
}

/// Returns whether a group is that of roles, users and groups. Empty is its default.
fn is_rbac(group: &str) -> bool {
    group.is_empty() || group == GROUP
}

/// Returns the rules of all cluster roles that the aggregation rule of this one selects.
fn aggregated(role: &Tree, all: &[Tree]) -> Vec<PolicyRule> {
    let selectors: Vec<_> = selectors(role)
        .iter()
        .filter_map(|selector| LabelSelector::from_tree(selector).ok())
        .collect();
    if selectors.is_empty() {
        return Vec::new();
    }
    let none = Tree::Null;
    let selected = |other: &&Tree| {
        let labels = other.pointer("/metadata/labels").unwrap_or(&none);
        selectors.iter().any(|selector| selector.matches(labels))
    };
    all.iter()
        .filter(selected)
        .flat_map(PolicyRule::of_role)
        .collect()
}

/// Returns the selectors of an aggregated cluster role; none for other roles.
pub(crate) fn selectors(role: &Tree) -> &[Tree] {
    list(role, "/aggregationRule/clusterRoleSelectors")
}

fn text_of(tree: &Tree) -> String {
    tree.as_str().unwrap_or_default().to_owned()
}

fn text(tree: &Tree, pointer: &str) -> String {
    tree.pointer(pointer).map(text_of).unwrap_or_default()
}

fn list<'a>(tree: &'a Tree, pointer: &str) -> &'a [Tree] {
    tree.pointer(pointer)
        .and_then(Tree::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    fn policy() -> RbacPolicy {
        let evictor = json!({"metadata": {"name": "evictor", "labels": {"to": "ops"}}, "rules": [
            {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/eviction"]},
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"],
                "resourceNames": ["web-1"]},
            {"verbs": ["get"], "nonResourceURLs": ["/metrics", "/debug/*"]}]});
        let ops = json!({"metadata": {"name": "ops"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "ops"}}]}});
        let scaler = json!({"metadata": {"name": "scaler", "namespace": "shop"}, "rules": [
            {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*/scale"]}]});
        let bound = json!({"metadata": {"name": "b", "namespace": "shop"},
            "roleRef": {"kind": "Role", "name": "scaler"},
            "subjects": [{"kind": "ServiceAccount", "name": "bot"},
                {"kind": "Group", "name": "dev"}]});
        let everywhere = json!({"metadata": {"name": "c"},
            "roleRef": {"kind": "ClusterRole", "name": "ops"},
            "subjects": [{"kind": "User", "name": "bob"}]});
        RbacPolicy::of(&[scaler], &[evictor, ops], &[bound], &[everywhere])
    }

    fn may(who: &str, group: &str, verb: &str, what: &str) -> bool {
        let user = User {
            name: who.to_owned(),
            groups: vec![group.to_owned()],
            ..User::default()
        };
        let target = match what.split(' ').collect::<Vec<_>>()[..] {
            [path] => AccessTarget::NonResource(path),
            [group, resource, namespace, name] => {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                AccessTarget::Resource {
                    group: if group == "-" { "" } else { group },
                    resource,
                    subresource,
                    namespace,
                    name,
                }
            }
            _ => panic!("{what}"),
        };
        policy()
            .allows(&user, &AccessRequest { verb, target })
            .is_some()
    }

    #[test]
    fn rules_allow_what_they_name_and_nothing_else() {
        for (who, group, verb, what, expected) in [
            ("bob", "", "create", "- pods/eviction shop web-1", true),
            ("bob", "", "create", "- pods/eviction other x", true),
            ("bob", "", "delete", "- pods shop web-1", false),
            ("bob", "", "get", "- pods shop web-1", true),
            ("bob", "", "get", "- pods shop web-2", false),
            ("bob", "", "get", "- pods/log shop web-1", false),
            ("bob", "", "get", "/metrics", true),
            ("bob", "", "get", "/debug/pprof", true),
            ("bob", "", "get", "/metricsx", false),
            ("eve", "", "create", "- pods/eviction shop web-1", false),
            (
                "eve",
                "dev",
                "update",
                "apps deployments/scale shop d",
                true,
            ),
            (
                "eve",
                "dev",
                "update",
                "apps deployments/scale other d",
                false,
            ),
            ("eve", "dev", "update", "apps deployments shop d", false),
            (
                "system:serviceaccount:shop:bot",
                "",
                "get",
                "apps replicasets/scale shop r",
                true,
            ),
            (
                "system:serviceaccount:other:bot",
                "",
                "get",
                "apps replicasets/scale shop r",
                false,
            ),
        ] {
            assert_eq!(
                may(who, group, verb, what),
                expected,
                "{who} ({group}) {verb} {what}"
            );
        }
    }

    /// Earlier versions stored these.
    #[test]
    fn stored_bindings_that_would_be_refused_today_allow_nothing() {
        let all = json!({"metadata": {"name": "all", "namespace": "shop"},
            "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
        let role =
            |kind: &str, group: &str| json!({"kind": kind, "name": "all", "apiGroup": group});
        let user = |group: &str| json!({"kind": "User", "name": "eve", "apiGroup": group});
        let is_allowed = |is_clustered: bool, role: Tree, subject: Tree, who: &str| {
            let binding = json!({"metadata": {"name": "b", "namespace": "shop"},
                "roleRef": role, "subjects": [subject]});
            let binding = [binding];
            let (namespaced, clustered) = if is_clustered {
                (&[][..], &binding[..])
            } else {
                (&binding[..], &[][..])
            };
            let roles = std::slice::from_ref(&all);
            let policy = RbacPolicy::of(roles, roles, namespaced, clustered);
            let user = User {
                name: who.to_owned(),
                groups: vec!["dev".to_owned()],
                ..User::default()
            };
            let target = AccessTarget::Resource {
                group: "",
                resource: "pods",
                subresource: "",
                namespace: "shop",
                name: "",
            };
            let access = AccessRequest {
                verb: "get",
                target,
            };
            policy.allows(&user, &access).is_some()
        };
        let account = |part: &str, value: &str| {
            let mut account = json!({"kind": "ServiceAccount", "name": "bot"});
            account[part] = value.into();
            account
        };
        let bot = "system:serviceaccount:shop:bot";
        for (is_clustered, role, subject, who, expected) in [
            (true, role("ClusterRole", GROUP), user(GROUP), "eve", true),
            (true, role("ClusterRole", ""), user(""), "eve", true),
            (false, role("Role", GROUP), user(GROUP), "eve", true),
            (true, role("Role", GROUP), user(GROUP), "eve", false),
            (true, role("User", GROUP), user(GROUP), "eve", false),
            (true, role("ClusterRole", "x"), user(GROUP), "eve", false),
            (true, role("ClusterRole", GROUP), user("x"), "eve", false),
            (
                false,
                role("Role", GROUP),
                account("namespace", "shop"),
                bot,
                true,
            ),
            (
                false,
                role("Role", GROUP),
                account("namespace", ""),
                bot,
                true,
            ),
            (
                false,
                role("Role", GROUP),
                account("apiGroup", GROUP),
                bot,
                false,
            ),
            (
                true,
                role("ClusterRole", GROUP),
                account("namespace", ""),
                "system:serviceaccount::bot",
                false,
            ),
        ] {
            assert_eq!(
                is_allowed(is_clustered, role.clone(), subject.clone(), who),
                expected,
                "{role} {subject}"
            );
        }
    }

    #[test]
    fn a_reason_names_binding_role_and_subject() {
        let user = User {
            name: "bob".to_owned(),
            ..User::default()
        };
        let access = AccessRequest {
            verb: "get",
            target: AccessTarget::NonResource("/metrics"),
        };
        assert_eq!(
            policy().allows(&user, &access).as_deref(),
            Some(
                "RBAC: allowed by ClusterRoleBinding \"c\" of ClusterRole \"ops\" to User \"bob\""
            )
        );
    }
}
