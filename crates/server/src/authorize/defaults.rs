//! The default roles and bindings of every cluster. They are created if they are missing; changes
//! to existing ones stay.

use futures::future::try_join_all;
use kinds::Tree;
use kinds::tree::json;
use registry::request::{BodyForm, PatchKind, Refusal, RequestBody, Verb, WriteOptions};

use super::cache;
use super::rbac::PolicyRule;
use crate::backend::Backend;

/// A rule: verbs, groups, and resources (paths if the groups are `["path"]`). Entries are separated
/// by spaces; `-` is the core group.
pub(super) type Row = (&'static str, &'static str, &'static str);

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";

const CORE_READ: &str = "bindings configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims \
     persistentvolumeclaims/status pods pods/log pods/status replicationcontrollers replicationcontrollers/scale \
     replicationcontrollers/status resourcequotas resourcequotas/status serviceaccounts services services/status";
const APPS_READ: &str = "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets \
     replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status";

const VIEW: &[Row] = &[
    (READ, "-", CORE_READ),
    (READ, "apps", APPS_READ),
    (
        READ,
        "autoscaling",
        "horizontalpodautoscalers horizontalpodautoscalers/status",
    ),
    (READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    (READ, "discovery.k8s.io", "endpointslices"),
    (
        READ,
        "networking.k8s.io",
        "ingresses ingresses/status networkpolicies",
    ),
    (
        READ,
        "policy",
        "poddisruptionbudgets poddisruptionbudgets/status",
    ),
];

const EDIT: &[Row] = &[
    (
        READ,
        "-",
        "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
    ),
    ("impersonate", "-", "serviceaccounts"),
    (
        WRITE,
        "-",
        "pods pods/attach pods/exec pods/portforward pods/proxy",
    ),
    ("create", "-", "pods/eviction"),
    (
        WRITE,
        "-",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
    ),
    ("create", "-", "serviceaccounts/token"),
    (
        WRITE,
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
    ),
    (WRITE, "autoscaling", "horizontalpodautoscalers"),
    (WRITE, "batch", "cronjobs jobs"),
    (WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    (WRITE, "policy", "poddisruptionbudgets"),
    (
        "create delete deletecollection get list patch update watch",
        "coordination.k8s.io",
        "leases",
    ),
];

const ADMIN: &[Row] = &[
    (
        "create",
        "authorization.k8s.io",
        "localsubjectaccessreviews",
    ),
    (
        "create delete deletecollection get list patch update watch",
        "rbac.authorization.k8s.io",
        "rolebindings roles",
    ),
];

/// What nodes may do with objects that belong to no node.
pub(super) const NODE_COMMON: &[Row] = &[
    ("create", "authentication.k8s.io", "tokenreviews"),
    (
        "create",
        "authorization.k8s.io",
        "localsubjectaccessreviews subjectaccessreviews",
    ),
    (READ, "-", "services"),
    ("create patch update", "-", "events"),
    ("get", "-", "endpoints"),
    (
        "create get list watch",
        "certificates.k8s.io",
        "certificatesigningrequests",
    ),
    (READ, "node.k8s.io", "runtimeclasses"),
    (READ, "storage.k8s.io", "csidrivers"),
];

/// What nodes need on objects that belong to one of them. Bound to a user, these rules would hold
/// for the objects of all nodes, so nobody is bound to them by default: `node.rs` decides.
const NODE_OWN: &[Row] = &[
    ("create get list watch", "-", "nodes"),
    ("patch update", "-", "nodes nodes/status"),
    (READ, "-", "pods"),
    ("create delete", "-", "pods"),
    ("patch update", "-", "pods/status"),
    ("create", "-", "pods/eviction serviceaccounts/token"),
    (READ, "-", "configmaps secrets"),
    (
        "get",
        "-",
        "persistentvolumeclaims persistentvolumes serviceaccounts",
    ),
    ("get patch update", "-", "persistentvolumeclaims/status"),
    (
        "create delete get patch update",
        "coordination.k8s.io",
        "leases",
    ),
    ("get", "storage.k8s.io", "volumeattachments"),
    (
        "create delete get patch update",
        "storage.k8s.io",
        "csinodes",
    ),
    ("get", "resource.k8s.io", "resourceclaims"),
    (
        "create delete deletecollection get list patch update watch",
        "resource.k8s.io",
        "resourceslices",
    ),
];

/// Cluster roles: name, the roles whose rules they include, and their own rules.
const ROLES: &[(&str, &[&[Row]])] = &[
    ("cluster-admin", &[&[("*", "*", "*"), ("*", "path", "*")]]),
    ("admin", &[VIEW, EDIT, ADMIN]),
    ("edit", &[VIEW, EDIT]),
    ("view", &[VIEW]),
    (
        "system:basic-user",
        &[&[
            (
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews selfsubjectrulesreviews",
            ),
            ("create", "authentication.k8s.io", "selfsubjectreviews"),
        ]],
    ),
    (
        "system:discovery",
        &[&[(
            "get",
            "path",
            "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
        )]],
    ),
    (
        "system:public-info-viewer",
        &[&[("get", "path", "/healthz /livez /readyz /version /version/")]],
    ),
    (
        "system:service-account-issuer-discovery",
        &[&[(
            "get",
            "path",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        )]],
    ),
    (
        "system:monitoring",
        &[&[(
            "get",
            "path",
            "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
        )]],
    ),
    (
        "system:auth-delegator",
        &[&[
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ]],
    ),
    ("system:node", &[NODE_COMMON, NODE_OWN]),
    (
        "system:node-proxier",
        &[&[
            (READ, "-", "endpoints services nodes"),
            (READ, "discovery.k8s.io", "endpointslices"),
            ("create patch update", "- events.k8s.io", "events"),
        ]],
    ),
    (
        "system:kube-scheduler",
        &[&[
            ("create patch update", "- events.k8s.io", "events"),
            (
                "create get list update watch",
                "coordination.k8s.io",
                "leases",
            ),
            (
                READ,
                "-",
                "nodes namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services",
            ),
            ("delete get list watch", "-", "pods"),
            ("create", "-", "bindings pods/binding"),
            ("patch update", "-", "pods/status"),
            (READ, "apps", "replicasets statefulsets"),
            (READ, "policy", "poddisruptionbudgets"),
            (
                READ,
                "storage.k8s.io",
                "csidrivers csinodes csistoragecapacities storageclasses volumeattachments",
            ),
        ]],
    ),
    ("system:kube-controller-manager", &[&[("*", "*", "*")]]),
    (
        "system:controller:disruption-controller",
        &[&[
            (READ, "apps", "deployments replicasets statefulsets"),
            (READ, "-", "replicationcontrollers"),
            (READ, "policy", "poddisruptionbudgets"),
            ("update", "policy", "poddisruptionbudgets/status"),
            ("patch update", "-", "pods/status"),
            ("get", "*", "*/scale"),
            ("create patch update", "- events.k8s.io", "events"),
        ]],
    ),
];

/// Cluster role bindings: name, role, kind and names of the subjects.
const BINDINGS: &[(&str, &str, &str, &[&str])] = &[
    (
        "cluster-admin",
        "cluster-admin",
        "Group",
        &["system:masters"],
    ),
    (
        "system:basic-user",
        "system:basic-user",
        "Group",
        &["system:authenticated"],
    ),
    (
        "system:discovery",
        "system:discovery",
        "Group",
        &["system:authenticated"],
    ),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        "Group",
        &["system:authenticated", "system:unauthenticated"],
    ),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        "Group",
        &["system:serviceaccounts"],
    ),
    (
        "system:monitoring",
        "system:monitoring",
        "Group",
        &["system:monitoring"],
    ),
    // Without subjects, as upstream: what a node may do depends on the node.
    ("system:node", "system:node", "Group", &[]),
    (
        "system:node-proxier",
        "system:node-proxier",
        "User",
        &["system:kube-proxy"],
    ),
    (
        "system:kube-scheduler",
        "system:kube-scheduler",
        "User",
        &["system:kube-scheduler"],
    ),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        "User",
        &["system:kube-controller-manager"],
    ),
];

