//! Attempts to get rights by writing roles and bindings.

use serde_json::{Value, json};

use crate::{EVE, RBAC, World, on_rbac};

const ALL_KINDS: [&str; 4] = [
    "roles",
    "clusterroles",
    "rolebindings",
    "clusterrolebindings",
];

/// A cluster in which eve may write all roles and bindings, and get pods.
async fn world() -> World {
    let world = World::with(&[(EVE, &["dev", "ops"]), ("ann", &[])]).await;
    let write = on_rbac(&["create", "get", "update", "patch", "delete"], &ALL_KINDS);
    let pods = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]});
    world.grant(EVE, json!([write, pods])).await;
    world
}

fn bound(name: &str, role: Value) -> Value {
    json!({"metadata": {"name": name}, "roleRef": role,
        "subjects": [{"kind": "User", "name": EVE}]})
}

fn reader(name: &str) -> Value {
    json!({"metadata": {"name": name},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]})
}

fn master(name: &str) -> Value {
    json!({"metadata": {"name": name},
        "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]})
}

/// Whether eve may do what only a cluster administrator may.
async fn is_master(world: &World) -> bool {
    let (code, _) = world
        .ask(
            EVE,
            "GET /api/v1/namespaces/kube-system/secrets",
            Value::Null,
        )
        .await;
    code == 200
}

const REFUSED: &str = "is attempting to grant RBAC permissions not currently held";

#[tokio::test(start_paused = true)]
async fn a_cluster_role_binding_cannot_name_a_role() {
    let world = world().await;
    world
        .grant(
            "ann",
            json!([
                on_rbac(&["bind"], &["roles"]),
                on_rbac(&["create"], &["clusterrolebindings"])
            ]),
        )
        .await;
    let role = json!({"kind": "Role", "name": "cluster-admin"});
    let mut binding = bound("b", role);
    binding["subjects"][0]["name"] = "ann".into();
    let answer = world
        .ask(
            "ann",
            &format!("POST {RBAC}/clusterrolebindings"),
            binding.clone(),
        )
        .await;
    World::check(
        &answer,
        422,
        "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
    );
    assert_eq!(answer.1["details"]["causes"][0]["field"], "roleRef.kind");
    // Nor can an administrator.
    let answer = world
        .ask("", &format!("POST {RBAC}/clusterrolebindings"), binding)
        .await;
    assert_eq!(answer.0, 422);
}

#[tokio::test(start_paused = true)]
async fn subjects_and_roles_of_foreign_groups_are_refused() {
    let world = world().await;
    let own = json!({"kind": "ClusterRole", "name": "granted-eve"});
    let mut foreign_subject = bound("b", own.clone());
    foreign_subject["subjects"][0]["apiGroup"] = "example.com".into();
    let mut foreign_role = bound("b", own.clone());
    foreign_role["roleRef"]["apiGroup"] = "example.com".into();
    for (binding, field) in [
        (foreign_subject, "subjects[0].apiGroup"),
        (foreign_role, "roleRef.apiGroup"),
    ] {
        for path in ["clusterrolebindings", "namespaces/shop/rolebindings"] {
            let answer = world
                .ask(EVE, &format!("POST {RBAC}/{path}"), binding.clone())
                .await;
            World::check(&answer, 422, &format!("{field}: Unsupported value"));
        }
    }
    // In a role binding the namespace of a service account is that of the binding.
    let mut accounts = bound("a", own);
    accounts["subjects"] = json!([{"kind": "ServiceAccount", "name": "bot"}]);
    let path = format!("POST {RBAC}/namespaces/shop/rolebindings");
    assert_eq!(world.ask(EVE, &path, accounts.clone()).await.0, 201);
    let path = format!("POST {RBAC}/clusterrolebindings");
    let answer = world.ask(EVE, &path, accounts).await;
    World::check(&answer, 422, "subjects[0].namespace: Required value");
}

#[tokio::test(start_paused = true)]
async fn rights_that_one_does_not_hold_cannot_be_granted_by_any_verb() {
    let world = world().await;
    let cluster_admin = || bound("b", json!({"kind": "ClusterRole", "name": "cluster-admin"}));
    let clustered = |kind: &str| format!("{RBAC}/{kind}");
    let in_shop = |kind: &str| format!("{RBAC}/namespaces/shop/{kind}");
    for (path, object) in [
        (clustered("clusterroles"), master("r")),
        (in_shop("roles"), master("r")),
        (clustered("clusterrolebindings"), cluster_admin()),
        (in_shop("rolebindings"), cluster_admin()),
    ] {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let mut whole = object.clone();
        whole["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        whole["kind"] = match path.rsplit('/').next() {
            Some("roles") => "Role",
            Some("clusterroles") => "ClusterRole",
            Some("rolebindings") => "RoleBinding",
            _ => "ClusterRoleBinding",
        }
        .into();
        for (line, body) in [
            (format!("POST {path}"), &object),
            (format!("PUT {path}/{name}"), &object),
            (format!("APPLY {path}/{name}?fieldManager=eve"), &whole),
            (
                format!("APPLY {path}/{name}?fieldManager=eve&force=true"),
                &whole,
            ),
        ] {
            let answer = world.ask(EVE, &line, body.clone()).await;
            World::check(&answer, 403, REFUSED);
        }
    }
    assert!(!is_master(&world).await);
    // What is there already is not extended either.
    let roles = format!("{RBAC}/namespaces/shop/roles");
    let made = world.ask(EVE, &format!("POST {roles}"), reader("r")).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let more = json!({"rules": master("r")["rules"]});
    let answer = world.ask(EVE, &format!("PATCH {roles}/r"), more).await;
    World::check(&answer, 403, REFUSED);
    let patch = json!([{"op": "add", "path": "/rules/0/verbs/-", "value": "delete"}]);
    let answer = world.ask(EVE, &format!("JSONPATCH {roles}/r"), patch).await;
    World::check(
        &answer,
        403,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"eve\" (groups=[\"dev\" \
         \"ops\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}",
    );
    let answer = world.ask(EVE, &format!("PUT {roles}/r"), master("r")).await;
    World::check(&answer, 403, REFUSED);
}

#[tokio::test(start_paused = true)]
async fn a_binding_to_more_rights_gets_no_new_subjects() {
    let world = world().await;
    let all = json!({"kind": "ClusterRole", "name": "cluster-admin"});
    let mut binding = bound("b", all);
    binding["subjects"] = json!([]);
    let path = format!("{RBAC}/clusterrolebindings");
    world.made(&path, binding.clone()).await;
    binding["subjects"] = json!([{"kind": "User", "name": EVE}]);
    let answer = world
        .ask(EVE, &format!("PATCH {path}/b"), binding.clone())
        .await;
    World::check(&answer, 403, REFUSED);
    let answer = world.ask(EVE, &format!("PUT {path}/b"), binding).await;
    World::check(&answer, 403, REFUSED);
    // Finalizers and owners are for the garbage collector, who grants nothing by them.
    let patch = json!({"metadata": {"finalizers": ["example.com/kept"]}});
    let answer = world.ask(EVE, &format!("PATCH {path}/b"), patch).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let patch = json!({"metadata": {"finalizers": [], "labels": {"a": "b"}}});
    let answer = world.ask(EVE, &format!("PATCH {path}/b"), patch).await;
    World::check(&answer, 403, REFUSED);
    assert!(!is_master(&world).await);
}

#[tokio::test(start_paused = true)]
async fn the_role_of_a_binding_cannot_be_exchanged() {
    let world = world().await;
    let path = format!("{RBAC}/clusterrolebindings");
    let own = bound("b", json!({"kind": "ClusterRole", "name": "granted-eve"}));
    assert_eq!(world.ask(EVE, &format!("POST {path}"), own).await.0, 201);
    for who in [EVE, ""] {
        let patch = json!({"roleRef": {"name": "cluster-admin"}});
        let answer = world.ask(who, &format!("PATCH {path}/b"), patch).await;
        World::check(&answer, 422, "cannot change roleRef");
        assert_eq!(answer.1["details"]["causes"][0]["field"], "roleRef");
    }
    assert!(!is_master(&world).await);
}

#[tokio::test(start_paused = true)]
async fn aggregation_gives_nothing_that_its_author_does_not_hold() {
    let world = world().await;
    let path = format!("{RBAC}/clusterroles");
    let gathers = |rule: Value| json!({"metadata": {"name": "g"}, "aggregationRule": rule});
    let everything = gathers(json!({"clusterRoleSelectors": [{}]}));
    for line in [format!("POST {path}"), format!("PUT {path}/g")] {
        let answer = world.ask(EVE, &line, everything.clone()).await;
        World::check(
            &answer,
            403,
            "must have cluster-admin privileges to use the aggregationRule",
        );
    }
    // A label that a role with more rights must not get, since another role gathers it.
    world.made(&path, master("all")).await;
    let label = json!({"metadata": {"labels":
        {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}});
    let answer = world.ask(EVE, &format!("PATCH {path}/all"), label).await;
    World::check(&answer, 403, REFUSED);
    // An aggregation that would take rights away later must not be removed.
    let gathered = gathers(json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}));
    world.made(&path, gathered).await;
    let patch = json!({"aggregationRule": null});
    let answer = world.ask(EVE, &format!("PATCH {path}/g"), patch).await;
    World::check(
        &answer,
        403,
        "must have cluster-admin privileges to use the aggregationRule",
    );
    // The rights of a gathering role count when it is bound.
    let labelled = json!({"metadata": {"name": "l", "labels": {"a": "b"}},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]});
    world.made(&path, labelled).await;
    let binding = bound("b", json!({"kind": "ClusterRole", "name": "g"}));
    let answer = world
        .ask(EVE, &format!("POST {RBAC}/clusterrolebindings"), binding)
        .await;
    World::check(&answer, 403, "Resources:[\"secrets\"], Verbs:[\"get\"]");
}

