//! The rights of users, tried through the whole server: authentication, impersonation,
//! authorization, admission and registry. Each test is an attack with what must become of it.

mod certificates;
mod escalation;
mod impersonation;
mod nodes;

use bytes::Bytes;
use registry::request::User;
use serde_json::{Value, json};
use testkit::TestCluster;

/// A cluster without controllers, and users who authenticate by a token that equals their name.
struct World {
    cluster: TestCluster,
}

/// Code and body of an answer.
type Answer = (u16, Value);

impl World {
    /// Starts a cluster with these users: names and groups.
    async fn with(users: &[(&str, &[&str])]) -> Self {
        let mut builder = TestCluster::builder().without_controllers();
        for (name, groups) in users {
            let user = User {
                name: (*name).to_owned(),
                groups: groups.iter().map(|&group| group.to_owned()).collect(),
                ..User::default()
            };
            builder = builder.token(name, user);
        }
        let cluster = builder.start().await.expect("the cluster starts");
        let world = Self { cluster };
        world
            .made("/api/v1/namespaces", json!({"metadata": {"name": "shop"}}))
            .await;
        world
    }

    /// Sends a request as a user: `METHOD path`. `APPLY` and `JSONPATCH` are forms of PATCH.
    async fn ask(&self, who: &str, line: &str, body: Value) -> Answer {
        self.send(who, line, &[], body).await
    }

    async fn send(&self, who: &str, line: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let (method, path) = line.split_once(' ').expect("METHOD path");
        let (method, form) = match method {
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "JSONPATCH" => ("PATCH", "application/json-patch+json"),
            "PATCH" => ("PATCH", "application/merge-patch+json"),
            other => (other, "application/json"),
        };
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", form);
        if !who.is_empty() {
            request = request.header("authorization", format!("Bearer {who}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let request = request.body(body).expect("a valid request");
        let answer = (self.cluster.transport())(request).await;
        let body = serde_json::from_slice(&answer.body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&answer.body).into_owned()));
        (answer.code, body)
    }

    /// Creates an object as the administrator.
    async fn made(&self, path: &str, body: Value) -> Value {
        let (code, made) = self.ask("", &format!("POST {path}"), body).await;
        assert_eq!(code, 201, "{path}: {made}");
        made
    }

    /// Lets a user do what these rules allow, everywhere.
    async fn grant(&self, who: &str, rules: Value) {
        let name = format!("granted-{}", who.replace(':', "-"));
        self.made(
            &format!("{RBAC}/clusterroles"),
            json!({"metadata": {"name": name}, "rules": rules}),
        )
        .await;
        self.made(
            &format!("{RBAC}/clusterrolebindings"),
            json!({"metadata": {"name": name},
                "roleRef": {"kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "User", "name": who}]}),
        )
        .await;
    }

    /// Expects a code, and a part of the message.
    #[track_caller]
    fn check(answer: &Answer, code: u16, message: &str) {
        let found = answer.1["message"].as_str().unwrap_or_default();
        assert_eq!(answer.0, code, "{}", answer.1);
        assert!(found.contains(message), "{found}");
    }
}

/// The path of the API group of roles and bindings.
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// The user who attacks.
const EVE: &str = "eve";

/// A rule that allows verbs on resources of the group of roles and bindings.
fn on_rbac(verbs: &[&str], resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": ["rbac.authorization.k8s.io"], "resources": resources})
}