/// Creates the default roles and bindings that are missing.
pub(crate) async fn ensure(backend: &dyn Backend) -> Result<(), Refusal> {
    let roles = cache::all(backend, "clusterroles").await?;
    let bindings = cache::all(backend, "clusterrolebindings").await?;
    let missing = |all: &[Tree], name: &str| {
        !all.iter().any(|object| {
            object
                .pointer("/metadata/name")
                .is_some_and(|own| own == name)
        })
    };
    let mut fresh = Vec::new();
    for (name, parts) in ROLES.iter().filter(|(name, _)| missing(&roles, name)) {
        fresh.push(("clusterroles", role(name, parts)));
    }
    for (name, role, kind, subjects) in BINDINGS
        .iter()
        .filter(|(name, ..)| missing(&bindings, name))
    {
        fresh.push(("clusterrolebindings", binding(name, role, kind, subjects)));
    }
    // Concurrently, so that a store on disk syncs them together.
    try_join_all(
        fresh
            .into_iter()
            .map(|(resource, object)| create(backend, resource, object)),
    )
    .await?;
    for binding in bindings.iter().filter(|binding| binds_all_nodes(binding)) {
        unbind_nodes(backend, binding).await?;
    }
    Ok(())
}

/// The group of all nodes.
const NODES: &str = "system:nodes";

