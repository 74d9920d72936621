//! Aggregated ClusterRoles: their rules are the union of the rules of all roles that they select.
//!
//! What users write into the rules is overwritten. A role that is aggregated may aggregate others;
//! the union of the lower one changes first, and its change wakes the upper one.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::ObjectKey;
use crate::queue::{Requeue, WorkQueue};
use crate::selector::Selector;

const WORKERS: usize = 5;
const MANAGER: &str = "clusterrole-aggregation-controller";

struct Controller {
    context: ControllerContext,
    roles: Arc<Cache<ClusterRole>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let (wake, roles) = (queue.clone(), Arc::clone(&informers.cluster_roles.cache));
    // Roles are few, and any change of one may concern any that aggregates.
    informers.cluster_roles.subscribe(move |_| {
        let roles = roles.all().into_iter();
        roles
            .filter(|role| role.aggregation_rule.is_some())
            .for_each(|role| wake.add(ObjectKey::of(&*role)));
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        roles: Arc::clone(&informers.cluster_roles.cache),
    });
    let synced = vec![informers.cluster_roles.cache.synced()];
    context.run(
        "clusterrole aggregation",
        queue,
        WORKERS,
        synced,
        controller,
    );
}

/// The rules that an aggregated role must have; none when they are right, or when the role
/// aggregates nothing.
///
/// # Errors
/// A selector is invalid.
fn plan(
    role: &ClusterRole,
    roles: &[Arc<ClusterRole>],
) -> Result<Option<Vec<PolicyRule>>, ReconcileError> {
    let Some(aggregation) = &role.aggregation_rule else {
        return Ok(None);
    };
    let mut sorted: Vec<&Arc<ClusterRole>> = roles.iter().collect();
    sorted.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    let mut union: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = Selector::compile(Some(selector)).map_err(ReconcileError::Plan)?;
        let selected = sorted.iter().filter(|other| {
            other.metadata.name != role.metadata.name
                && selector.matches(other.metadata.labels.as_ref())
        });
        for rule in selected.flat_map(|other| other.rules.iter().flatten()) {
            if !union.contains(rule) {
                union.push(rule.clone());
            }
        }
    }
    let present = role.rules.as_deref().unwrap_or_default();
    Ok((present != union.as_slice()).then_some(union))
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(role) = self.roles.get(key) else {
            return Ok(Requeue::OnChange);
        };
        if let Some(rules) = plan(&role, &self.roles.all())? {
            let apply = json!({"apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole", "metadata": {"name": key.name}, "rules": rules});
            let api = self.context.cluster::<ClusterRole>();
            let params = PatchParams::apply(MANAGER).force();
            ignore_not_found(api.patch(&key.name, &params, &Patch::Apply(&apply)).await)?;
        }
        Ok(Requeue::OnChange)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn role(name: &str, labels: Value, rules: Value, selectors: Value) -> Arc<ClusterRole> {
        let mut role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
        if !selectors.is_null() {
            role["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
        }
        Arc::new(serde_json::from_value(role).expect("a role"))
    }

    fn rule(resource: &str) -> Value {
        json!({"verbs": ["get"], "apiGroups": [""], "resources": [resource]})
    }

    #[test]
    fn the_rules_of_an_aggregated_role_are_the_union() {
        let to = |label: &str| json!({label: "true"});
        let of = |label: &str| json!([{"matchLabels": {label: "true"}}]);
        let roles = vec![
            role(
                "b",
                to("x"),
                json!([rule("pods"), rule("nodes")]),
                Value::Null,
            ),
            role("a", to("x"), json!([rule("pods")]), Value::Null),
            role("other", to("y"), json!([rule("secrets")]), Value::Null),
            // Matches its own selector, and has rules of its own.
            role("sum", to("x"), json!([rule("services")]), of("x")),
            role("done", json!({}), json!([rule("secrets")]), of("y")),
            role("empty", json!({}), json!([rule("pods")]), json!([])),
        ];
        let planned = |name: &str| {
            let mut found = roles.iter();
            let role = found.find(|role| role.metadata.name.as_deref() == Some(name));
            plan(role.expect("a role"), &roles).expect("selectors are valid")
        };
        let resources = |rules: Option<Vec<PolicyRule>>| {
            rules.map(|rules| {
                let names = rules.into_iter().flat_map(|rule| rule.resources);
                names.flatten().collect::<Vec<_>>()
            })
        };
        // `done` aggregates by another label; `sum` counts for nobody but those that select x.
        assert_eq!(
            resources(planned("sum")),
            Some(vec!["pods".to_owned(), "nodes".to_owned()])
        );
        assert_eq!(planned("a"), None, "it aggregates nothing");
        assert_eq!(planned("done"), None, "its rules are right");
        assert_eq!(resources(planned("empty")), Some(Vec::new()));
    }
}