#[tokio::test(start_paused = true)]
async fn empty_names_and_patterns_cover_no_more_than_they_say() {
    let world = World::with(&[(EVE, &[])]).await;
    let held = [
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"],
            "resourceNames": [""]}),
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}),
        json!({"verbs": ["get"], "nonResourceURLs": ["/debug/*"]}),
        on_rbac(&["create"], &["clusterroles"]),
    ];
    world.grant(EVE, json!(held)).await;
    let rule = |verbs: &[&str], resource: &str| {
        json!({"verbs": verbs, "apiGroups": [""],
            "resources": [resource]})
    };
    let path = |verbs: &[&str], path: &str| json!({"verbs": verbs, "nonResourceURLs": [path]});
    let named = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"],
        "resourceNames": ["", "a"]});
    for (index, (rule, code)) in [
        (held[0].clone(), 201),
        (rule(&["get"], "secrets"), 403),
        (named, 403),
        (rule(&["get"], "pods/log"), 201),
        (rule(&["get"], "pods"), 403),
        (rule(&["get"], "*/log"), 403),
        (rule(&["*"], "pods/log"), 403),
        (path(&["get"], "/debug/pprof"), 201),
        (path(&["get"], "/debug/*"), 201),
        (path(&["get"], "/*"), 403),
        (path(&["get"], "*"), 403),
        (path(&["post"], "/debug/pprof"), 403),
    ]
    .into_iter()
    .enumerate()
    {
        let role = json!({"metadata": {"name": format!("r{index}")}, "rules": [rule]});
        let line = format!("POST {RBAC}/clusterroles");
        let answer = world.ask(EVE, &line, role.clone()).await;
        assert_eq!(answer.0, code, "{role}: {}", answer.1);
    }
}

