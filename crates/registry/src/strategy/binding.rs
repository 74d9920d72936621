//! Validation of `RoleBinding` and `ClusterRoleBinding`.
//!
//! What passes here counts in authorization, so every reference must be one that authorization
//! knows: the server resolves roles and subjects by exactly these kinds and groups.

use kinds::tree::json;
use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::Faults;
use super::meta::invalid_text;
use super::path::Path;
use super::{Strategy, StrategyContext};
use crate::tree::{fill, list, list_mut, text};

/// The API group of roles, users and groups.
const RBAC: &str = "rbac.authorization.k8s.io";

pub(crate) struct Binding {
    /// Whether the strategy is for role bindings, not cluster role bindings.
    pub(crate) is_namespaced: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Tree) {
        fill(object, &["roleRef", "apiGroup"], RBAC);
        for subject in list_mut(object, &["subjects"]) {
            if matches!(text(subject, &["kind"]), "User" | "Group") {
                fill(subject, &["apiGroup"], RBAC);
            }
        }
    }

    fn name_faults(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        const SUBJECTS: Path<'static> = Path::root("subjects");
        let mut out = FieldErrors::default();
        self.role_faults(object, &mut out);
        for (index, subject) in list(object, &["subjects"]).iter().enumerate() {
            self.subject_faults(subject, &SUBJECTS.index(index), &mut out);
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = self.validate_create(context, new);
        let parts = |binding| {
            ["apiGroup", "kind", "name"].map(|member| text(binding, &["roleRef", member]))
        };
        if parts(new) != parts(old) {
            let [group, kind, name] = parts(new);
            let role = json!({"APIGroup": group, "Kind": kind, "Name": name});
            out.push(FieldError::invalid(
                "roleRef",
                &role,
                "cannot change roleRef",
            ));
        }
        out
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

impl Binding {
    fn role_faults(&self, object: &Tree, out: &mut Faults) {
        const ROLE: Path<'static> = Path::root("roleRef");
        let part = |member: &str| text(object, &["roleRef", member]);
        if part("apiGroup") != RBAC {
            out.push(unsupported(
                &ROLE.child("apiGroup"),
                part("apiGroup"),
                &[RBAC],
            ));
        }
        let kinds: &[&str] = if self.is_namespaced {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        if !kinds.contains(&part("kind")) {
            out.push(unsupported(&ROLE.child("kind"), part("kind"), kinds));
        }
        let (path, name) = (ROLE.child("name"), part("name"));
        if name.is_empty() {
            out.push(FieldError::required(path, ""));
            return;
        }
        out.extend(
            names::path_segment(name)
                .into_iter()
                .map(|fault| invalid_text(path, name, fault)),
        );
    }

    fn subject_faults(&self, subject: &Tree, path: &Path<'_>, out: &mut Faults) {
        let part = |member: &str| text(subject, &[member]);
        let (name, group) = (part("name"), part("apiGroup"));
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        }
        match part("kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    let faults = names::dns_subdomain(name).into_iter();
                    out.extend(faults.map(|fault| invalid_text(path.child("name"), name, fault)));
                }
                if !group.is_empty() {
                    out.push(unsupported(&path.child("apiGroup"), group, &[""]));
                }
                // In a role binding the namespace of the binding is meant.
                if !self.is_namespaced && part("namespace").is_empty() {
                    out.push(FieldError::required(path.child("namespace"), ""));
                }
            }
            kind @ ("User" | "Group") => {
                if name.is_empty() {
                    let detail = format!("{} name cannot be empty", kind.to_ascii_lowercase());
                    out.push(invalid_text(path.child("name"), name, detail));
                }
                if group != RBAC {
                    out.push(unsupported(&path.child("apiGroup"), group, &[RBAC]));
                }
            }
            kind => out.push(unsupported(
                &path.child("kind"),
                kind,
                &["ServiceAccount", "User", "Group"],
            )),
        }
    }
}