/// Returns whether a binding is the one by which earlier versions gave every node the rights of
/// all nodes. Bindings that somebody has taken over stay.
fn binds_all_nodes(binding: &Tree) -> bool {
    let text = |pointer: &str| binding.pointer(pointer).and_then(Tree::as_str);
    let annotations = binding.pointer("/metadata/annotations");
    let is_ours = annotations.and_then(|all| all.get(AUTOUPDATE)?.as_str()) == Some("true");
    text("/metadata/name") == Some("system:node")
        && is_ours
        && subjects(binding).any(|subject| subject["name"] == NODES)
}

fn subjects(binding: &Tree) -> impl Iterator<Item = &Tree> {
    let list = binding.pointer("/subjects").and_then(Tree::as_array);
    list.into_iter().flat_map(|list| list.iter())
}

async fn unbind_nodes(backend: &dyn Backend, binding: &Tree) -> Result<(), Refusal> {
    let kept: Vec<Tree> = subjects(binding)
        .filter(|subject| subject["name"] != NODES)
        .cloned()
        .collect();
    let verb = Verb::Patch {
        kind: PatchKind::Merge,
        patch: json!({"subjects": kept}).to_string().into(),
        options: options(),
    };
    let request = cache::request("clusterrolebindings", "system:node", verb)
        .ok_or_else(kinds::status::Status::no_such_resource)?;
    backend.call(request).await?;
    tracing::warn!(
        binding = "system:node",
        group = NODES,
        "removed the group of all nodes from a default binding, each node now has its own rights"
    );
    Ok(())
}

fn options() -> WriteOptions {
    WriteOptions {
        field_manager: "exeunt".to_owned(),
        ..WriteOptions::default()
    }
}

async fn create(backend: &dyn Backend, resource: &str, object: Tree) -> Result<(), Refusal> {
    let body = RequestBody {
        bytes: object.to_string().into(),
        form: BodyForm::Json,
    };
    let options = options();
    let request = cache::request(resource, "", Verb::Create { body, options })
        .ok_or_else(kinds::status::Status::no_such_resource)?;
    match backend.call(request).await {
        // Another server on the same store was faster.
        Err(refusal) if refusal.status.reason == "AlreadyExists" => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Marks roles and bindings that the server keeps up to date.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

fn metadata(name: &str) -> Tree {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTOUPDATE: "true"},
    })
}

