//! RBAC rules and what they allow. Pure: from objects to decisions.

use std::collections::HashMap;

use kinds::Tree;
use kinds::selector::LabelSelector;
use registry::request::User;

use super::{AccessRequest, AccessTarget};

/// A rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyRule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) paths: Vec<String>,
}

/// A subject of a binding. Service accounts are users here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RbacSubject {
    User(String),
    Group(String),
}

#[derive(Clone, Debug)]
pub(crate) struct RoleBinding {
    name: String,
    /// Namespace of a role binding; `None` for a cluster role binding.
    namespace: Option<String>,
    subjects: Vec<RbacSubject>,
    role: RoleName,
}

/// Namespace (`None` for cluster roles) and name of a role.
type RoleName = (Option<String>, String);

/// All roles and bindings of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct RbacPolicy {
    roles: HashMap<RoleName, Vec<PolicyRule>>,
    bindings: Vec<RoleBinding>,
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
            let name = (
                Some(text(role, "/metadata/namespace")),
                text(role, "/metadata/name"),
            );
            policy.roles.insert(name, rules_of(role));
        }
        for role in cluster_roles {
            let mut rules = rules_of(role);
            rules.extend(aggregated(role, cluster_roles));
            policy
                .roles
                .insert((None, text(role, "/metadata/name")), rules);
        }
        policy.bindings.extend(
            cluster_bindings
                .iter()
                .map(|binding| RoleBinding::of(binding, None)),
        );
        policy.bindings.extend(
            bindings.iter().map(|binding| {
                RoleBinding::of(binding, Some(text(binding, "/metadata/namespace")))
            }),
        );
        policy
    }

    /// Returns the reason why a user may do something; `None` if no rule allows it.
    pub(crate) fn allows(&self, user: &User, access: &AccessRequest<'_>) -> Option<String> {
        let namespace = match access.target {
            AccessTarget::Resource { namespace, .. } => namespace,
            AccessTarget::NonResource(_) => "",
        };
        self.rules_for(user, namespace)
            .find(|(_, rule)| rule.allows(access))
            .map(|(binding, _)| {
                let kind = if binding.namespace.is_some() {
                    "RoleBinding"
                } else {
                    "ClusterRoleBinding"
                };
                let role = if binding.role.0.is_some() {
                    "Role"
                } else {
                    "ClusterRole"
                };
                format!(
                    "RBAC: allowed by {kind} \"{}\" of {role} \"{}\"",
                    binding.name, binding.role.1
                )
            })
    }

    /// Returns the rules of `given` that a user does not hold in a namespace (empty for cluster
    /// scope).
    pub(crate) fn not_covered<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
        given: &'a [PolicyRule],
    ) -> impl Iterator<Item = &'a PolicyRule> {
        let held: Vec<&PolicyRule> = self
            .rules_for(user, namespace)
            .map(|(_, rule)| rule)
            .collect();
        given.iter().filter(move |rule| !rule.is_covered_by(&held))
    }

    /// Returns the resource, name and rules of the role that a binding references; no rules if the
    /// role does not exist.
    pub(crate) fn role_of_binding<'a>(
        &self,
        binding: &'a Tree,
    ) -> (&'static str, &'a str, Option<Vec<PolicyRule>>) {
        let name = binding
            .pointer("/roleRef/name")
            .and_then(Tree::as_str)
            .unwrap_or_default();
        let (resource, namespace) = match text(binding, "/roleRef/kind").as_str() {
            "Role" => ("roles", Some(text(binding, "/metadata/namespace"))),
            _ => ("clusterroles", None),
        };
        (
            resource,
            name,
            self.roles.get(&(namespace, name.to_owned())).cloned(),
        )
    }

    /// Returns the rules that apply to a user in a namespace (empty for cluster scope).
    pub(crate) fn rules_for<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a RoleBinding, &'a PolicyRule)> + use<'a> {
        let here = move |binding: &&RoleBinding| {
            binding
                .namespace
                .as_deref()
                .is_none_or(|own| own == namespace)
                && binding.subjects.iter().any(|subject| subject.is(user))
        };
        self.bindings.iter().filter(here).flat_map(|binding| {
            let rules = self
                .roles
                .get(&binding.role)
                .map(Vec::as_slice)
                .unwrap_or_default();
            rules.iter().map(move |rule| (binding, rule))
        })
    }
}

impl RbacSubject {
    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.groups.contains(name),
        }
    }
}

