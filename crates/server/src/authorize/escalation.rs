//! Nobody gives away more than they have: who writes a role must hold its rules, and who binds a
//! role must hold the rules of that role, unless the verbs `escalate` or `bind` allow it.
//!
//! What a write would lead to is found out by rehearsing it, so that patches are judged like whole
//! objects. Writes to the four kinds take turns from here to their commit; otherwise two patches,
//! each harmless, could make together what neither may.

use kinds::Tree;
use kinds::status::{GroupResource, Status};
use registry::request::{Refusal, Reply, Request, Verb};

use super::cache::PolicyCache;
use super::rbac::{Policy, Rule};
use super::{AccessRequest, AccessTarget, GROUP, is_master};
use crate::backend::Backend;

/// Whether a request may give somebody rights.
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

/// Refuses a request that gives away rights which its user does not have. The caller holds the
/// turn of writers.
pub(crate) async fn check_escalation(
    backend: &dyn Backend,
    cache: &PolicyCache,
    request: &Request,
) -> Result<(), Refusal> {
    let rehearsal = Request {
        verb: rehearsed(&request.verb),
        ..request.clone()
    };
    let Reply::Object { json, .. } = backend.call(rehearsal).await? else {
        return Err(Status::internal("a write to RBAC cannot be judged").into());
    };
    let object: Tree = serde_json::from_slice(&json)
        .map_err(|_| Status::internal("a write to RBAC cannot be judged"))?;
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
        Rule::of_role(&object)
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

fn may(policy: &Policy, request: &Request, verb: &str, resource: &str, name: &str) -> bool {
    let about = AccessTarget::Resource {
        group: GROUP,
        resource,
        subresource: "",
        namespace: &request.namespace,
        name,
    };
    policy
        .allows(&request.user, &AccessRequest { verb, about })
        .is_some()
}

/// The same write, as one that stores nothing.
fn rehearsed(verb: &Verb) -> Verb {
    let mut verb = verb.clone();
    if let Verb::Create { options, .. } | Verb::Update { options, .. } | Verb::Patch { options, .. } =
        &mut verb
        && options.dry_run.is_empty()
    {
        options.dry_run = vec!["All".to_owned()];
    }
    verb
}

fn render(rule: &Rule) -> String {
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
    use registry::request::{Body, BodyForm, WriteOptions};

    use super::*;
    use crate::testing;

    /// What becomes of a write of ann, who may write roles and bindings in a namespace, and get
    /// pods there.
    async fn outcome(resource: &str, object: Tree) -> String {
        let server = testing::server(|request| {
            let items = match (request.verb, request.resource.plural.as_str()) {
                (Verb::Create { body, options }, _) => {
                    assert_eq!(options.dry_run, ["All"], "only a rehearsal");
                    return Ok(Reply::Object {
                        code: 201,
                        json: body.bytes,
                        warnings: Vec::new(),
                    });
                }
                (_, "clusterroles") => vec![
                    json!({"metadata": {"name": "writer"}, "rules": [
                        {"verbs": ["*"], "apiGroups": [GROUP], "resources": ["roles"], "resourceNames": ["none"]},
                        {"verbs": ["create", "update"], "apiGroups": [GROUP], "resources": ["roles", "rolebindings"]},
                        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]}),
                    json!({"metadata": {"name": "reader"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
                    json!({"metadata": {"name": "all"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}),
                ],
                (_, "rolebindings") => vec![json!({"metadata": {"name": "b", "namespace": "shop"},
                    "roleRef": {"kind": "ClusterRole", "name": "writer"}, "subjects": [{"kind": "User", "name": "ann"}]})],
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
                body: Body {
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
    async fn a_role_gives_no_more_than_its_writer_has() {
        let role =
            |rule: Tree| json!({"metadata": {"name": "r", "namespace": "shop"}, "rules": [rule]});
        let rule = |verbs: &[&str], resource: &str| json!({"verbs": verbs, "apiGroups": [""], "resources": [resource]});
        assert_eq!(
            outcome("roles", role(rule(&["get", "list"], "pods"))).await,
            "allowed"
        );
        let named = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"], "resourceNames": ["p"]});
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
    async fn a_binding_gives_no_more_than_its_writer_has() {
        let binding = |role: &str| json!({"metadata": {"name": "b", "namespace": "shop"}, "roleRef": {"kind": "ClusterRole", "name": role}});
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
