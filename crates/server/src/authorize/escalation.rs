//! Prevents privilege escalation through RBAC objects. The author of a role must hold its rules,
//! and the author of a binding must hold the rules of the role, unless the verbs `escalate` or
//! `bind` allow the write. Only who holds everything may write a role that aggregates others,
//! because those can change later.
//!
//! A dry run of the write yields the object to check, so that patches and applies are checked like
//! whole objects, and what the registry refuses never gets here. All writes to the four kinds are
//! serialized from this check to their commit, those of administrators too. Otherwise two writes,
//! each harmless, could together grant what neither author holds.

use kinds::Tree;
use kinds::status::{GroupResource, Status};
use registry::request::{Refusal, Reply, Request, Verb};

use super::cache::PolicyCache;
use super::rbac::{PolicyRule, RbacPolicy, RoleRef, render, selectors};
use super::{AccessRequest, AccessTarget, GROUP, is_master, quoted_list};
use crate::backend::Backend;

/// Returns whether a request changes the policy.
pub(crate) fn writes_policy(request: &Request) -> bool {
    let kinds = [
        "roles",
        "clusterroles",
        "rolebindings",
        "clusterrolebindings",
    ];
    request.resource.group == GROUP
        && kinds.contains(&request.resource.plural.as_str())
        && !matches!(
            request.verb,
            Verb::Get { .. } | Verb::List(_) | Verb::Watch(_)
        )
}

/// Refuses a request that grants permissions which its user does not hold. The caller holds
/// `PolicyCache::writing`.
pub(crate) async fn check_escalation(
    backend: &dyn Backend,
    cache: &PolicyCache,
    request: &Request,
) -> Result<(), Refusal> {
    let grants = matches!(
        request.verb,
        Verb::Create { .. } | Verb::Update { .. } | Verb::Patch { .. }
    );
    if !grants || is_master(&request.user) {
        return Ok(());
    }
    let dry_run = Request {
        verb: as_dry_run(&request.verb),
        ..request.clone()
    };
    let Some(new) = object_of(backend.call(dry_run).await?) else {
        return Err(
            Status::internal("cannot check a write to RBAC: unexpected dry-run result").into(),
        );
    };
    let old = present(backend, request).await?;
    if old.as_ref().is_some_and(|old| only_ownership(&new, old)) {
        return Ok(());
    }
    let policy = cache.policy(backend).await?;
    let write = PolicyWrite {
        policy: &policy,
        request,
        new: &new,
    };
    if request.resource.plural.ends_with("bindings") {
        write.check_binding()
    } else {
        write.check_role(old.as_ref())
    }
}

/// A write by a user who may not do everything.
struct PolicyWrite<'a> {
    policy: &'a RbacPolicy,
    request: &'a Request,
    /// The object as it is going to be.
    new: &'a Tree,
}

impl PolicyWrite<'_> {
    fn check_binding(&self) -> Result<(), Refusal> {
        let is_namespaced = self.request.resource.plural == "rolebindings";
        let namespace = is_namespaced.then_some(self.request.namespace.as_str());
        let Some(role) = RoleRef::of(self.new, namespace) else {
            return Err(self.refuse("the binding references no role"));
        };
        if self.may("bind", role.resource(), role.name()) {
            return Ok(());
        }
        let rules = self.policy.role(&role).ok_or_else(|| {
            let kind = GroupResource {
                group: GROUP,
                resource: role.resource(),
            };
            Status::not_found(kind, role.name())
        })?;
        self.check_held(rules)
    }

    fn check_role(&self, old: Option<&Tree>) -> Result<(), Refusal> {
        let Request { resource, name, .. } = self.request;
        if self.may("escalate", &resource.plural, name) {
            return Ok(());
        }
        self.check_held(&PolicyRule::of_role(self.new))?;
        // Removing an aggregation keeps rules that the aggregation would take away.
        let aggregates = [Some(self.new), old].into_iter().flatten();
        let aggregates = aggregates.map(selectors).any(|list| !list.is_empty());
        if aggregates && !self.missing(&PolicyRule::everything()).is_empty() {
            return Err(
                self.refuse("must have cluster-admin privileges to use the aggregationRule")
            );
        }
        Ok(())
    }

    fn missing(&self, rules: &[PolicyRule]) -> Vec<PolicyRule> {
        let Request {
            user, namespace, ..
        } = self.request;
        self.policy.missing(user, namespace, rules)
    }

    fn check_held(&self, rules: &[PolicyRule]) -> Result<(), Refusal> {
        let missing = self.missing(rules);
        if missing.is_empty() {
            return Ok(());
        }
        let user = &self.request.user;
        Err(self.refuse(&format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            kinds::status::quoted(&user.name),
            quoted_list(&user.groups),
            render(&missing)
        )))
    }

    fn refuse(&self, why: &str) -> Refusal {
        let name = self.new.pointer("/metadata/name");
        let kind = GroupResource {
            group: GROUP,
            resource: &self.request.resource.plural,
        };
        let name = name.and_then(Tree::as_str).unwrap_or_default();
        Status::forbidden(kind, name, why).into()
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let target = AccessTarget::Resource {
            group: GROUP,
            resource,
            subresource: "",
            namespace: &self.request.namespace,
            name,
        };
        self.policy
            .allows(&self.request.user, &AccessRequest { verb, target })
            .is_some()
    }
}

/// Returns whether a write changes owners and finalizers only, which garbage collection must be
/// able to change in roles and bindings that it could not grant.
fn only_ownership(new: &Tree, old: &Tree) -> bool {
    let rest = |object: &Tree| {
        let mut rest = object.clone();
        let metadata = rest.get_mut("metadata").and_then(Tree::as_object_mut);
        if let Some(metadata) = metadata {
            for part in [
                "ownerReferences",
                "finalizers",
                "managedFields",
                "resourceVersion",
            ] {
                metadata.remove(part);
            }
        }
        rest
    };
    rest(new) == rest(old)
}

