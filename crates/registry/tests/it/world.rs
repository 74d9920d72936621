//! A registry for one test, and short forms of requests.

use std::sync::Arc;

use bytes::Bytes;
use clock::{Clock, Entropy};
use futures::StreamExt;
use jiff::Timestamp;
use kinds::status::Status;
use registry::request::{
    BodyForm, DeleteOptions, DeleteRequest, ListOptions, PatchKind, Refusal, Reply, Request,
    RequestBody, User, Verb, WriteOptions,
};
use registry::{Options, Registry};
use serde_json::{Value, json};
use store::Store;

/// One registry with the namespace `shop` in it.
pub(crate) struct World {
    pub(crate) registry: Registry,
}

/// Code and body of an answer, or its refusal.
pub(crate) type Answer = Result<(u16, Value), Refusal>;

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::on(Store::open_memory(), options).await
    }

    pub(crate) async fn on(store: Store, options: Options) -> Self {
        let clock =
            Clock::starting_at(Timestamp::from_second(1_000_000_000).expect("a valid time"));
        let registry = Registry::new(store, clock, Entropy::seeded(1), options);
        registry
            .bootstrap()
            .await
            .expect("an empty store takes the first objects");
        let world = Self { registry };
        world
            .create("namespaces", "", json!({"metadata": {"name": "shop"}}))
            .await;
        world
            .create(
                "serviceaccounts",
                "shop",
                json!({"metadata": {"name": "default"}}),
            )
            .await;
        world
    }

    /// Makes a request; `path` is `namespace/name/subresource`, whose trailing parts may be left
    /// out.
    pub(crate) async fn call(
        &self,
        plural: &str,
        path: &str,
        verb: Verb,
    ) -> Result<Reply, Refusal> {
        let (group, version) = group_of(plural);
        self.call_of(group, version, plural, path, verb).await
    }

    async fn call_of(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        path: &str,
        verb: Verb,
    ) -> Result<Reply, Refusal> {
        let mut parts = path.split('/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (namespace, name, subresource) = (part(), part(), part());
        let user = User {
            name: "tester".to_owned(),
            ..User::default()
        };
        let resource = self
            .registry
            .resource(group, version, plural)
            .ok_or_else(Status::no_such_resource)?;
        let subresource = match subresource.as_str() {
            "" => None,
            name => Some(
                resource
                    .subresource(name)
                    .ok_or_else(Status::no_such_resource)?
                    .name,
            ),
        };
        let request = Request {
            user: Arc::new(user),
            resource,
            subresource,
            namespace,
            name,
            verb,
        };
        self.registry.call(request).await
    }

    pub(crate) async fn ask(&self, plural: &str, path: &str, verb: Verb) -> Answer {
        answered(self.call(plural, path, verb).await)
    }

    /// Makes a request for a kind of another group, in its version v1.
    pub(crate) async fn ask_of(&self, group: &str, plural: &str, path: &str, verb: Verb) -> Answer {
        answered(self.call_of(group, "v1", plural, path, verb).await)
    }

    pub(crate) async fn create(&self, plural: &str, path: &str, body: Value) -> Value {
        self.try_create(plural, path, body)
            .await
            .expect("it can be made")
            .1
    }

    pub(crate) async fn try_create(&self, plural: &str, path: &str, body: Value) -> Answer {
        self.ask(
            plural,
            path,
            Verb::Create {
                body: json_body(&body),
                options: WriteOptions::default(),
            },
        )
        .await
    }

    pub(crate) async fn update(&self, plural: &str, path: &str, body: Value) -> Answer {
        self.ask(
            plural,
            path,
            Verb::Update {
                body: json_body(&body),
                options: WriteOptions::default(),
            },
        )
        .await
    }

    pub(crate) async fn patch(&self, plural: &str, path: &str, patch: Value) -> Answer {
        let patch = Bytes::from(patch.to_string());
        self.ask(
            plural,
            path,
            Verb::Patch {
                kind: PatchKind::Merge,
                patch,
                options: WriteOptions::default(),
            },
        )
        .await
    }

    pub(crate) async fn get(&self, plural: &str, path: &str) -> Option<Value> {
        self.ask(
            plural,
            path,
            Verb::Get {
                resource_version: String::new(),
            },
        )
        .await
        .ok()
        .map(|(_, object)| object)
    }

    pub(crate) async fn delete(&self, plural: &str, path: &str, options: DeleteOptions) -> Answer {
        self.ask(
            plural,
            path,
            Verb::Delete(DeleteRequest {
                body: None,
                query: options,
            }),
        )
        .await
    }

    pub(crate) async fn list(&self, plural: &str, path: &str, options: ListOptions) -> Answer {
        self.ask(plural, path, Verb::List(options)).await
    }

    /// Returns the events of a watch that ends after `seconds`, as kind and object.
    pub(crate) async fn watch(
        &self,
        plural: &str,
        path: &str,
        options: ListOptions,
        seconds: u64,
    ) -> Vec<(String, Value)> {
        let options = ListOptions {
            timeout_seconds: Some(seconds),
            ..options
        };
        let Ok(Reply::Watch(events)) = self.call(plural, path, Verb::Watch(options)).await else {
            panic!("no watch")
        };
        events
            .map(|event| (event.kind.to_owned(), parse(&event.json)))
            .collect()
            .await
    }

    pub(crate) fn revision(&self) -> String {
        self.registry.store().revision().0.to_string()
    }

    /// Creates a pod of the application `a`; on a node unless it is `Pending`.
    pub(crate) async fn pod(&self, name: &str, phase: &str, ready: bool) -> Value {
        let mut spec = json!({"automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "img"}]});
        if phase != "Pending" {
            spec["nodeName"] = json!("n");
        }
        self.create(
            "pods",
            "shop",
            json!({"metadata": {"name": name, "labels": {"app": "a"}}, "spec": spec}),
        )
        .await;
        let ready = if ready { "True" } else { "False" };
        let status =
            json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        self.patch("pods", &format!("shop/{name}/status"), status)
            .await
            .expect("the status can be written")
            .1
    }

    /// Creates a budget over the application `a` with this status.
    pub(crate) async fn budget(&self, name: &str, spec: Value, status: Value) -> Value {
        let mut body = json!({"metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": "a"}}}});
        for (key, value) in spec.as_object().expect("members") {
            body["spec"][key] = value.clone();
        }
        self.create("poddisruptionbudgets", "shop", body).await;
        self.patch(
            "poddisruptionbudgets",
            &format!("shop/{name}/status"),
            json!({"status": status}),
        )
        .await
        .expect("written")
        .1
    }

    pub(crate) async fn evict(&self, name: &str, options: Value) -> Answer {
        let mut body = json!({"metadata": {"name": name}});
        if !options.is_null() {
            body["deleteOptions"] = options;
        }
        self.try_create("pods", &format!("shop/{name}/eviction"), body)
            .await
    }
}