#[tokio::test(start_paused = true)]
async fn bind_and_escalate_count_for_the_role_and_the_namespace_that_they_name() {
    let world = World::with(&[(EVE, &["ops"])]).await;
    let may_bind = json!({"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"], "resourceNames": ["edit"]});
    let foreign = json!({"verbs": ["bind", "escalate"], "apiGroups": ["example.com"],
        "resources": ["*"]});
    let write = on_rbac(&["create", "update"], &ALL_KINDS);
    // The rights come from the group.
    world
        .made(
            &format!("{RBAC}/clusterroles"),
            json!({"metadata": {"name": "ops"}, "rules": [may_bind, foreign, write]}),
        )
        .await;
    world
        .made(
            &format!("{RBAC}/clusterrolebindings"),
            json!({"metadata": {"name": "ops"},
                "roleRef": {"kind": "ClusterRole", "name": "ops"},
                "subjects": [{"kind": "Group", "name": "ops"}]}),
        )
        .await;
    let role = |kind: &str, name: &str| bound("b", json!({"kind": kind, "name": name}));
    let in_shop = format!("POST {RBAC}/namespaces/shop/rolebindings");
    let answer = world.ask(EVE, &in_shop, role("ClusterRole", "edit")).await;
    assert_eq!(answer.0, 201, "{}", answer.1);
    let answer = world.ask(EVE, &in_shop, role("ClusterRole", "admin")).await;
    assert_ne!(answer.0, 201);
    // A role of the same name as the cluster role is another object.
    world
        .made(&format!("{RBAC}/namespaces/shop/roles"), master("edit"))
        .await;
    let mut other = role("Role", "edit");
    other["metadata"]["name"] = "c".into();
    let answer = world.ask(EVE, &in_shop, other).await;
    World::check(&answer, 403, REFUSED);
    // Escalate in one namespace says nothing of others.
    world
        .made(
            &format!("{RBAC}/namespaces/shop/roles"),
            json!({"metadata": {"name": "esc"}, "rules": [on_rbac(&["escalate"], &["roles"])]}),
        )
        .await;
    world
        .made(
            &format!("{RBAC}/namespaces/shop/rolebindings"),
            json!({"metadata": {"name": "esc"}, "roleRef": {"kind": "Role", "name": "esc"},
                "subjects": [{"kind": "User", "name": EVE}]}),
        )
        .await;
    for (path, code) in [
        ("namespaces/shop/roles", 201),
        ("namespaces/default/roles", 403),
        ("clusterroles", 403),
    ] {
        let line = format!("POST {RBAC}/{path}");
        let answer = world.ask(EVE, &line, master("more")).await;
        assert_eq!(answer.0, code, "{path}: {}", answer.1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_in_the_path_gives_no_rights_on_the_cluster() {
    let world = World::with(&[(EVE, &[])]).await;
    world
        .made(
            &format!("{RBAC}/namespaces/shop/rolebindings"),
            bound("b", json!({"kind": "ClusterRole", "name": "cluster-admin"})),
        )
        .await;
    for (line, code) in [
        ("GET /api/v1/namespaces/shop/secrets", 200),
        ("GET /api/v1/secrets", 403),
        ("GET /api/v1/nodes", 403),
        ("GET /api/v1/namespaces/shop/nodes", 404),
        (
            "GET /apis/rbac.authorization.k8s.io/v1/namespaces/shop/clusterroles",
            404,
        ),
        ("GET /api/v1/namespaces/shop/../../secrets", 403),
        ("GET /api/v1/namespaces/shop%2f..%2fdefault/secrets", 403),
        ("GET /metrics", 403),
    ] {
        let answer = world.ask(EVE, line, Value::Null).await;
        let found = if answer.1["items"].is_array() && code != 200 {
            200
        } else {
            answer.0
        };
        assert!(
            found == code || (code == 403 && found == 404),
            "{line}: {}",
            answer.1
        );
    }
}

#[tokio::test(start_paused = true)]
async fn impersonators_write_with_the_rights_of_whom_they_impersonate() {
    let world = world().await;
    let impersonate = json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"],
        "resourceNames": [EVE]});
    world
        .grant("ann", json!([impersonate, master("m")["rules"][0]]))
        .await;
    let binding = bound("b", json!({"kind": "ClusterRole", "name": "cluster-admin"}));
    let answer = world
        .send(
            "ann",
            &format!("POST {RBAC}/clusterrolebindings"),
            &[("impersonate-user", EVE)],
            binding,
        )
        .await;
    World::check(
        &answer,
        403,
        "user \"eve\" (groups=[\"system:authenticated\"])",
    );
}
