//! Whether a user who holds some rules may grant others: each single permission of the others must
//! be covered by one rule that is held.
//!
//! A permission is one verb on one resource of one group, for one name or for all names; or one
//! verb on one path. A pattern is covered by the same or a wider pattern only. Names are compared
//! as they are written: a rule without names is covered by rules without names only, and the empty
//! name is a name like others.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{PolicyRule, path_covers};

/// Comparisons of strings after which a check gives up and refuses. A rule of a few kilobytes can
/// stand for billions of permissions. This is about half a second, and a hundred times what the
/// largest default roles need.
const MAX_COMPARISONS: usize = 20_000_000;
/// Missing permissions that are collected for the message.
const MAX_MISSING: usize = 10_000;

/// One permission; parts that do not apply are `None`.
#[derive(Clone, Copy, Debug, Default)]
struct Permission<'a> {
    verb: &'a str,
    group: Option<&'a str>,
    resource: Option<&'a str>,
    name: Option<&'a str>,
    path: Option<&'a str>,
}

/// Returns the permissions in `given` that no rule in `held` covers; empty if all are covered. The
/// list can be incomplete, but is not empty if something is missing.
pub(crate) fn missing(held: &[&PolicyRule], given: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut comparisons = Comparisons {
        left: MAX_COMPARISONS,
    };
    let mut missing = Vec::new();
    for rule in given {
        // A rule that covers the other as a whole spares the single permissions.
        if held.iter().any(|own| comparisons.rule_covers(own, rule)) {
            continue;
        }
        for permission in permissions(rule) {
            if comparisons.left == 0 || missing.len() >= MAX_MISSING {
                missing.push(rule.clone());
                return missing;
            }
            if !held.iter().any(|own| comparisons.covers(own, permission)) {
                missing.push(permission.to_rule());
            }
        }
    }
    missing
}

/// Takes a rule apart. A rule without verbs, or with neither paths nor both groups and resources,
/// allows nothing and has no permissions.
fn permissions(rule: &PolicyRule) -> impl Iterator<Item = Permission<'_>> {
    let names = move || {
        let unnamed = rule.names.is_empty().then_some(None);
        unnamed
            .into_iter()
            .chain(rule.names.iter().map(|name| Some(name.as_str())))
    };
    let resources = rule.groups.iter().flat_map(move |group| {
        rule.resources.iter().flat_map(move |resource| {
            rule.verbs.iter().flat_map(move |verb| {
                names().map(move |name| Permission {
                    verb,
                    group: Some(group),
                    resource: Some(resource),
                    name,
                    path: None,
                })
            })
        })
    });
    let paths = rule.paths.iter().flat_map(move |path| {
        rule.verbs.iter().map(move |verb| Permission {
            verb,
            path: Some(path),
            ..Permission::default()
        })
    });
    resources.chain(paths)
}

impl Permission<'_> {
    fn to_rule(self) -> PolicyRule {
        let list = |part: Option<&str>| part.map(str::to_owned).into_iter().collect();
        PolicyRule {
            verbs: list(Some(self.verb)),
            groups: list(self.group),
            resources: list(self.resource),
            names: list(self.name),
            paths: list(self.path),
        }
    }
}

/// Compares within a bound. When it is used up, nothing is covered any more.
struct Comparisons {
    left: usize,
}

impl Comparisons {
    fn any(&mut self, list: &[String], mut is_it: impl FnMut(&str) -> bool) -> bool {
        for item in list {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
            if is_it(item) {
                return true;
            }
        }
        false
    }

    fn covers(&mut self, own: &PolicyRule, permission: Permission<'_>) -> bool {
        self.any(&own.verbs, |verb| verb == "*" || verb == permission.verb)
            && permission
                .group
                .is_none_or(|group| self.any(&own.groups, |own| own == "*" || own == group))
            && permission
                .resource
                .is_none_or(|resource| self.any(&own.resources, |own| covers(own, resource)))
            && (permission.resource.is_none() || self.names_cover(own, permission.name))
            && permission
                .path
                .is_none_or(|path| self.any(&own.paths, |own| path_covers(own, path)))
    }

