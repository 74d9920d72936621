//! What becomes of objects on a whole cluster in virtual time: owners and dependents, claims and
//! volumes, services and their addresses, accounts and tokens; and answers that clients compare.

mod accounts;
mod finalizers;
mod garbage;
mod scheduling;
mod services;
mod volumes;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use testkit::TestCluster;

/// The longest wait, in virtual time.
const LIMIT: Duration = Duration::from_secs(120);

struct World {
    cluster: TestCluster,
}

impl World {
    /// A cluster with all controllers and this many simulated nodes, whose namespace `default` is
    /// ready for pods.
    async fn start(nodes: usize) -> Self {
        let world = Self {
            cluster: TestCluster::start(nodes).await.expect("the cluster starts"),
        };
        world
            .until("/api/v1/namespaces/default/serviceaccounts/default", |_| {
                true
            })
            .await;
        world
    }

    /// Sends `METHOD path`. PATCH is a merge patch.
    async fn ask(&self, line: &str, body: Value) -> (u16, Value) {
        let (method, path) = line.split_once(' ').expect("METHOD path");
        let form = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", form)
            .body(body)
            .expect("a valid request");
        let answer = (self.cluster.transport())(request).await;
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        (answer.code, body)
    }

    async fn made(&self, path: &str, body: Value) -> Value {
        let (code, made) = self.ask(&format!("POST {path}"), body).await;
        assert_eq!(code, 201, "{path}: {made}");
        made
    }

    async fn changed(&self, path: &str, patch: Value) -> Value {
        let (code, changed) = self.ask(&format!("PATCH {path}"), patch).await;
        assert_eq!(code, 200, "{path}: {changed}");
        changed
    }

    async fn deleted(&self, path: &str, options: Value) {
        let (code, answer) = self.ask(&format!("DELETE {path}"), options).await;
        assert!(matches!(code, 200 | 202), "{path}: {answer}");
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(&format!("GET {path}"), Value::Null).await.1
    }

    async fn exists(&self, path: &str) -> bool {
        self.ask(&format!("GET {path}"), Value::Null).await.0 == 200
    }

    /// Waits until the object at a path is as wanted, and returns it.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let last = std::cell::RefCell::new(Value::Null);
        let look = async || {
            let (code, object) = self.ask(&format!("GET {path}"), Value::Null).await;
            last.replace(object.clone());
            Ok((code == 200 && wanted(&object)).then_some(object))
        };
        let found = self.cluster.wait_for(LIMIT, look).await;
        found.unwrap_or_else(|_| panic!("{path} is {:#}", last.borrow()))
    }

    /// Waits until no object is at a path.
    async fn until_gone(&self, path: &str) {
        let last = std::cell::RefCell::new(Value::Null);
        let look = async || {
            let (code, object) = self.ask(&format!("GET {path}"), Value::Null).await;
            last.replace(object);
            Ok((code == 404).then_some(()))
        };
        let gone = self.cluster.wait_for(LIMIT, look).await;
        assert!(gone.is_ok(), "{path} is still there: {:#}", last.borrow());
    }

    /// Waits for an event with this reason about an object of this name, and returns its message.
    async fn until_event(&self, namespace: &str, name: &str, reason: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let is_it =
            |event: &Value| event["reason"] == reason && event["involvedObject"]["name"] == name;
        let events = self
            .until(&path, |list| {
                list["items"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(is_it))
            })
            .await;
        let items = events["items"].as_array().expect("items");
        let found = items
            .iter()
            .find(|event| is_it(event))
            .expect("it was found");
        found["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Lets everything that is under way come to its end.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}

/// A pod that stops at once.
fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "i"}]}})
}

fn owner(kind: &str, object: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}