fn unsupported(path: &Path<'_>, value: &str, supported: &[&str]) -> FieldError {
    FieldError::not_supported(path, &Tree::from(value), supported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Gates;

    const CONTEXT: StrategyContext<'static> = StrategyContext {
        subresource: "",
        gates: Gates {
            unhealthy_pod_eviction_policy: true,
        },
        now: jiff::Timestamp::UNIX_EPOCH,
    };

    fn bound(role: Tree, subject: Tree) -> Tree {
        json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": [subject]})
    }

    #[track_caller]
    fn check(is_namespaced: bool, role: Tree, subject: Tree, expected: &[&str]) {
        let mut binding = bound(role, subject);
        let strategy = Binding { is_namespaced };
        strategy.default(&mut binding);
        let faults = strategy.validate_create(&CONTEXT, &binding);
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected, "{binding}");
    }

    fn cluster_role() -> Tree {
        json!({"kind": "ClusterRole", "name": "view"})
    }

    fn user() -> Tree {
        json!({"kind": "User", "name": "ann"})
    }

    #[test]
    fn a_binding_references_a_role_that_authorization_knows() {
        let role = |kind: &str| json!({"kind": kind, "name": "cluster-admin"});
        check(false, cluster_role(), user(), &[]);
        check(true, cluster_role(), user(), &[]);
        check(true, role("Role"), user(), &[]);
        check(
            false,
            role("Role"),
            user(),
            &[r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#],
        );
        for kind in ["User", "", "clusterrole", "Pod"] {
            check(
                true,
                role(kind),
                user(),
                &[&format!(
                    "roleRef.kind: Unsupported value: {kind:?}: supported values: \"Role\", \
                     \"ClusterRole\""
                )],
            );
        }
        check(
            true,
            json!({"kind": "ClusterRole", "name": "view", "apiGroup": "example.com"}),
            user(),
            &[
                "roleRef.apiGroup: Unsupported value: \"example.com\": supported values: \
                 \"rbac.authorization.k8s.io\"",
            ],
        );
        check(
            false,
            json!({"kind": "ClusterRole"}),
            user(),
            &["roleRef.name: Required value"],
        );
        check(
            false,
            json!({"kind": "ClusterRole", "name": "a/b"}),
            user(),
            &["roleRef.name: Invalid value: \"a/b\": may not contain '/'"],
        );
    }

    #[test]
    fn a_binding_names_subjects_that_authorization_knows() {
        let check = |is_namespaced: bool, subject: Tree, expected: &[&str]| {
            check(is_namespaced, cluster_role(), subject, expected);
        };
        let account = || json!({"kind": "ServiceAccount", "name": "bot"});
        check(true, account(), &[]);
        check(false, account(), &["subjects[0].namespace: Required value"]);
        let in_namespace = json!({"kind": "ServiceAccount", "name": "bot", "namespace": "shop"});
        check(false, in_namespace, &[]);
        check(
            true,
            json!({"kind": "ServiceAccount", "name": "bot", "apiGroup": RBAC}),
            &[
                "subjects[0].apiGroup: Unsupported value: \"rbac.authorization.k8s.io\": supported \
                 values: \"\"",
            ],
        );
        let invalid = json!({"kind": "ServiceAccount", "name": "a:b"});
        let mut binding = bound(cluster_role(), invalid);
        Binding {
            is_namespaced: true,
        }
        .default(&mut binding);
        let faults = Binding {
            is_namespaced: true,
        }
        .validate_create(&CONTEXT, &binding);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].field, "subjects[0].name");
        for kind in ["User", "Group"] {
            let foreign = json!({"kind": kind, "name": "ann", "apiGroup": "example.com"});
            check(
                true,
                foreign,
                &[
                    "subjects[0].apiGroup: Unsupported value: \"example.com\": supported values: \
                     \"rbac.authorization.k8s.io\"",
                ],
            );
            check(
                true,
                json!({"kind": kind}),
                &[
                    "subjects[0].name: Required value",
                    &format!(
                        "subjects[0].name: Invalid value: \"\": {} name cannot be empty",
                        kind.to_lowercase()
                    ),
                ],
            );
        }
        check(
            true,
            json!({"kind": "Pod", "name": "p"}),
            &[
                "subjects[0].kind: Unsupported value: \"Pod\": supported values: \"ServiceAccount\", \
                 \"User\", \"Group\"",
            ],
        );
    }

    #[test]
    fn the_role_of_a_binding_cannot_change() {
        let old = {
            let mut binding = bound(cluster_role(), user());
            Binding {
                is_namespaced: true,
            }
            .default(&mut binding);
            binding
        };
        for (member, value) in [("name", "edit"), ("kind", "Role"), ("apiGroup", "x")] {
            let mut new = old.clone();
            new["roleRef"][member] = value.into();
            let faults = Binding {
                is_namespaced: true,
            }
            .validate_update(&CONTEXT, &new, &old);
            let last = faults.last().expect("a fault").to_string();
            assert!(
                last.starts_with("roleRef: Invalid value: {\"APIGroup\":"),
                "{last}"
            );
            assert!(last.ends_with(": cannot change roleRef"), "{last}");
        }
        let mut new = old.clone();
        new["subjects"] = json!([]);
        let faults = Binding {
            is_namespaced: true,
        }
        .validate_update(&CONTEXT, &new, &old);
        assert!(faults.is_empty(), "{faults:?}");
    }
}
