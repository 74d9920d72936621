//! Measures the cost of reads, writes and watches inside the server: a real registry behind the
//! tower service, without sockets, TLS and clients.
//!
//! `cargo bench -p exeunt-server` prints one table. Absolute times depend on the machine and its
//! load. Compare lines of the same run, as the last column does.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, may fail, and measures real time"
)]

// Paths as the other crates name them.
extern crate exeunt_server as server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::{CallerService, Cluster, ClusterConfig, Storage, User};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use server::Body;
use tokio::task::JoinSet;

const PODS: usize = 10_000;
const WATCHERS: usize = 1_000;
const CHANGES: usize = 100;
const WRITES: usize = 2_000;
const CLIENTS: usize = 32;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const METADATA: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const BASE: &str = "/api/v1/namespaces/default/pods";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        println!("{PODS} pods; times are wall time in this process, two worker threads\n");
        let cluster = api(Storage::Memory).await;
        let memory = BenchServer::open(&cluster).await;
        memory.create_all("memory").await;
        memory.reads().await;
        memory.writes("memory").await;
        memory.fan_out().await;
        cluster.stop().await.unwrap();
        let dir = tempfile::tempdir_in(
            std::env::var_os("EXEUNT_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into),
        )
        .unwrap();
        let cluster = api(Storage::Disk(dir.path().to_owned())).await;
        let disk = BenchServer::open(&cluster).await;
        disk.create_all("disk").await;
        disk.writes("disk").await;
        cluster.stop().await.unwrap();
    });
}

/// Starts store and API server without controllers and nodes.
async fn api(storage: Storage) -> Cluster {
    let config = ClusterConfig {
        storage,
        controllers: None,
        ..ClusterConfig::default()
    };
    Cluster::start(config).await.unwrap()
}

/// Prints a line of the table. `compared` is a time of the same run and its name.
fn line(what: &str, each: Duration, compared: Option<(Duration, &str)>) {
    let micros = each.as_secs_f64() * 1e6;
    let ratio = compared.map_or_else(String::new, |(other, name)| {
        format!("{:>8.2} x {name}", each.as_secs_f64() / other.as_secs_f64())
    });
    println!("{what:<52}{micros:>14.1} us{ratio}");
}

#[derive(Clone)]
struct BenchServer {
    service: CallerService,
}

impl BenchServer {
    async fn open(cluster: &Cluster) -> Self {
        let user = User {
            name: "bench".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..User::default()
        };
        let world = Self {
            service: cluster.service_as(user),
        };
        world
            .send(
                "POST",
                "/api/v1/namespaces/default/serviceaccounts",
                JSON,
                JSON,
                r#"{"metadata":{"name":"default"}}"#.to_owned(),
            )
            .await;
        world
    }