/// Returns the code and the body of an answer.
fn answered(reply: Result<Reply, Refusal>) -> Answer {
    Ok(match reply? {
        Reply::Object { code, json, .. } => (code, parse(&json)),
        Reply::Status { code, status, .. } => {
            (code, serde_json::to_value(&status).expect("serializes"))
        }
        Reply::List {
            items,
            metadata,
            kind,
            ..
        } => {
            let items: Vec<Value> = items.iter().map(parse).collect();
            (
                200,
                json!({"kind": kind, "metadata": metadata, "items": items}),
            )
        }
        Reply::Watch(_) => panic!("a watch is not an answer"),
    })
}

fn group_of(plural: &str) -> (&'static str, &'static str) {
    match plural {
        "poddisruptionbudgets" => ("policy", "v1"),
        "deployments" | "replicasets" | "statefulsets" => ("apps", "v1"),
        "jobs" => ("batch", "v1"),
        "customresourcedefinitions" => ("apiextensions.k8s.io", "v1"),
        "leases" => ("coordination.k8s.io", "v1"),
        "priorityclasses" => ("scheduling.k8s.io", "v1"),
        "runtimeclasses" => ("node.k8s.io", "v1"),
        "certificatesigningrequests" => ("certificates.k8s.io", "v1"),
        "storageclasses" => ("storage.k8s.io", "v1"),
        _ => ("", "v1"),
    }
}

pub(crate) fn json_body(body: &Value) -> RequestBody {
    RequestBody {
        bytes: Bytes::from(body.to_string()),
        form: BodyForm::Json,
    }
}

fn parse(json: &Bytes) -> Value {
    serde_json::from_slice(json).expect("the registry answers JSON")
}

/// Returns the code and the message of a refusal.
pub(crate) fn refused(answer: Answer) -> (u16, String) {
    match answer {
        Ok((code, body)) => panic!("{code} {body}"),
        Err(refusal) => (refusal.status.code, refusal.status.message),
    }
}
