//! Prevents privilege escalation through RBAC objects. The author of a role must hold its rules,
//! and the author of a binding must hold the rules of the role, unless the verbs `escalate` or
//! `bind` allow the write.
//!
//! A dry run of the write yields the object to check, so that patches are checked like whole
//! objects. Writes to the four kinds are serialized from this check to their commit. Otherwise two
//! patches, each harmless, could together grant what neither author holds.

use kinds::Tree;
use kinds::status::{GroupResource, Status};
use registry::request::{Refusal, Reply, Request, Verb};

use super::cache::PolicyCache;
use super::rbac::{PolicyRule, RbacPolicy};
use super::{AccessRequest, AccessTarget, GROUP, is_master};
use crate::backend::Backend;

/// Returns whether a request can grant permissions.
pub(crate) fn may_escalate(request: &Request) -> bool {
    let kinds = [
        "roles",
        "clusterroles",
        "rolebindings",
        "clusterrolebindings",
    ];
    request.resource.group == GROUP
        && kinds.contains(&request.resource.plural.as_str())
        && matches!(
            request.verb,
            Verb::Create { .. } | Verb::Update { .. } | Verb::Patch { .. }
        )
        && !is_master(&request.user)
}

/// Refuses a request that grants permissions which its user does not hold. The caller holds
/// `PolicyCache::writing`.
pub(crate) async fn check_escalation(
    backend: &dyn Backend,
    cache: &PolicyCache,
    request: &Request,
) -> Result<(), Refusal> {
    let dry_run = Request {
        verb: as_dry_run(&request.verb),
        ..request.clone()
    };
    let Reply::Object { json, .. } = backend.call(dry_run).await? else {
        return Err(
            Status::internal("cannot check a write to RBAC: unexpected dry-run result").into(),
        );
    };
    let object: Tree = serde_json::from_slice(&json)
        .map_err(|_| Status::internal("cannot check a write to RBAC: unexpected dry-run result"))?;
    let policy = cache.policy(backend).await?;
    let user = &request.user;
    let given = if request.resource.plural.ends_with("bindings") {
        let (resource, name, rules) = policy.role_of_binding(&object);
        if may(&policy, request, "bind", resource, name) {
            return Ok(());
        }
        let kind = GroupResource {
            group: GROUP,
            resource,
        };
        rules.ok_or_else(|| Status::not_found(kind, name))?
    } else {
        if may(
            &policy,
            request,
            "escalate",
            &request.resource.plural,
            &request.name,
        ) {
            return Ok(());
        }
        PolicyRule::of_role(&object)
    };
    let missing: Vec<String> = policy
        .not_covered(user, &request.namespace, &given)
        .map(render)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let groups = user
        .groups
        .iter()
        .map(|group| kinds::status::quoted(group))
        .collect::<Vec<_>>()
        .join(" ");
    let why = format!(
        "user {} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{}",
        kinds::status::quoted(&user.name),
        missing.join("\n")
    );
    let name = object
        .pointer("/metadata/name")
        .and_then(Tree::as_str)
        .unwrap_or_default();
    Err(Status::forbidden(
        GroupResource {
            group: GROUP,
            resource: &request.resource.plural,
        },
        name,
        why,
    )
    .into())
}

fn may(policy: &RbacPolicy, request: &Request, verb: &str, resource: &str, name: &str) -> bool {
    let target = AccessTarget::Resource {
        group: GROUP,
        resource,
        subresource: "",
        namespace: &request.namespace,
        name,
    };
    policy
        .allows(&request.user, &AccessRequest { verb, target })
        .is_some()
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

fn render(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.names),
        ("NonResourceURLs", &rule.paths),
        ("Verbs", &rule.verbs),
    ];
    let shown = parts
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| {
            let values: Vec<String> = values
                .iter()
                .map(|value| kinds::status::quoted(value))
                .collect();
            format!("{name}:[{}]", values.join(" "))
        });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
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
        assert!(may_escalate(&request));
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
                .contains("NonResourceURLs:[\"*\"]")
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