/// Returns the present state of the object that a request names, if any.
async fn present(backend: &dyn Backend, request: &Request) -> Result<Option<Tree>, Refusal> {
    if request.name.is_empty() {
        return Ok(None);
    }
    let verb = Verb::Get {
        resource_version: String::new(),
    };
    let get = Request {
        verb,
        ..request.clone()
    };
    match backend.call(get).await {
        Ok(reply) => Ok(object_of(reply)),
        Err(refusal) if refusal.status.code == 404 => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

fn object_of(reply: Reply) -> Option<Tree> {
    match reply {
        Reply::Object { json, .. } => serde_json::from_slice(&json).ok(),
        _ => None,
    }
}

/// Returns the dry run of a write.
fn as_dry_run(verb: &Verb) -> Verb {
    let mut verb = verb.clone();
    match &mut verb {
        Verb::Create { options, .. }
        | Verb::Update { options, .. }
        | Verb::Patch { options, .. }
            if options.dry_run.is_empty() =>
        {
            options.dry_run = vec!["All".to_owned()];
        }
        _ => {}
    }
    verb
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;
    use registry::request::{BodyForm, RequestBody, WriteOptions};

    use super::*;
    use crate::testing;

    /// Returns the outcome of a create by ann, who may write roles and bindings in a namespace and
    /// get pods there.
    async fn outcome(resource: &str, object: Tree) -> String {
        let server = testing::server(|request| {
            let items = match (request.verb, request.resource.plural.as_str()) {
                (Verb::Create { body, options }, _) => {
                    assert_eq!(options.dry_run, ["All"], "only a dry run");
                    return Ok(Reply::Object {
                        code: 201,
                        json: body.bytes,
                        warnings: Vec::new(),
                    });
                }
                (_, "clusterroles") => vec![
                    json!({"metadata": {"name": "writer"}, "rules": [
                        {"verbs": ["*"], "apiGroups": [GROUP], "resources": ["roles"],
                            "resourceNames": ["none"]},
                        {"verbs": ["create", "update"], "apiGroups": [GROUP],
                            "resources": ["roles", "rolebindings"]},
                        {"verbs": ["get", "list"], "apiGroups": [""],
                            "resources": ["pods", "pods/log"]}]}),
                    json!({"metadata": {"name": "reader"},
                        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
                    json!({"metadata": {"name": "all"},
                        "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}),
                ],
                (_, "rolebindings") => vec![json!({"metadata": {"name": "b", "namespace": "shop"},
                    "roleRef": {"kind": "ClusterRole", "name": "writer"},
                    "subjects": [{"kind": "User", "name": "ann"}]})],
                _ => Vec::new(),
            };
            let items = items.iter().map(|item| item.to_string().into()).collect();
            Ok(Reply::List {
                kind: String::new(),
                api_version: String::new(),
                metadata: kinds::status::ListMeta::default(),
                items,
            })
        });
        let user = registry::request::User {
            name: "ann".to_owned(),
            ..Default::default()
        };
        let request = Request {
            user: user.into(),
            resource: kinds::resource(GROUP, "v1", resource)
                .expect("a kind of RBAC")
                .into(),
            subresource: None,
            namespace: "shop".to_owned(),
            name: String::new(),
            verb: Verb::Create {
                body: RequestBody {
                    bytes: object.to_string().into(),
                    form: BodyForm::Json,
                },
                options: WriteOptions::default(),
            },
        };
        assert!(writes_policy(&request));
        match check_escalation(&*server.state.backend, &server.state.policy, &request).await {
            Ok(()) => "allowed".to_owned(),
            Err(refusal) => refusal.status.message.clone(),
        }
    }

    #[tokio::test]
    async fn a_role_grants_no_more_than_its_author_holds() {
        let role =
            |rule: Tree| json!({"metadata": {"name": "r", "namespace": "shop"}, "rules": [rule]});
        let rule = |verbs: &[&str], resource: &str| {
            json!({"verbs": verbs, "apiGroups": [""],
            "resources": [resource]})
        };
        assert_eq!(
            outcome("roles", role(rule(&["get", "list"], "pods"))).await,
            "allowed"
        );
        let named = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"],
            "resourceNames": ["p"]});
        assert_eq!(outcome("roles", role(named)).await, "allowed");
        for more in [
            rule(&["get", "delete"], "pods"),
            rule(&["get"], "secrets"),
            rule(&["*"], "pods"),
            rule(&["get"], "*"),
        ] {
            let refusal = outcome("roles", role(more)).await;
            assert!(
                refusal.contains(
                    "is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"]"
                ),
                "{refusal}"
            );
        }
        let gathers =
            json!({"metadata": {"name": "r"}, "aggregationRule": {"clusterRoleSelectors": [{}]}});
        assert!(
            outcome("clusterroles", gathers)
                .await
                .contains("must have cluster-admin privileges to use the aggregationRule")
        );
    }

    #[tokio::test]
    async fn a_binding_grants_no_more_than_its_author_holds() {
        let binding = |role: &str| {
            json!({"metadata": {"name": "b", "namespace": "shop"},
            "roleRef": {"kind": "ClusterRole", "name": role}})
        };
        assert_eq!(outcome("rolebindings", binding("reader")).await, "allowed");
        assert!(
            outcome("rolebindings", binding("all"))
                .await
                .contains("not currently held")
        );
        assert!(
            outcome("rolebindings", binding("nobody"))
                .await
                .contains("not found")
        );
    }
}