    async fn open_answer(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        kind: &str,
        body: String,
    ) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", accept)
            .header("content-type", kind);
        self.service
            .answer(request.body(Full::from(body)).unwrap())
            .await
            .unwrap()
    }

    /// Sends a request, reads the whole response, and returns the number of its bytes.
    async fn send(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        kind: &str,
        body: String,
    ) -> usize {
        let response = self.open_answer(method, path, accept, kind, body).await;
        assert!(
            response.status().is_success(),
            "{method} {path}: {}",
            response.status()
        );
        let mut body = std::pin::pin!(response.into_body());
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().data_ref().map_or(0, |data| data.len());
        }
        bytes
    }

    async fn get(&self, path: &str, accept: &str) -> (Duration, usize) {
        let start = Instant::now();
        let bytes = self.send("GET", path, accept, JSON, String::new()).await;
        (start.elapsed(), bytes)
    }

    /// Returns the time per request of `count` requests by `clients` concurrent clients.
    async fn each(
        &self,
        count: usize,
        clients: usize,
        request: impl Fn(usize) -> BenchRequest + Send + Sync + 'static,
    ) -> Duration {
        let (next, request) = (Arc::new(AtomicU64::new(0)), Arc::new(request));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (world, next, request) = (self.clone(), next.clone(), request.clone());
            tasks.spawn(async move {
                loop {
                    let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    if number >= count {
                        return;
                    }
                    let BenchRequest {
                        method,
                        path,
                        accept,
                        kind,
                        body,
                    } = request(number);
                    world.send(method, &path, accept, kind, body).await;
                }
            });
        }
        tasks.join_all().await;
        start.elapsed() / u32::try_from(count).unwrap()
    }

    async fn create_all(&self, store: &str) {
        let made = self
            .each(PODS, CLIENTS, |number| {
                BenchRequest::write("POST", BASE.to_owned(), JSON, pod(number))
            })
            .await;
        line(
            &format!("create, {store} store, {CLIENTS} clients"),
            made,
            None,
        );
    }

    async fn reads(&self) {
        const GETS: usize = 20_000;
        let get = |accept: &'static str| {
            move |number: usize| {
                BenchRequest::read(format!("{BASE}/pod-{:05}", number % 100), accept)
            }
        };
        let json = self.each(GETS, 1, get(JSON)).await;
        line("get, JSON", json, None);
        let protobuf = self.each(GETS, 1, get(PROTOBUF)).await;
        line("get, protobuf", protobuf, Some((json, "JSON")));
        let mut joined = None;
        for (name, accept) in [
            ("JSON", JSON),
            ("protobuf", PROTOBUF),
            ("protobuf, bare metadata", METADATA),
            ("table", TABLE),
        ] {
            let (first, bytes) = self.get(BASE, accept).await;
            let mut again = Vec::new();
            for _ in 0..9 {
                again.push(self.get(BASE, accept).await.0);
            }
            again.sort();
            line(
                &format!("list, {name}, first ({} KiB)", bytes / 1024),
                first,
                None,
            );
            line(
                &format!("list, {name}, again (median of 9)"),
                again[4],
                Some((first, "first")),
            );
            if let Some(json) = joined {
                line(
                    &format!("list, {name}, again, beside JSON"),
                    again[4],
                    Some((json, "JSON again")),
                );
            } else {
                joined = Some(again[4]);
            }
        }
    }

    async fn writes(&self, store: &str) {
        let path = |number: usize| format!("{BASE}/pod-{:05}", number * 5 % PODS);
        for clients in [1, CLIENTS] {
            let patch = |kind: &'static str, body: fn(usize) -> String| {
                move |number| BenchRequest::write("PATCH", path(number), kind, body(number))
            };
            let merge = patch("application/merge-patch+json", |number| {
                labels(number, label_offset(1))
            });
            let merge = self.each(WRITES, clients, merge).await;
            line(
                &format!("merge patch, {store}, clients: {clients}"),
                merge,
                None,
            );
            let strategic = patch("application/strategic-merge-patch+json", |number| {
                labels(number, label_offset(2))
            });
            let strategic = self.each(WRITES, clients, strategic).await;
            line(
                &format!("strategic merge patch, {store}, clients: {clients}"),
                strategic,
                Some((merge, "merge")),
            );
            let json = patch("application/json-patch+json", |number| {
                format!(
                    r#"[{{"op":"add","path":"/metadata/labels/j","value":"{}"}}]"#,
                    number + label_offset(3)
                )
            });
            let json = self.each(WRITES, clients, json).await;
            line(
                &format!("JSON patch, {store}, clients: {clients}"),
                json,
                Some((merge, "merge")),
            );
            let apply = move |number: usize| {
                let body = format!(
                    r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"pod-{:05}","labels":{{"applied":"{}"}}}}}}"#,
                    number * 5 % PODS,
                    number + clients
                );
                BenchRequest::write(
                    "PATCH",
                    format!("{}?fieldManager=bench", path(number)),
                    "application/apply-patch+yaml",
                    body,
                )
            };
            let apply = self.each(WRITES, clients, apply).await;
            line(
                &format!("apply, {store}, clients: {clients}"),
                apply,
                Some((merge, "merge")),
            );
        }
    }

    /// Measures changes of pods until every watcher has received all changes.
    async fn fan_out(&self) {
        for (name, accept) in [("JSON", JSON), ("protobuf", PROTOBUF)] {
            let mut alone = Duration::ZERO;
            for watchers in [1, WATCHERS] {
                let before = self.frames().await;
                let each = self.watched(watchers, accept).await;
                let made = self.frames().await - before;
                let what = format!("change seen by {watchers} watchers, {name}");
                line(
                    &what,
                    each,
                    (watchers > 1).then_some((alone, "one watcher")),
                );
                println!(
                    "{:<52}{:>14.2}",
                    "  frames made for each change",
                    made as f64 / CHANGES as f64
                );
                if watchers > 1 {
                    line(
                        "  for each watcher beyond the first",
                        (each.saturating_sub(alone)) / u32::try_from(watchers - 1).unwrap(),
                        None,
                    );
                }
                alone = each;
            }
        }
    }

    async fn watched(&self, watchers: usize, accept: &'static str) -> Duration {
        let mut tasks = JoinSet::new();
        let ready = Arc::new(tokio::sync::Semaphore::new(0));
        let revision = self.revision().await;
        for _ in 0..watchers {
            let (world, ready, path) = (
                self.clone(),
                ready.clone(),
                format!("{BASE}?watch=1&resourceVersion={revision}"),
            );
            tasks.spawn(async move {
                let mut body = Box::pin(
                    world
                        .open_answer("GET", &path, accept, JSON, String::new())
                        .await
                        .into_body(),
                );
                ready.add_permits(1);
                let mut seen = 0;
                while seen < CHANGES {
                    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
                    seen += frame
                        .windows(8)
                        .filter(|window| *window == b"MODIFIED")
                        .count();
                }
            });
        }
        let _all = ready
            .acquire_many(u32::try_from(watchers).unwrap())
            .await
            .unwrap();
        let start = Instant::now();
        for number in 0..CHANGES {
            let body = labels(number, usize::try_from(revision).unwrap());
            self.send(
                "PATCH",
                &format!("{BASE}/pod-{number:05}"),
                JSON,
                "application/merge-patch+json",
                body,
            )
            .await;
        }
        tasks.join_all().await;
        start.elapsed() / u32::try_from(CHANGES).unwrap()
    }

    async fn revision(&self) -> u64 {
        self.metric("exeunt_store_revision ").await
    }

    async fn frames(&self) -> u64 {
        self.metric("exeunt_encodings_made_total{of=\"frame\"} ")
            .await
    }

    async fn metric(&self, name: &str) -> u64 {
        let body = self
            .open_answer("GET", "/metrics", "*/*", JSON, String::new())
            .await
            .into_body();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .parse()
            .unwrap()
    }
}

