//! One rule of a role, and what it allows.

use kinds::Tree;

use super::{list, text_of};
use crate::authorize::{AccessRequest, AccessTarget};

/// A rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyRule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) paths: Vec<String>,
}

/// The value that stands for all verbs, groups, resources or paths.
const ALL: &str = "*";

impl PolicyRule {
    /// Two rules that together allow every verb on every resource and every path.
    pub(crate) fn everything() -> [Self; 2] {
        let all = || vec![ALL.to_owned()];
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

    /// Returns the rules that a role lists itself.
    pub(crate) fn of_role(role: &Tree) -> Vec<Self> {
        let texts = |rule: &Tree, member: &str| -> Vec<String> {
            list(rule, member).iter().map(text_of).collect()
        };
        let rule = |rule: &Tree| Self {
            verbs: texts(rule, "/verbs"),
            groups: texts(rule, "/apiGroups"),
            resources: texts(rule, "/resources"),
            names: texts(rule, "/resourceNames"),
            paths: texts(rule, "/nonResourceURLs"),
        };
        list(role, "/rules").iter().map(rule).collect()
    }

    /// Returns whether the rule allows an access request.
    pub(crate) fn allows(&self, access: &AccessRequest<'_>) -> bool {
        if !has_or_all(&self.verbs, access.verb) {
            return false;
        }
        match access.target {
            AccessTarget::NonResource(path) => {
                self.paths.iter().any(|rule| path_covers(rule, path))
            }
            AccessTarget::Resource {
                group,
                resource,
                subresource,
                name,
                ..
            } => {
                has_or_all(&self.groups, group)
                    && self
                        .resources
                        .iter()
                        .any(|rule| resource_covers(rule, resource, subresource))
                    && (self.names.is_empty() || self.names.iter().any(|own| own == name))
            }
        }
    }
}

fn has_or_all(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == ALL || item == value)
}

/// Returns whether the resource of a rule (`pods`, `pods/log`, `*/scale`, `*`) covers this one.
pub(super) fn resource_covers(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == ALL {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    // A subresource can contain slashes itself (`userextras/example.com/key`).
    rule.split_once('/')
        .is_some_and(|(own, sub)| (own == ALL || own == resource) && sub == subresource)
}

/// Returns whether the path of a rule covers another path, which can be a pattern itself.
pub(super) fn path_covers(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with(ALL) && path.starts_with(rule.trim_end_matches(ALL)))
}
