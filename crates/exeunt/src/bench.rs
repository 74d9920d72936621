//! `exeunt bench` (hidden): how far the status of budgets is behind their pods, and how fast
//! evictions are granted, in a cluster in this process.
//!
//! Everything goes through the API and the controllers as in `serve`, but without sockets and
//! without nodes: what is measured is the server with its controllers, and this client. Figures
//! depend on the machine and on who else works on it; `docs/performance.md` says what was measured
//! where.

mod board;
mod figures;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use cluster::{Cluster, Config, Storage};
use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use crate::cli::{Bench, StoreKind};
use crate::failure::Failure;
use crate::terminal::say;
use board::Board;
use figures::{Times, processor_time};

const NAMESPACE: &str = "bench";
const NODE: &str = "bench";
/// How many requests this client has under way at a time, as far as they are not paced.
const CLIENTS: usize = 32;
/// Who waits longer learns that something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the benchmark.
pub(crate) async fn run(arguments: &Bench) -> Result<(), Failure> {
    let directory = tempfile::Builder::new()
        .prefix("exeunt-bench-")
        .tempdir()
        .context("cannot create a directory for the benchmark")?;
    let storage = match (&arguments.data_dir, arguments.store) {
        (Some(kept), StoreKind::Disk) => Storage::Disk(kept.join("store")),
        (None, StoreKind::Disk) => Storage::Disk(directory.path().join("store")),
        (_, StoreKind::Memory) => Storage::Memory,
    };
    let config = Config {
        storage,
        budget_warnings: true,
        refusal_events: true,
        ..Config::default()
    };
    let cluster = Cluster::start(config).await?;
    let bench = Run {
        client: cluster.client(),
        arguments,
    };
    let done = tokio::time::timeout(PATIENCE, bench.all()).await;
    done.with_context(|| format!("the benchmark was not over after {} s", PATIENCE.as_secs()))??;
    Ok(cluster.stop().await?)
}

struct Run<'a> {
    client: Client,
    arguments: &'a Bench,
}

