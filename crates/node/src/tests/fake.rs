//! A small API server in memory: objects by path, a watch of pods, merge patches, deletion, and
//! failures on demand. It supports only what the agent uses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};

type FakeResponse = Response<StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>>;

/// The API server. Clones share the objects.
#[derive(Clone, Default)]
pub(super) struct FakeApi(Arc<Mutex<FakeObjects>>);

#[derive(Default)]
struct FakeObjects {
    revision: u64,
    objects: BTreeMap<String, Value>,
    watchers: Vec<UnboundedSender<Bytes>>,
    /// The watch events that are held back; `None` while events are sent at once.
    held: Option<Vec<String>>,
    /// All requests in order, as `METHOD path` and body.
    requests: Vec<(String, Value)>,
    /// Requests that begin with this prefix fail this number of times with this code.
    faults: Vec<(String, u16, usize)>,
}

impl FakeApi {
    fn inner(&self) -> MutexGuard<'_, FakeObjects> {
        self.0.lock().unwrap()
    }

    pub(super) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, std::io::Error>(api.respond(request).await) }
        });
        kube::Client::new(service, "default")
    }

    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.inner().objects.get(path).cloned()
    }

    /// Returns the pod with this name in namespace `d`.
    pub(super) fn pod(&self, name: &str) -> Option<Value> {
        self.get(&pod_path(name))
    }

    pub(super) fn paths(&self, under: &str) -> Vec<String> {
        self.inner()
            .objects
            .keys()
            .filter(|path| path.starts_with(under))
            .cloned()
            .collect()
    }

    /// Returns the requests that begin with this prefix and forgets all requests.
    pub(super) fn requests(&self, begin: &str) -> Vec<(String, Value)> {
        let all = std::mem::take(&mut self.inner().requests);
        all.into_iter()
            .filter(|(request, _)| request.starts_with(begin))
            .collect()
    }

    pub(super) fn fail(&self, begin: &str, code: u16, times: usize) {
        self.inner().faults.push((begin.to_owned(), code, times));
    }

    pub(super) fn put(&self, path: &str, object: Value) {
        self.inner().put(path, object);
    }

    /// Changes an object in place.
    pub(super) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.inner();
        let mut object = inner.objects[path].clone();
        change(&mut object);
        inner.put(path, object);
    }

    pub(super) fn remove(&self, path: &str) {
        self.inner().remove(path);
    }

    /// Removes an object without a watch event, as if the watch were interrupted.
    pub(super) fn remove_silently(&self, path: &str) {
        let mut inner = self.inner();
        inner.revision += 1;
        inner.objects.remove(path);
    }

    /// Holds watch events back from now on.
    pub(super) fn hold_events(&self) {
        self.inner().held = Some(Vec::new());
    }

    /// Sends the events that were held back.
    pub(super) fn release_events(&self) {
        let mut inner = self.inner();
        let held = inner.held.take().unwrap_or_default();
        held.into_iter().for_each(|line| inner.send(line));
    }

    /// Ends all watches. With `expired`, the next watch fails, so that clients list again.
    pub(super) fn cut_watches(&self, expired: bool) {
        let mut inner = self.inner();
        if expired {
            inner.faults.push(("WATCH".to_owned(), 410, 1));
        }
        inner.watchers.clear();
    }

    async fn respond(&self, request: Request<Body>) -> FakeResponse {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let query = head.uri.query().unwrap_or_default();
        let watch = query.contains("watch=true");
        let method = if watch { "WATCH" } else { head.method.as_str() };
        let path = head.uri.path().to_owned();
        let mut inner = self.inner();
        let asked = format!("{method} {path}");
        inner.requests.push((asked.clone(), body.clone()));
        if let Some(fault) = inner
            .faults
            .iter_mut()
            .find(|(begin, _, times)| *times > 0 && asked.starts_with(begin.as_str()))
        {
            fault.2 -= 1;
            return if fault.1 == 410 {
                expired()
            } else {
                refuse(fault.1)
            };
        }
        if path.ends_with("/pods") && path.starts_with("/api/v1/pods") {
            return if watch {
                inner.watch()
            } else {
                json_response(200, &inner.list())
            };
        }
        match method {
            "GET" => inner
                .objects
                .get(&path)
                .map_or_else(|| refuse(404), |object| json_response(200, object)),
            "POST" => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if inner.objects.contains_key(&path) {
                    return refuse(409);
                }
                let object = inner.put(&path, body);
                json_response(201, &object)
            }
            "PATCH" => inner.patch(path.trim_end_matches("/status"), body),
            "DELETE" => inner.delete(&path, &body),
            _ => refuse(405),
        }
    }
}

