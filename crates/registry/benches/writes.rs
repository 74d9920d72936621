//! Measures writes without HTTP, TLS and disk, on a memory store. Four phases create pods, mark
//! them ready, request evictions that are refused, and request evictions that are granted. Requests
//! run one at a time.
//!
//! `cargo bench -p exeunt-registry --bench writes` prints one line for each phase. Each phase is a
//! function that is never inlined, so that instructions can be counted on machines where time is
//! noisy: `valgrind --tool=callgrind --toggle-collect='*phase_create*'
//! target/release/deps/writes-…`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, may fail, and measures real time"
)]

// The other crates import the registry under this name.
extern crate exeunt_registry as registry;

use std::sync::Arc;

use std::time::Instant;

use bytes::Bytes;
use clock::{Clock, Entropy};
use jiff::Timestamp;
use registry::request::{
    BodyForm, PatchKind, Reply, Request, RequestBody, User, Verb, WriteOptions,
};
use registry::{Options, Registry};
use serde_json::{Value, json};
use store::Store;

/// The allocator that the binary uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAMESPACE: &str = "bench";
const BUDGETS: usize = 20;
const ROUNDS: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Cargo passes flags too; the only number among the arguments is the number of pods.
    let pods = std::env::args()
        .skip(1)
        .find_map(|text| text.parse().ok())
        .unwrap_or(2_000);
    for round in 0..ROUNDS {
        let world = World::new().await;
        for budget in 0..BUDGETS {
            world.budget(budget, 0).await;
        }
        println!("round {round}, {pods} pods, {BUDGETS} budgets");
        phase_create(&world, pods).await;
        phase_ready(&world, pods).await;
        phase_refuse(&world, pods).await;
        for budget in 0..BUDGETS {
            world.allow(budget, pods).await;
        }
        phase_evict(&world, pods).await;
    }
}

#[inline(never)]
async fn phase_create(world: &World, pods: usize) {
    let bodies: Vec<Bytes> = (0..pods)
        .map(|number| Bytes::from(pod(number).to_string()))
        .collect();
    let start = Instant::now();
    for body in bodies {
        world.expect(201, "pods", "", "", create(body)).await;
    }
    report("created", start, pods);
}

#[inline(never)]
async fn phase_ready(world: &World, pods: usize) {
    let status = json!({"status": {"phase": "Running", "conditions": [
        {"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]}});
    let patch = Bytes::from(status.to_string());
    let start = Instant::now();
    for number in 0..pods {
        world
            .expect(
                200,
                "pods",
                &format!("p{number}"),
                "status",
                merge(patch.clone()),
            )
            .await;
    }
    report("status patched", start, pods);
}

#[inline(never)]
async fn phase_refuse(world: &World, pods: usize) {
    let start = Instant::now();
    for number in 0..pods {
        world
            .expect(
                429,
                "pods",
                &format!("p{number}"),
                "eviction",
                create(eviction(number)),
            )
            .await;
    }
    report("eviction refused", start, pods);
}

#[inline(never)]
async fn phase_evict(world: &World, pods: usize) {
    let start = Instant::now();
    for number in 0..pods {
        world
            .expect(
                201,
                "pods",
                &format!("p{number}"),
                "eviction",
                create(eviction(number)),
            )
            .await;
    }
    report("eviction granted", start, pods);
}

fn report(what: &str, start: Instant, count: usize) {
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(count).unwrap());
    println!("{what:>20}: {micros:8.1} µs each");
}

struct World {
    registry: Registry,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::starting_at(Timestamp::from_second(1_000_000_000).unwrap());
        let registry = Registry::new(
            Store::open_memory(),
            clock,
            Entropy::seeded(1),
            Options {
                refusal_events: true,
                ..Options::default()
            },
        );
        registry.bootstrap().await.unwrap();
        let world = Self { registry };
        let body = |value: Value| create(Bytes::from(value.to_string()));
        world
            .expect(
                201,
                "namespaces",
                "",
                "",
                body(json!({"metadata": {"name": NAMESPACE}})),
            )
            .await;
        world
            .expect(
                201,
                "serviceaccounts",
                "",
                "",
                body(json!({"metadata": {"name": "default"}})),
            )
            .await;
        world
    }

    /// Creates a budget and writes its status, because no disruption controller runs here.
    async fn budget(&self, number: usize, allowed: usize) {
        let body = json!({"metadata": {"name": format!("b{number}")},
            "spec": {"minAvailable": 0,
                "selector": {"matchLabels": {"app": format!("a{number}")}}}});
        self.expect(
            201,
            "poddisruptionbudgets",
            "",
            "",
            create(Bytes::from(body.to_string())),
        )
        .await;
        self.allow(number, allowed).await;
    }

    async fn allow(&self, number: usize, allowed: usize) {
        let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed,
            "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
        self.expect(
            200,
            "poddisruptionbudgets",
            &format!("b{number}"),
            "status",
            merge(Bytes::from(status.to_string())),
        )
        .await;
    }

    async fn expect(&self, code: u16, plural: &str, name: &str, subresource: &str, verb: Verb) {
        let (group, namespace) = match plural {
            "poddisruptionbudgets" => ("policy", NAMESPACE),
            "namespaces" => ("", ""),
            _ => ("", NAMESPACE),
        };
        let resource = self
            .registry
            .resource(group, "v1", plural)
            .expect("a built-in resource");
        let user = User {
            name: "bench".to_owned(),
            ..User::default()
        };
        let request = Request {
            user: Arc::new(user),
            subresource: resource.subresource(subresource).map(|sub| sub.name),
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            verb,
        };
        let answered = match self.registry.call(request).await {
            Ok(Reply::Object { code, .. } | Reply::Status { code, .. }) => code,
            Ok(_) => 0,
            Err(refusal) => refusal.status.code,
        };
        assert_eq!(answered, code, "{plural}/{name}/{subresource}");
    }
}

fn create(bytes: Bytes) -> Verb {
    Verb::Create {
        body: RequestBody {
            bytes,
            form: BodyForm::Json,
        },
        options: manager(),
    }
}

fn merge(patch: Bytes) -> Verb {
    Verb::Patch {
        kind: PatchKind::Merge,
        patch,
        options: manager(),
    }
}

fn manager() -> WriteOptions {
    WriteOptions {
        field_manager: "bench".to_owned(),
        ..WriteOptions::default()
    }
}

fn pod(number: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{number}"),
            "labels": {"app": format!("a{}", number % BUDGETS), "all": "x"}},
        "spec": {"nodeName": "nowhere", "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "pause",
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]}})
}

fn eviction(number: usize) -> Bytes {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": format!("p{number}"), "namespace": NAMESPACE}});
    Bytes::from(body.to_string())
}
