//! Attempts to get certificates without the right to approve or sign.

use serde_json::{Value, json};

use crate::{EVE, World};

const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request for the organization `dev`, and one for `system:masters`, each with its signature.
const REQUEST: &str = include_str!("request.pem");
const MASTERS_REQUEST: &str = include_str!("request-masters.pem");

fn csr(name: &str, signer: &str, pem: &str) -> Value {
    use base64::Engine as _;
    json!({"metadata": {"name": name}, "spec": {
        "request": base64::engine::general_purpose::STANDARD.encode(pem),
        "signerName": signer, "usages": ["client auth"],
        "username": "root", "uid": "0", "groups": ["system:masters"],
        "extra": {"scopes": ["all"]}}})
}

fn on_signers(verb: &str, names: &[&str]) -> Value {
    json!({"verbs": [verb], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
        "resourceNames": names})
}

/// A cluster in which eve may write all of certificate signing requests.
async fn world(rules: &[Value]) -> World {
    let world = World::with(&[(EVE, &["dev"])]).await;
    let mut all = vec![json!({"verbs": ["*"], "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests", "certificatesigningrequests/approval",
            "certificatesigningrequests/status"]})];
    all.extend_from_slice(rules);
    world.grant(EVE, json!(all)).await;
    world
}

fn approved() -> Value {
    json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "R"}]}})
}

#[tokio::test(start_paused = true)]
async fn approving_needs_the_right_on_the_signer() {
    let world = world(&[on_signers("approve", &["example.com/one", "example.org/*"])]).await;
    for (name, signer, code) in [
        ("a", "example.com/one", 200),
        ("b", "example.com/two", 403),
        ("c", "example.org/any", 200),
        ("d", "kubernetes.io/kube-apiserver-client", 403),
    ] {
        world.made(CSRS, csr(name, signer, REQUEST)).await;
        let path = format!("{CSRS}/{name}/approval");
        let answer = world.ask(EVE, &format!("PATCH {path}"), approved()).await;
        assert_eq!(answer.0, code, "{signer}: {}", answer.1);
        if code == 200 {
            continue;
        }
        let refusal = format!(
            "certificatesigningrequests.certificates.k8s.io \"{name}\" is forbidden: user not \
             permitted to approve requests with signerName \"{signer}\""
        );
        World::check(&answer, 403, &refusal);
        // Neither by other verbs, nor with a body that claims another signer.
        let (_, mut whole) = world
            .ask("", &format!("GET {CSRS}/{name}"), Value::Null)
            .await;
        whole["status"] = approved()["status"].clone();
        whole["spec"]["signerName"] = "example.com/one".into();
        let answer = world.ask(EVE, &format!("PUT {path}"), whole).await;
        World::check(&answer, 403, &refusal);
        let patch = json!([{"op": "add", "path": "/status",
            "value": approved()["status"]}]);
        let answer = world.ask(EVE, &format!("JSONPATCH {path}"), patch).await;
        World::check(&answer, 403, &refusal);
        let mut apply = approved();
        apply["apiVersion"] = "certificates.k8s.io/v1".into();
        apply["kind"] = "CertificateSigningRequest".into();
        let line = format!("APPLY {path}?fieldManager=eve&force=true");
        let answer = world.ask(EVE, &line, apply).await;
        World::check(&answer, 403, &refusal);
        // The other ways in write no conditions, or need the right to sign.
        let answer = world
            .ask(EVE, &format!("PATCH {CSRS}/{name}"), approved())
            .await;
        assert_eq!((answer.0, answer.1["status"].clone()), (200, json!({})));
        let line = format!("PATCH {CSRS}/{name}/status");
        let answer = world.ask(EVE, &line, approved()).await;
        World::check(
            &answer,
            422,
            "updates may not add a condition of type \"Approved\"",
        );
    }
}

#[tokio::test(start_paused = true)]
async fn signing_needs_the_right_on_the_signer() {
    let world = world(&[
        on_signers("sign", &["example.com/one"]),
        on_signers("approve", &["example.com/two"]),
    ])
    .await;
    let failed = json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}});
    for (name, signer, code) in [("a", "example.com/one", 200), ("b", "example.com/two", 403)] {
        world.made(CSRS, csr(name, signer, REQUEST)).await;
        let line = format!("PATCH {CSRS}/{name}/status");
        // What does not touch the status needs no right on the signer.
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        assert_eq!(world.ask(EVE, &line, label).await.0, 200);
        let answer = world.ask(EVE, &line, failed.clone()).await;
        assert_eq!(answer.0, code, "{signer}: {}", answer.1);
        if code == 403 {
            World::check(
                &answer,
                403,
                "user not permitted to sign requests with signerName \"example.com/two\"",
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_requester_is_who_authenticated() {
    let world = world(&[]).await;
    let line = format!("POST {CSRS}");
    let asked = csr("a", "example.com/one", REQUEST);
    let (code, made) = world.ask(EVE, &line, asked.clone()).await;
    assert_eq!(code, 201, "{made}");
    let spec = &made["spec"];
    assert_eq!(
        (&spec["username"], &spec["groups"]),
        (&json!(EVE), &json!(["dev", "system:authenticated"]))
    );
    assert_eq!((&spec["uid"], &spec["extra"]), (&Value::Null, &Value::Null));
    // Not later either.
    let patch = json!({"spec": {"username": "root", "signerName": "example.com/two"}});
    let (_, patched) = world.ask(EVE, &format!("PATCH {CSRS}/a"), patch).await;
    assert_eq!(patched["spec"], made["spec"]);
    let create = json!({"verbs": ["create"], "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests"]});
    world.grant("bob", json!([create])).await;
    let mut again = asked;
    again["metadata"]["name"] = "b".into();
    let headers = [
        ("impersonate-user", "bob"),
        ("impersonate-extra-scopes", "view"),
    ];
    let (_, made) = world.send("", &line, &headers, again).await;
    assert_eq!(made["spec"]["username"], "bob");
    assert_eq!(made["spec"]["extra"], json!({"scopes": ["view"]}));
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_for_a_certificate_of_the_masters() {
    let world = world(&[]).await;
    let line = format!("POST {CSRS}");
    let signer = "kubernetes.io/kube-apiserver-client";
    let answer = world
        .ask(EVE, &line, csr("a", signer, MASTERS_REQUEST))
        .await;
    World::check(
        &answer,
        403,
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: use of \
         kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
    );
    let answer = world.ask(EVE, &line, csr("a", signer, REQUEST)).await;
    assert_eq!(answer.0, 201, "{}", answer.1);
    let answer = world.ask(EVE, &line, csr("b", signer, "garbage")).await;
    World::check(&answer, 422, "PEM block type must be CERTIFICATE REQUEST");
    assert_eq!(answer.1["details"]["causes"][0]["field"], "spec.request");
}