    fn names_cover(&mut self, own: &PolicyRule, name: Option<&str>) -> bool {
        own.names.is_empty() || name.is_some_and(|name| self.any(&own.names, |own| own == name))
    }

    /// Returns whether one rule covers every permission of another. `false` says nothing: the
    /// permissions can still be covered one by one.
    fn rule_covers(&mut self, own: &PolicyRule, rule: &PolicyRule) -> bool {
        rule.verbs
            .iter()
            .all(|verb| self.any(&own.verbs, |own| own == "*" || own == verb))
            && rule
                .groups
                .iter()
                .all(|group| self.any(&own.groups, |own| own == "*" || own == group))
            && rule
                .resources
                .iter()
                .all(|resource| self.any(&own.resources, |own| covers(own, resource)))
            && if rule.names.is_empty() {
                own.names.is_empty()
            } else {
                rule.names
                    .iter()
                    .all(|name| self.names_cover(own, Some(name)))
            }
            && rule
                .paths
                .iter()
                .all(|path| self.any(&own.paths, |own| path_covers(own, path)))
    }
}

/// Returns whether a resource of a rule covers a resource of another rule.
fn covers(own: &str, resource: &str) -> bool {
    own == "*"
        || own == resource
        || resource
            .split_once('/')
            .is_some_and(|(_, sub)| own.strip_prefix("*/") == Some(sub))
}

