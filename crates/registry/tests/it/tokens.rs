//! Tokens of service accounts: the objects that they may be bound to.

use serde_json::{Value, json};

use crate::world::{World, refused};

/// Returns the claims as the token.
struct Issuer;

impl registry::token::TokenIssuer for Issuer {
    fn issue(&self, claims: &registry::token::Claims) -> String {
        format!(
            "{}/{} for {}",
            claims.namespace,
            claims.name,
            claims.audiences.join(",")
        )
    }

    fn audience(&self) -> String {
        "api".to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_bound_only_to_an_existing_object() {
    let options = registry::Options {
        tokens: Some(std::sync::Arc::new(Issuer)),
        ..registry::Options::default()
    };
    let world = World::with(options).await;
    let made = world
        .create("serviceaccounts", "shop/default/token", json!({}))
        .await;
    assert_eq!(
        (&made["spec"]["audiences"], &made["status"]["token"]),
        (&json!(["api"]), &json!("shop/default for api"))
    );
    world
        .create(
            "serviceaccounts",
            "shop",
            json!({"metadata": {"name": "other"}}),
        )
        .await;
    world.pod("p", "Pending", false).await;
    let check = async |account: &str, bound: Value, code: u16, text: &str| {
        let path = format!("shop/{account}/token");
        let answer = world
            .try_create(
                "serviceaccounts",
                &path,
                json!({"spec": {"boundObjectRef": bound}}),
            )
            .await;
        assert_eq!(refused(answer), (code, text.to_owned()));
    };
    let pod = |name: &str, uid: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "name": name,
        "uid": uid})
    };
    check(
        "default",
        json!({"kind": "Foo"}),
        400,
        "cannot bind token for serviceaccount \"default\" to type /, Kind=Foo",
    )
    .await;
    check("default", pod("none", ""), 404, "pods \"none\" not found").await;
    check(
        "other",
        pod("p", ""),
        400,
        "cannot bind token to pod \"p\" running with different service account name.",
    )
    .await;
    let text = "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (u) does not match the UID in record. The object might have been deleted and then recreated";
    check("default", pod("p", "u"), 409, text).await;
    world
        .try_create(
            "serviceaccounts",
            "shop/default/token",
            json!({"spec": {"boundObjectRef": pod("p", "")}}),
        )
        .await
        .expect("bound");
}