impl Run<'_> {
    async fn all(&self) -> Result<(), Failure> {
        let Bench { budgets, pods, .. } = self.arguments;
        say(&format!("{budgets} budgets with {pods} pods each"));
        self.prepare().await?;
        let boards: Arc<Vec<Mutex<Board>>> =
            Arc::new((0..*budgets).map(|_| Mutex::default()).collect());
        let watching = watch(self.client.clone(), Arc::clone(&boards));
        tokio::select! {
            result = self.measure(&boards) => result?,
            () = watching => return Err(Failure::new("the watch of the budgets has ended")),
        }
        Ok(())
    }

    async fn measure(&self, boards: &[Mutex<Board>]) -> Result<(), Failure> {
        let all = i64::from(self.arguments.pods);
        wait(|| boards.iter().all(|board| lock(board).shown() == all)).await;
        self.lag(boards).await?;
        wait(|| boards.iter().all(|board| lock(board).shown() == all)).await;
        self.evictions().await
    }

    /// One change after the other for each budget, all budgets side by side.
    async fn lag(&self, boards: &[Mutex<Board>]) -> Result<(), Failure> {
        let Bench {
            budgets,
            pods,
            rate,
            rounds,
            ..
        } = *self.arguments;
        let (begun, spent) = (Instant::now(), processor_time());
        let every = Duration::from_secs(1) * budgets / rate;
        let drivers: FuturesUnordered<_> = (0..budgets)
            .zip(boards)
            .map(|(number, board)| self.drive(number, board, every))
            .collect();
        let changes: Result<Vec<()>, Failure> =
            drivers.collect::<Vec<_>>().await.into_iter().collect();
        changes?;
        let (took, spent) = (begun.elapsed(), processor_time().saturating_sub(spent));
        let count = u32::from(rounds) * 2 * pods * budgets;
        let mut lags = Times::default();
        boards
            .iter()
            .for_each(|board| lags.extend(lock(board).take_lags()));
        say(&format!(
            "readiness changes: {:.0} per second, {:.0} µs of processor time each (client included)",
            f64::from(count) / took.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / f64::from(count),
        ));
        say(&format!(
            "budget status visible to a watcher after the change was acknowledged: {lags}"
        ));
        Ok(())
    }

    /// Makes the pods of one budget unready one after the other, and ready again.
    async fn drive(
        &self,
        budget: u32,
        board: &Mutex<Board>,
        every: Duration,
    ) -> Result<(), Failure> {
        let pods = self.arguments.pods;
        // The changes of the budgets are spread over the time between two of them.
        let begin = Instant::now() + every * budget / self.arguments.budgets;
        let mut ticks = tokio::time::interval_at(begin, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for _ in 0..self.arguments.rounds {
            for falling in [true, false] {
                lock(board).turn(falling);
                for pod in 0..pods {
                    ticks.tick().await;
                    self.set_ready(budget, pod, !falling).await?;
                    let healthy = if falling { pods - pod - 1 } else { pod + 1 };
                    lock(board).acknowledged(i64::from(healthy), Instant::now());
                }
                wait(|| lock(board).is_even()).await;
            }
        }
        Ok(())
    }

    async fn evictions(&self) -> Result<(), Failure> {
        let Bench { budgets, pods, .. } = *self.arguments;
        let (begun, spent) = (Instant::now(), processor_time());
        // Neighbours in time belong to different budgets.
        let all = (0..pods).flat_map(|pod| (0..budgets).map(move |budget| name_of(budget, pod)));
        let granted = stream::iter(all).map(|pod| async move {
            let since = Instant::now();
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}});
            self.post(&format!("pods/{pod}/eviction"), &eviction).await.map(|()| since.elapsed())
        });
        let times: Vec<Result<Duration, Failure>> =
            granted.buffer_unordered(CLIENTS).collect().await;
        let took = begun.elapsed();
        let mut latencies = Times::default();
        for time in times {
            latencies.extend([time?]);
        }
        // What follows an eviction is part of its price: the pods are gone and counted.
        let rest: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), NAMESPACE);
        loop {
            let list = rest
                .list(&kube::api::ListParams::default())
                .await
                .context("cannot list the budgets")?;
            let counted = |budget: &PodDisruptionBudget| {
                budget
                    .status
                    .as_ref()
                    .is_some_and(|status| status.expected_pods == Some(0))
            };
            if list.items.iter().all(counted) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (settled, spent) = (begun.elapsed(), processor_time().saturating_sub(spent));
        let count = f64::from(budgets * pods);
        say(&format!(
            "evictions granted: {:.0} per second ({latencies}), {:.0} µs of processor time each (client included), all counted {:.0} ms after the last",
            count / took.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / count,
            settled.saturating_sub(took).as_secs_f64() * 1e3,
        ));
        Ok(())
    }

    async fn prepare(&self) -> Result<(), Failure> {
        let meta = |name: &str| json!({"metadata": {"name": name}});
        self.send("POST", "/api/v1/namespaces", &meta(NAMESPACE))
            .await?;
        self.send("POST", "/api/v1/nodes", &meta(NODE)).await?;
        // The account of the namespace is made by a controller, and pods need it.
        let account = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
        while self.send("GET", &account, &Value::Null).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let Bench { budgets, pods, .. } = *self.arguments;
        let (begun, spent) = (Instant::now(), processor_time());
        let all = (0..budgets).flat_map(|budget| (0..pods).map(move |pod| (budget, pod)));
        let made = stream::iter(all.clone()).map(|(budget, pod)| async move {
            self.post("pods", &pod_of(budget, pod)).await?;
            Ok::<_, Failure>(())
        });
        made.buffer_unordered(CLIENTS)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect::<Result<Vec<()>, _>>()?;
        let (took, spent, count) = (
            begun.elapsed(),
            processor_time().saturating_sub(spent),
            f64::from(budgets * pods),
        );
        say(&format!(
            "pods created: {:.0} per second, {:.0} µs of processor time each (client included)",
            count / took.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / count
        ));
        let ready = stream::iter(all).map(|(budget, pod)| self.set_ready(budget, pod, true));
        ready
            .buffer_unordered(CLIENTS)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect::<Result<Vec<()>, _>>()?;
        for budget in 0..budgets {
            let object = json!({"metadata": {"name": format!("b{budget}")},
                "spec": {"minAvailable": 0, "selector": {"matchLabels": {"budget": format!("b{budget}")}}}});
            self.send(
                "POST",
                &format!("/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"),
                &object,
            )
            .await?;
        }
        Ok(())
    }

    async fn set_ready(&self, budget: u32, pod: u32, ready: bool) -> Result<(), Failure> {
        let state = if ready { "True" } else { "False" };
        let patch = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": state}]}});
        self.send(
            "PATCH",
            &format!(
                "/api/v1/namespaces/{NAMESPACE}/pods/{}/status",
                name_of(budget, pod)
            ),
            &patch,
        )
        .await
    }

    async fn post(&self, path: &str, object: &Value) -> Result<(), Failure> {
        self.send(
            "POST",
            &format!("/api/v1/namespaces/{NAMESPACE}/{path}"),
            object,
        )
        .await
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Result<(), Failure> {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", kind);
        let request = request.body(body).context("a request cannot be built")?;
        self.client
            .request_text(request)
            .await
            .with_context(|| format!("{method} {path} has failed"))?;
        Ok(())
    }
}

fn name_of(budget: u32, pod: u32) -> String {
    format!("b{budget}-p{pod}")
}

fn pod_of(budget: u32, pod: u32) -> Value {
    json!({
        "metadata": {"name": name_of(budget, pod), "labels": {"app": "bench", "budget": format!("b{budget}")}},
        "spec": {"nodeName": NODE, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]},
    })
}

/// Shows every status of a budget to its board, for ever.
async fn watch(client: Client, boards: Arc<Vec<Mutex<Board>>>) {
    let config = watcher::Config::default();
    let mut budgets = drain::dynamic::watch::<PodDisruptionBudget>(client, Some(NAMESPACE), config)
        .applied_objects()
        .boxed();
    while let Some(budget) = budgets.next().await {
        let Ok(budget) = budget else { continue };
        let number = budget
            .metadata
            .name
            .as_deref()
            .and_then(|name| name.strip_prefix('b')?.parse::<usize>().ok());
        let healthy = budget.status.and_then(|status| status.current_healthy);
        if let (Some(board), Some(healthy)) =
            (number.and_then(|number| boards.get(number)), healthy)
        {
            lock(board).show(i64::from(healthy), Instant::now());
        }
    }
}

async fn wait(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn lock(board: &Mutex<Board>) -> std::sync::MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