impl RoleBinding {
    fn of(tree: &Tree, namespace: Option<String>) -> Self {
        let subjects = list(tree, "/subjects").iter().filter_map(|subject| {
            let name = text(subject, "/name");
            match text(subject, "/kind").as_str() {
                "User" => Some(RbacSubject::User(name)),
                "Group" => Some(RbacSubject::Group(name)),
                "ServiceAccount" => {
                    let own = text(subject, "/namespace");
                    let place = if own.is_empty() {
                        namespace.clone().unwrap_or_default()
                    } else {
                        own
                    };
                    Some(RbacSubject::User(format!(
                        "system:serviceaccount:{place}:{name}"
                    )))
                }
                _ => None,
            }
        });
        let subjects = subjects.collect();
        let role = match text(tree, "/roleRef/kind").as_str() {
            "Role" => (namespace.clone(), text(tree, "/roleRef/name")),
            _ => (None, text(tree, "/roleRef/name")),
        };
        Self {
            name: text(tree, "/metadata/name"),
            namespace,
            subjects,
            role,
        }
    }
}

impl PolicyRule {
    /// Two rules that together allow every verb on every resource and every path.
    fn everything() -> [Self; 2] {
        let all = || vec!["*".to_owned()];
        [
            Self {
                verbs: all(),
                groups: all(),
                resources: all(),
                ..Self::default()
            },
            Self {
                verbs: all(),
                paths: all(),
                ..Self::default()
            },
        ]
    }

    /// Returns the rules of a role object. An aggregated role counts as one that allows
    /// everything, because the roles that it aggregates can change later.
    pub(crate) fn of_role(role: &Tree) -> Vec<Self> {
        let mut rules = rules_of(role);
        if !list(role, "/aggregationRule/clusterRoleSelectors").is_empty() {
            rules.extend(Self::everything());
        }
        rules
    }

    /// Returns whether each single permission of this rule is allowed by one of `held`.
    fn is_covered_by(&self, held: &[&Self]) -> bool {
        let is_held = |verb: &str, target| {
            held.iter()
                .any(|rule| rule.allows(&AccessRequest { verb, target }))
        };
        // The empty name stands for all names: only a rule without names allows it.
        let unnamed = [String::new()];
        let names = if self.names.is_empty() {
            &unnamed[..]
        } else {
            &self.names
        };
        self.verbs.iter().all(|verb| {
            self.paths
                .iter()
                .all(|path| is_held(verb, AccessTarget::NonResource(path)))
                && self.groups.iter().all(|group| {
                    self.resources.iter().all(|full| {
                        let (resource, subresource) = full.split_once('/').unwrap_or((full, ""));
                        names.iter().all(|name| {
                            is_held(
                                verb,
                                AccessTarget::Resource {
                                    group,
                                    resource,
                                    subresource,
                                    namespace: "",
                                    name,
                                },
                            )
                        })
                    })
                })
        })
    }

    fn allows(&self, access: &AccessRequest<'_>) -> bool {
        let has =
            |list: &[String], value: &str| list.iter().any(|item| item == "*" || item == value);
        if !has(&self.verbs, access.verb) {
            return false;
        }
        match access.target {
            AccessTarget::NonResource(path) => {
                self.paths.iter().any(|rule| match rule.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => rule == path,
                })
            }
            AccessTarget::Resource {
                group,
                resource,
                subresource,
                name,
                ..
            } => {
                has(&self.groups, group)
                    && self
                        .resources
                        .iter()
                        .any(|rule| covers(rule, resource, subresource))
                    && (self.names.is_empty() || self.names.iter().any(|own| own == name))
            }
        }
    }
}

/// Returns whether the resource of a rule (`pods`, `pods/log`, `*/scale`, `*`) covers this one.
fn covers(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((own, sub)) => {
            !subresource.is_empty() && sub == subresource && (own == "*" || own == resource)
        }
    }
}

fn rules_of(role: &Tree) -> Vec<PolicyRule> {
    let texts = |rule: &Tree, member: &str| -> Vec<String> {
        list(rule, member)
            .iter()
            .filter_map(Tree::as_str)
            .map(str::to_owned)
            .collect()
    };
    let rule = |rule: &Tree| PolicyRule {
        verbs: texts(rule, "/verbs"),
        groups: texts(rule, "/apiGroups"),
        resources: texts(rule, "/resources"),
        names: texts(rule, "/resourceNames"),
        paths: texts(rule, "/nonResourceURLs"),
    };
    list(role, "/rules").iter().map(rule).collect()
}

/// Returns the rules of all cluster roles that the aggregation rule of this one selects.
fn aggregated(role: &Tree, all: &[Tree]) -> Vec<PolicyRule> {
    let selectors: Vec<_> = list(role, "/aggregationRule/clusterRoleSelectors")
        .iter()
        .filter_map(|selector| LabelSelector::from_tree(selector).ok())
        .collect();
    if selectors.is_empty() {
        return Vec::new();
    }
    let selected = |other: &&Tree| {
        let labels = other.pointer("/metadata/labels");
        labels.is_some_and(|labels| selectors.iter().any(|selector| selector.matches(labels)))
    };
    all.iter().filter(selected).flat_map(rules_of).collect()
}

fn text(tree: &Tree, pointer: &str) -> String {
    tree.pointer(pointer)
        .and_then(Tree::as_str)
        .unwrap_or_default()
        .to_owned()
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
}