/// Renders missing permissions as upstream does: the verbs of one resource together, one line for
/// each, sorted.
pub(crate) fn render(missing: &[PolicyRule]) -> String {
    type Resource<'a> = (&'a [String], &'a [String], &'a [String]);
    let mut merged: BTreeMap<Resource<'_>, Vec<&str>> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    for rule in missing {
        let is_simple = rule.groups.len() == 1
            && rule.resources.len() == 1
            && rule.names.len() <= 1
            && rule.paths.is_empty();
        if is_simple {
            let resource = (&*rule.groups, &*rule.resources, &*rule.names);
            let verbs = merged.entry(resource).or_default();
            verbs.extend(rule.verbs.iter().map(String::as_str));
        } else {
            lines.insert(line(rule));
        }
    }
    for ((groups, resources, names), verbs) in merged {
        lines.insert(line(&PolicyRule {
            verbs: verbs.into_iter().map(str::to_owned).collect(),
            groups: groups.to_vec(),
            resources: resources.to_vec(),
            names: names.to_vec(),
            paths: Vec::new(),
        }));
    }
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn line(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.paths),
        ("ResourceNames", &rule.names),
        ("Verbs", &rule.verbs),
    ];
    let shown = parts
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| format!("{name}:{}", crate::authorize::quoted_list(values)));
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parses `verbs|groups|resources|names` or `verbs|paths`; lists are separated by spaces, `-`
    /// is the empty string.
    fn rule(text: &str) -> PolicyRule {
        let list = |part: &str| -> Vec<String> {
            part.split_whitespace()
                .map(|word| if word == "-" { "" } else { word }.to_owned())
                .collect()
        };
        match text.split('|').map(list).collect::<Vec<_>>() {
            mut parts if parts.len() == 2 => PolicyRule {
                paths: parts.remove(1),
                verbs: parts.remove(0),
                ..PolicyRule::default()
            },
            mut parts => PolicyRule {
                names: parts.remove(3),
                resources: parts.remove(2),
                groups: parts.remove(1),
                verbs: parts.remove(0),
                ..PolicyRule::default()
            },
        }
    }

    fn is_covered(held: &[&str], given: &str) -> bool {
        let held: Vec<PolicyRule> = held.iter().map(|text| rule(text)).collect();
        missing(&held.iter().collect::<Vec<_>>(), &[rule(given)]).is_empty()
    }

    #[test]
    fn rules_cover_what_upstream_says_they_cover() {
        for (held, given, expected) in [
            (&["get|-|pods|"][..], "get|-|pods|", true),
            (&["get list|-|pods nodes|"], "get list|-|nodes pods|", true),
            (&["get|-|pods|", "list|-|pods|"], "get list|-|pods|", true),
            (&["get|-|pods|", "list|-|nodes|"], "get list|-|pods|", false),
            (&["get|-|pods|"], "get|apps|pods|", false),
            (&["get|*|pods|"], "get|apps|pods|", true),
            (&["get|-|pods|"], "get|*|pods|", false),
            (&["*|-|pods|"], "get|-|pods|", true),
            (&["*|-|pods|"], "*|-|pods|", true),
            (
                &["get list watch create update patch delete|-|pods|"],
                "*|-|pods|",
                false,
            ),
            (&["get|-|*|"], "get|-|pods/log|", true),
            (&["get|-|pods|"], "get|-|*|", false),
            (&["get|-|pods|"], "get|-|pods/log|", false),
            (&["get|-|*/log|"], "get|-|pods/log|", true),
            (&["get|-|*/log|"], "get|-|*/log|", true),
            (&["get|-|pods/log|"], "get|-|*/log|", false),
            (&["get|-|pods/*|"], "get|-|pods/log|", false),
            (&["get|-|pods/*|"], "get|-|pods/*|", true),
            // Names.
            (&["get|-|pods|a"], "get|-|pods|a", true),
            (&["get|-|pods|a b"], "get|-|pods|b", true),
            (&["get|-|pods|a"], "get|-|pods|a b", false),
            (&["get|-|pods|"], "get|-|pods|a", true),
            (&["get|-|pods|a"], "get|-|pods|", false),
            (&["get|-|pods|-"], "get|-|pods|", false),
            (&["get|-|pods|- a"], "get|-|pods|", false),
            (&["get|-|pods|-"], "get|-|pods|-", true),
            (&["get|-|pods|"], "get|-|pods|-", true),
            (&["get|-|pods|*"], "get|-|pods|a", false),
            // Paths.
            (&["get|/a"], "get|/a", true),
            (&["get|/a/*"], "get|/a/b", true),
            (&["get|/a/*"], "get|/a/*", true),
            (&["get|/a/*"], "get|/a", false),
            (&["get|/a/*"], "get|/*", false),
            (&["get|*"], "get|/*", true),
            (&["get|/a*"], "get|/a/b*", true),
            (&["get|/a"], "get|/a*", false),
            (&["*|*"], "post|/a", true),
            (&["get|*"], "*|/a", false),
            // Resources do not cover paths, nor paths resources.
            (&["*|*|*|"], "get|/a", false),
            (&["*|*"], "get|-|pods|", false),
            // A rule that allows nothing needs nothing.
            (&[], "get|-||", true),
            (&[], "|-|pods|", true),
            (&[], "get|-|pods|", false),
        ] {
            assert_eq!(is_covered(held, given), expected, "{held:?} {given:?}");
        }
    }

    #[test]
    fn missing_permissions_are_listed_as_upstream_lists_them() {
        let held = rule("get|-|pods|");
        let given = [
            rule("get list delete|-|pods|"),
            rule("get|-|secrets|a"),
            rule("get|/metrics"),
        ];
        let expected = "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\" \"delete\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], ResourceNames:[\"a\"], Verbs:[\"get\"]}\n\
             {NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}";
        assert_eq!(render(&missing(&[&held], &given)), expected);
    }

    #[test]
    fn a_rule_that_stands_for_billions_of_permissions_is_refused_within_the_bound() {
        let many = |prefix: &str| (0..100_000).map(|i| format!("{prefix}{i}")).collect();
        let given = PolicyRule {
            verbs: many("v"),
            groups: many("g"),
            resources: many("r"),
            names: many("n"),
            ..PolicyRule::default()
        };
        let held = PolicyRule {
            names: vec!["n0".to_owned()],
            ..given.clone()
        };
        assert!(!missing(&[&held, &held], std::slice::from_ref(&given)).is_empty());
        let all = PolicyRule::everything();
        assert!(missing(&[&all[0]], &[given]).is_empty());
    }

    fn words(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(prop::sample::select(of).prop_map(str::to_owned), 0..3)
    }

    fn rules() -> impl Strategy<Value = Vec<PolicyRule>> {
        let resources = (
            words(&["get", "list", "*"]),
            words(&["", "apps", "*"]),
            words(&["pods", "pods/log", "*/log", "nodes", "*"]),
            words(&["", "a", "b"]),
        )
            .prop_map(|(verbs, groups, resources, names)| PolicyRule {
                verbs,
                groups,
                resources,
                names,
                paths: Vec::new(),
            });
        let paths = (words(&["get", "*"]), words(&["/a", "/a/*", "/a*", "*"])).prop_map(
            |(verbs, paths)| PolicyRule {
                verbs,
                paths,
                ..PolicyRule::default()
            },
        );
        prop::collection::vec(prop_oneof![3 => resources, 1 => paths], 0..4)
    }

    proptest! {
        /// What covering promises: nobody gets, by a grant, a request allowed that the granter is
        /// not allowed.
        #[test]
        fn covered_rules_allow_nothing_that_the_held_ones_do_not(
            held in rules(), given in rules(),
        ) {
            use crate::authorize::{AccessRequest, AccessTarget};
            let refs: Vec<&PolicyRule> = held.iter().collect();
            prop_assume!(missing(&refs, &given).is_empty());
            for verb in ["get", "list", "delete"] {
                for (group, resource, subresource, name) in combined(
                    &["", "apps", "x"],
                    &[("pods", ""), ("pods", "log"), ("nodes", ""), ("nodes", "log"), ("y", "z")],
                    &["", "a", "b", "c"],
                ) {
                    let target = AccessTarget::Resource {
                        group, resource, subresource, namespace: "", name,
                    };
                    let access = AccessRequest { verb, target };
                    let may = |rules: &[PolicyRule]| rules.iter().any(|rule| rule.allows(&access));
                    prop_assert!(!may(&given) || may(&held), "{access:?}");
                }
                for path in ["/a", "/a/b", "/ab", "/c"] {
                    let access = AccessRequest { verb, target: AccessTarget::NonResource(path) };
                    let may = |rules: &[PolicyRule]| rules.iter().any(|rule| rule.allows(&access));
                    prop_assert!(!may(&given) || may(&held), "{access:?}");
                }
            }
        }

        #[test]
        fn rules_cover_themselves_and_each_of_their_parts(rules in rules()) {
            let refs: Vec<&PolicyRule> = rules.iter().collect();
            prop_assert!(missing(&refs, &rules).is_empty());
            for rule in &rules {
                let parts: Vec<PolicyRule> = permissions(rule).map(Permission::to_rule).collect();
                prop_assert!(missing(&[rule], &parts).is_empty());
                let parts: Vec<&PolicyRule> = parts.iter().collect();
                prop_assert!(missing(&parts, std::slice::from_ref(rule)).is_empty());
            }
        }
    }

    type Object = (&'static str, &'static str, &'static str, &'static str);

    fn combined(
        groups: &'static [&'static str],
        resources: &'static [(&'static str, &'static str)],
        names: &'static [&'static str],
    ) -> impl Iterator<Item = Object> {
        groups.iter().flat_map(move |group| {
            resources.iter().flat_map(move |(resource, sub)| {
                names
                    .iter()
                    .map(move |name| (*group, *resource, *sub, *name))
            })
        })
    }
}