impl FakeObjects {
    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.revision));
        }
        let known = self
            .objects
            .insert(path.to_owned(), object.clone())
            .is_some();
        self.emit(path, if known { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    fn remove(&mut self, path: &str) {
        self.revision += 1;
        let object = self.objects.remove(path).unwrap();
        self.emit(path, "DELETED", &object);
    }

    fn emit(&mut self, path: &str, kind: &str, object: &Value) {
        if path.contains("/pods/") {
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            match &mut self.held {
                Some(held) => held.push(line),
                None => self.send(line),
            }
        }
    }

    fn send(&mut self, line: String) {
        self.watchers
            .retain(|watcher| watcher.unbounded_send(Bytes::from(line.clone())).is_ok());
    }

    fn list(&self) -> Value {
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(path, _)| path.contains("/pods/"))
            .map(|(_, pod)| pod)
            .collect();
        json!({
            "kind": "PodList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": self.revision.to_string()},
            "items": items,
        })
    }

    fn watch(&mut self) -> FakeResponse {
        let (sender, receiver) = unbounded();
        self.watchers.push(sender);
        Response::new(StreamBody::new(
            receiver.map(|bytes| Ok(Frame::data(bytes))).boxed(),
        ))
    }

    fn patch(&mut self, path: &str, patch: Value) -> FakeResponse {
        let Some(mut object) = self.objects.get(path).cloned() else {
            return refuse(404);
        };
        let guard = &patch["metadata"]["uid"];
        if !guard.is_null() && *guard != object["metadata"]["uid"] {
            return refuse(409);
        }
        merge(&mut object, &patch);
        if object != self.objects[path] {
            object = self.put(path, object);
        }
        json_response(200, &object)
    }

    fn delete(&mut self, path: &str, options: &Value) -> FakeResponse {
        let Some(object) = self.objects.get(path).cloned() else {
            return refuse(404);
        };
        let guard = &options["preconditions"]["uid"];
        if !guard.is_null() && *guard != object["metadata"]["uid"] {
            return refuse(409);
        }
        self.remove(path);
        json_response(200, &object)
    }
}

/// Merges a patch of the agent as an API server does: conditions by type, everything else as a JSON
/// merge patch.
fn merge(object: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    for (name, value) in members.iter().filter(|(name, _)| !name.starts_with('$')) {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else if name == "conditions" {
            for condition in value.as_array().unwrap() {
                let conditions = object[name].as_array().cloned().unwrap_or_default();
                let place = conditions
                    .iter()
                    .position(|known| known["type"] == condition["type"])
                    .unwrap_or(conditions.len());
                object[name] = Value::Array(conditions);
                if object[name].get(place).is_none() {
                    object[name].as_array_mut().unwrap().push(json!({}));
                }
                merge(&mut object[name][place], condition);
            }
        } else if value.is_object() {
            if !object[name].is_object() || name == "state" {
                object[name] = json!({});
            }
            merge(&mut object[name], value);
        } else {
            object[name] = value.clone();
        }
    }
}

fn json_response(code: u16, body: &Value) -> FakeResponse {
    let body = Bytes::from(body.to_string());
    let body = StreamBody::new(futures::stream::once(async move { Ok(Frame::data(body)) }).boxed());
    Response::builder().status(code).body(body).unwrap()
}

fn refuse(code: u16) -> FakeResponse {
    json_response(
        code,
        &json!({
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": "simulated failure",
            "reason": "Simulated",
            "code": code,
        }),
    )
}

/// Returns the response to a watch from a revision that has been compacted.
fn expired() -> FakeResponse {
    json_response(
        200,
        &json!({"type": "ERROR", "object": {
            "kind": "Status",
            "status": "Failure",
            "message": "too old",
            "reason": "Expired",
            "code": 410,
        }}),
    )
}

pub(super) fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/d/pods/{name}")
}
