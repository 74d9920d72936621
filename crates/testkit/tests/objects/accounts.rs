//! Tokens of service accounts, and roles that are the union of others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::World;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

fn secret(name: &str, account: &str) -> Value {
    json!({"metadata": {"name": name,
            "annotations": {"kubernetes.io/service-account.name": account}},
        "type": "kubernetes.io/service-account-token"})
}

fn decoded(secret: &Value, key: &str) -> String {
    let text = secret["data"][key].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(text).expect("base64");
    String::from_utf8(bytes).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_token_secret_is_filled_and_removed_with_its_account() {
    let world = World::start(0).await;
    let account = world
        .made(ACCOUNTS, json!({"metadata": {"name": "robot"}}))
        .await;
    world.made(SECRETS, secret("robot-token", "robot")).await;
    let path = format!("{SECRETS}/robot-token");
    let filled = world
        .until(&path, |secret| !secret["data"]["token"].is_null())
        .await;
    assert_eq!(decoded(&filled, "namespace"), "default");
    assert!(decoded(&filled, "ca.crt").contains("BEGIN CERTIFICATE"));
    let annotations = &filled["metadata"]["annotations"];
    let uid = &account["metadata"]["uid"];
    assert_eq!(&annotations["kubernetes.io/service-account.uid"], uid);

    // The token identifies the account, until the secret is gone.
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": decoded(&filled, "token")}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = world.made(reviews, review.clone()).await;
    assert_eq!(answer["status"]["authenticated"], true, "{answer}");
    let name = "system:serviceaccount:default:robot";
    assert_eq!(answer["status"]["user"]["username"], name);

    // What a user takes away comes back.
    world
        .changed(&path, json!({"data": {"ca.crt": null}}))
        .await;
    world
        .until(&path, |secret| !secret["data"]["ca.crt"].is_null())
        .await;

    world
        .deleted(&format!("{ACCOUNTS}/robot"), Value::Null)
        .await;
    world.until_gone(&path).await;
    let answer = world.made(reviews, review).await;
    assert_ne!(answer["status"]["authenticated"], true, "{answer}");
    // A secret of an account that does not exist has no reason to be.
    world.made(SECRETS, secret("nobody", "nobody")).await;
    world.until_gone(&format!("{SECRETS}/nobody")).await;
}

#[tokio::test(start_paused = true)]
async fn the_rules_of_an_aggregated_role_are_the_union_of_others() {
    let world = World::start(0).await;
    let rule =
        |resource: &str| json!({"verbs": ["get"], "apiGroups": [""], "resources": [resource]});
    let role = |name: &str, label: &str, rules: Value| {
        let metadata = json!({"name": name, "labels": {label: "true"}});
        json!({"metadata": metadata, "rules": rules})
    };
    let sum = |name: &str, label: &str, of: &str| {
        json!({"metadata": {"name": name, "labels": {label: "true"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {of: "true"}}]},
            "rules": [rule("secrets")]})
    };
    world
        .made(ROLES, role("one", "to-lower", json!([rule("pods")])))
        .await;
    world.made(ROLES, sum("upper", "none", "to-upper")).await;
    world
        .made(ROLES, sum("lower", "to-upper", "to-lower"))
        .await;
    let are = |resources: &'static [&'static str]| {
        move |role: &Value| {
            let rules = role["rules"].as_array().into_iter().flatten();
            rules
                .map(|rule| rule["resources"][0].as_str())
                .eq(resources.iter().copied().map(Some))
        }
    };
    for name in ["lower", "upper"] {
        world
            .until(&format!("{ROLES}/{name}"), are(&["pods"]))
            .await;
    }
    world
        .made(
            ROLES,
            role("two", "to-lower", json!([rule("nodes"), rule("pods")])),
        )
        .await;
    for name in ["lower", "upper"] {
        world
            .until(&format!("{ROLES}/{name}"), are(&["pods", "nodes"]))
            .await;
    }
    world.deleted(&format!("{ROLES}/one"), Value::Null).await;
    for name in ["lower", "upper"] {
        world
            .until(&format!("{ROLES}/{name}"), are(&["nodes", "pods"]))
            .await;
    }
    // What a user writes into the rules is overwritten.
    let patch = json!({"rules": [rule("secrets")]});
    world.changed(&format!("{ROLES}/upper"), patch).await;
    world
        .until(&format!("{ROLES}/upper"), are(&["nodes", "pods"]))
        .await;
}