/// Returns rows as rules.
pub(super) fn rules(rows: &[Row]) -> Vec<PolicyRule> {
    PolicyRule::of_role(&role("", &[rows]))
}

fn role(name: &str, parts: &[&[Row]]) -> Tree {
    let words = |text: &str| {
        text.split_whitespace()
            .map(|word| {
                if word == "-" {
                    String::new()
                } else {
                    word.to_owned()
                }
            })
            .collect::<Vec<_>>()
    };
    let rule = |&(verbs, groups, resources): &Row| match groups {
        "path" => json!({"verbs": words(verbs), "nonResourceURLs": words(resources)}),
        _ => {
            json!({"verbs": words(verbs), "apiGroups": words(groups),
                "resources": words(resources)})
        }
    };
    let rules: Vec<Tree> = parts
        .iter()
        .flat_map(|part| part.iter().map(rule))
        .collect();
    let mut role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": metadata(name), "rules": rules});
    if matches!(name, "admin" | "edit" | "view") {
        // Operators add rules for their own kinds by labelling roles.
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{name}");
        role["aggregationRule"] =
            json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    }
    role
}

fn binding(name: &str, role: &str, kind: &str, subjects: &[&str]) -> Tree {
    let subject = |subject: &&str| {
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind,
        "name": subject})
    };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata(name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": subjects.iter().map(subject).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use registry::request::User;

    use super::*;
    use crate::authorize::rbac::RbacPolicy;
    use crate::authorize::{AccessRequest, AccessTarget};

    #[test]
    fn the_default_roles_allow_what_their_names_say() {
        let roles: Vec<Tree> = ROLES
            .iter()
            .map(|(name, parts)| role(name, parts))
            .collect();
        let bound = ["view", "edit", "admin"].map(|name| binding(name, name, "User", &[name]));
        let mut bindings: Vec<Tree> = BINDINGS
            .iter()
            .map(|(name, role, kind, subjects)| binding(name, role, kind, subjects))
            .collect();
        bindings.extend(bound);
        let policy = RbacPolicy::of(&[], &roles, &[], &bindings);
        for (who, verb, group, resource, subresource, expected) in [
            ("view", "list", "", "pods", "", true),
            ("view", "list", "policy", "poddisruptionbudgets", "", true),
            ("view", "get", "", "secrets", "", false),
            ("view", "create", "", "pods", "eviction", false),
            ("edit", "create", "", "pods", "eviction", true),
            (
                "edit",
                "create",
                "rbac.authorization.k8s.io",
                "roles",
                "",
                false,
            ),
            (
                "admin",
                "create",
                "rbac.authorization.k8s.io",
                "roles",
                "",
                true,
            ),
            ("admin", "delete", "", "nodes", "", false),
            (
                "system:kube-scheduler",
                "create",
                "",
                "pods",
                "binding",
                true,
            ),
        ] {
            let user = User {
                name: who.to_owned(),
                ..User::default()
            };
            let target = AccessTarget::Resource {
                group,
                resource,
                subresource,
                namespace: "shop",
                name: "",
            };
            assert_eq!(
                policy
                    .allows(&user, &AccessRequest { verb, target })
                    .is_some(),
                expected,
                "{who} {verb} {resource}/{subresource}"
            );
        }
        let known = User {
            groups: vec!["system:authenticated".to_owned()],
            ..User::default()
        };
        for (path, expected) in [
            ("/api/v1", true),
            ("/openapi/v3/apis/apps/v1", true),
            ("/metrics", false),
        ] {
            assert_eq!(
                policy
                    .allows(
                        &known,
                        &AccessRequest {
                            verb: "get",
                            target: AccessTarget::NonResource(path)
                        }
                    )
                    .is_some(),
                expected,
                "{path}"
            );
        }
    }
}
