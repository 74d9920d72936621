//! Attempts to act as somebody else.

use serde_json::{Value, json};

use crate::{EVE, World};

const WHO_AM_I: &str = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";

fn may(resource: &str, group: &str, names: &[&str]) -> Value {
    json!({"verbs": ["impersonate"], "apiGroups": [group], "resources": [resource],
        "resourceNames": names})
}

const AUTHENTICATION: &str = "authentication.k8s.io";

#[tokio::test(start_paused = true)]
async fn each_part_of_an_identity_needs_its_own_right() {
    let world = World::with(&[(EVE, &[])]).await;
    world
        .grant(
            EVE,
            json!([
                may("users", "", &["bob", "system:serviceaccount:shop:a:b"]),
                may("groups", "", &["dev"]),
                may("uids", AUTHENTICATION, &["u1"]),
                may("userextras/scopes", AUTHENTICATION, &["view"]),
                may("userextras/example.com/key", AUTHENTICATION, &["v"]),
                may("serviceaccounts", "", &["bot"]),
            ]),
        )
        .await;
    let bob = ("impersonate-user", "bob");
    for (headers, refusal) in [
        (&[bob][..], ""),
        (&[bob, ("impersonate-group", "dev")], ""),
        (&[bob, ("impersonate-uid", "u1")], ""),
        (&[bob, ("impersonate-extra-scopes", "view")], ""),
        (&[bob, ("impersonate-extra-example.com%2fkey", "v")], ""),
        (
            &[("impersonate-user", "system:serviceaccount:shop:bot")],
            "",
        ),
        (
            &[("impersonate-user", "ann")],
            "users \"ann\" is forbidden: User \"eve\" cannot impersonate resource \"users\" in \
             API group \"\" at the cluster scope",
        ),
        (
            &[
                bob,
                ("impersonate-group", "dev"),
                ("impersonate-group", "system:masters"),
            ],
            "groups \"system:masters\" is forbidden",
        ),
        (
            &[bob, ("impersonate-uid", "u2")],
            "uids.authentication.k8s.io \"u2\" is forbidden: User \"eve\" cannot impersonate \
             resource \"uids\" in API group \"authentication.k8s.io\" at the cluster scope",
        ),
        (
            &[
                bob,
                ("impersonate-extra-scopes", "view"),
                ("impersonate-extra-scopes", "edit"),
            ],
            "userextras.authentication.k8s.io \"edit\" is forbidden: User \"eve\" cannot \
             impersonate resource \"userextras/scopes\" in API group \"authentication.k8s.io\" at \
             the cluster scope",
        ),
        (
            &[bob, ("impersonate-extra-other", "view")],
            "resource \"userextras/other\"",
        ),
        (
            &[("impersonate-user", "system:serviceaccount:shop:other")],
            "serviceaccounts \"other\" is forbidden: User \"eve\" cannot impersonate resource \
             \"serviceaccounts\" in API group \"\" in the namespace \"shop\"",
        ),
        (
            &[("impersonate-user", "system:serviceaccount:shop:a:b")],
            "",
        ),
    ] {
        let answer = world.send(EVE, WHO_AM_I, headers, json!({})).await;
        if refusal.is_empty() {
            assert_eq!(answer.0, 201, "{headers:?}: {}", answer.1);
            continue;
        }
        World::check(&answer, 403, refusal);
    }
}

#[tokio::test(start_paused = true)]
async fn an_impersonated_identity_is_shown_as_it_was_allowed() {
    let world = World::with(&[]).await;
    let headers = [
        ("impersonate-user", "bob"),
        ("impersonate-uid", "u1"),
        ("impersonate-group", "dev"),
        ("impersonate-extra-scopes", "view"),
        ("impersonate-extra-scopes", "edit"),
    ];
    let (code, review) = world.send("", WHO_AM_I, &headers, json!({})).await;
    assert_eq!(code, 201);
    assert_eq!(
        review["status"]["userInfo"],
        json!({"username": "bob", "uid": "u1", "groups": ["dev", "system:authenticated"],
            "extra": {"scopes": ["view", "edit"]}})
    );
}

#[tokio::test(start_paused = true)]
async fn parts_of_an_identity_without_a_user_are_refused() {
    let world = World::with(&[]).await;
    for header in [
        "impersonate-group",
        "impersonate-uid",
        "impersonate-extra-scopes",
    ] {
        let answer = world.send("", WHO_AM_I, &[(header, "x")], json!({})).await;
        World::check(&answer, 400, "without impersonating a user name");
        assert_eq!(answer.1["reason"], "BadRequest");
    }
}