struct BenchRequest {
    method: &'static str,
    path: String,
    accept: &'static str,
    kind: &'static str,
    body: String,
}

impl BenchRequest {
    fn read(path: String, accept: &'static str) -> Self {
        Self {
            method: "GET",
            path,
            accept,
            kind: JSON,
            body: String::new(),
        }
    }

    fn write(method: &'static str, path: String, kind: &'static str, body: String) -> Self {
        Self {
            method,
            path,
            accept: JSON,
            kind,
            body,
        }
    }
}

/// Values differ, so that each kind of patch changes something.
const fn label_offset(kind: usize) -> usize {
    kind * 1_000_000
}

fn labels(number: usize, mark: usize) -> String {
    format!(
        r#"{{"metadata":{{"labels":{{"changed":"{}"}}}}}}"#,
        number + mark
    )
}

/// Returns a pod like those that controllers create.
fn pod(number: usize) -> String {
    let container = |name: &str| {
        serde_json::json!({
            "name": name, "image": "registry.example.com/shop/web:1.27.3",
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "MODE", "value": "production"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
            "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
        })
    };
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("pod-{number:05}"),
            "labels": {"app": "web", "pod-template-hash": "7d4b9c6f5"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": "web-7d4b9c6f5",
                "uid": "6f0c5f0e-5f6e-4c1c-9a0f-000000000001", "controller": true,
                "blockOwnerDeletion": true}],
        },
        "spec": {
            "nodeName": format!("node-{}", number % 100),
            "containers": [container("web"), container("proxy")],
            "volumes": [{"name": "cache", "emptyDir": {}}], "terminationGracePeriodSeconds": 30,
        },
    })
    .to_string()
}
