//! `exeunt bench` (hidden): measures the delay of budget status updates and the rate of evictions
//! in a cluster in this process.
//!
//! Requests pass through the API and the controllers as in `serve`, but without sockets and nodes.
//! The numbers include this client and depend on the load of the machine;
//! `docs/performance.md` lists results.

mod lag;
mod latencies;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use cluster::{Cluster, ClusterConfig, Storage};
use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use crate::cli::{BenchArgs, StoreKind};
use crate::error::CliError;
use crate::terminal::print_line;
use lag::LagTracker;
use latencies::{Latencies, processor_time};

const NAMESPACE: &str = "bench";
const NODE: &str = "bench";
/// Concurrent requests of this client where it does not send at a fixed rate.
const CLIENTS: usize = 32;
/// A limit far above what the benchmark takes: reaching it means that something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the benchmark.
pub(crate) async fn run(arguments: &BenchArgs) -> Result<(), CliError> {
    let directory = tempfile::Builder::new()
        .prefix("exeunt-bench-")
        .tempdir()
        .context("cannot create a directory for the benchmark")?;
    let storage = match (&arguments.data_dir, arguments.store) {
        (Some(kept), StoreKind::Disk) => Storage::Disk(kept.join("store")),
        (None, StoreKind::Disk) => Storage::Disk(directory.path().join("store")),
        (_, StoreKind::Memory) => Storage::Memory,
    };
    let config = ClusterConfig {
        storage,
        budget_warnings: true,
        refusal_events: true,
        ..ClusterConfig::default()
    };
    let cluster = Cluster::start(config).await?;
    let bench = Benchmark {
        client: cluster.client(),
        arguments,
    };
    let done = tokio::time::timeout(PATIENCE, bench.all()).await;
    done.with_context(|| {
        format!(
            "the benchmark did not finish within {} s",
            PATIENCE.as_secs()
        )
    })??;
    Ok(cluster.stop().await?)
}

struct Benchmark<'a> {
    client: Client,
    arguments: &'a BenchArgs,
}

impl Benchmark<'_> {
    async fn all(&self) -> Result<(), CliError> {
        let BenchArgs { budgets, pods, .. } = self.arguments;
        print_line(&format!("{budgets} budgets with {pods} pods each"));
        self.prepare().await?;
        let trackers: Arc<Vec<Mutex<LagTracker>>> =
            Arc::new((0..*budgets).map(|_| Mutex::default()).collect());
        let watching = watch(self.client.clone(), Arc::clone(&trackers));
        tokio::select! {
            result = self.measure(&trackers) => result?,
            () = watching => return Err(CliError::new("the watch of the budgets ended")),
        }
        Ok(())
    }

    async fn measure(&self, trackers: &[Mutex<LagTracker>]) -> Result<(), CliError> {
        let all = i64::from(self.arguments.pods);
        wait(|| {
            trackers
                .iter()
                .all(|tracker| lock(tracker).healthy() == all)
        })
        .await;
        self.lag(trackers).await?;
        wait(|| {
            trackers
                .iter()
                .all(|tracker| lock(tracker).healthy() == all)
        })
        .await;
        self.evictions().await
    }

    /// Changes the readiness of the pods of each budget one by one, all budgets concurrently.
    async fn lag(&self, trackers: &[Mutex<LagTracker>]) -> Result<(), CliError> {
        let BenchArgs {
            budgets,
            pods,
            rate,
            rounds,
            ..
        } = *self.arguments;
        let (begun, spent) = (Instant::now(), processor_time());
        let every = Duration::from_secs(1) * budgets / rate;
        let drivers: FuturesUnordered<_> = (0..budgets)
            .zip(trackers)
            .map(|(number, tracker)| self.drive(number, tracker, every))
            .collect();
        let changes: Result<Vec<()>, CliError> =
            drivers.collect::<Vec<_>>().await.into_iter().collect();
        changes?;
        let (took, spent) = (begun.elapsed(), processor_time().saturating_sub(spent));
        let count = u32::from(rounds) * 2 * pods * budgets;
        let mut lags = Latencies::default();
        trackers
            .iter()
            .for_each(|tracker| lags.extend(lock(tracker).take_lags()));
        print_line(&format!(
            "readiness changes: {:.0} per second, {:.0} µs of processor time each (client included)",
            f64::from(count) / took.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / f64::from(count),
        ));
        print_line(&format!(
            "budget status visible to a watcher after the change was acknowledged: {lags}"
        ));
        Ok(())
    }

    /// Makes the pods of one budget unready one by one, and then ready again.
    async fn drive(
        &self,
        budget: u32,
        tracker: &Mutex<LagTracker>,
        every: Duration,
    ) -> Result<(), CliError> {
        let pods = self.arguments.pods;
        // Budgets start at different times, so that the rate is even.
        let begin = Instant::now() + every * budget / self.arguments.budgets;
        let mut ticks = tokio::time::interval_at(begin, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for _ in 0..self.arguments.rounds {
            for falling in [true, false] {
                lock(tracker).set_falling(falling);
                for pod in 0..pods {
                    ticks.tick().await;
                    self.set_ready(budget, pod, !falling).await?;
                    let healthy = if falling { pods - pod - 1 } else { pod + 1 };
                    lock(tracker).change_acknowledged(i64::from(healthy), Instant::now());
                }
                wait(|| lock(tracker).is_settled()).await;
            }
        }
        Ok(())
    }

    async fn evictions(&self) -> Result<(), CliError> {
        let BenchArgs { budgets, pods, .. } = *self.arguments;
        let (begun, spent) = (Instant::now(), processor_time());
        // Consecutive evictions belong to different budgets.
        let all = (0..pods).flat_map(|pod| (0..budgets).map(move |budget| name_of(budget, pod)));
        let granted = stream::iter(all).map(|pod| async move {
            let since = Instant::now();
            let eviction = json!({
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": pod, "namespace": NAMESPACE},
            });
            self.post(&format!("pods/{pod}/eviction"), &eviction)
                .await
                .map(|()| since.elapsed())
        });
        let times: Vec<Result<Duration, CliError>> =
            granted.buffer_unordered(CLIENTS).collect().await;
        let took = begun.elapsed();
        let mut latencies = Latencies::default();
        for time in times {
            latencies.extend([time?]);
        }
        // The cost of an eviction includes the deletion of the pod and the update of its budget.
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
        print_line(&format!(
            "evictions granted: {:.0} per second ({latencies}), {:.0} µs of processor time each (client included), all counted {:.0} ms after the last",
            count / took.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / count,
            settled.saturating_sub(took).as_secs_f64() * 1e3,
        ));
        Ok(())
    }

    async fn prepare(&self) -> Result<(), CliError> {
        let meta = |name: &str| json!({"metadata": {"name": name}});
        self.send("POST", "/api/v1/namespaces", &meta(NAMESPACE))
            .await?;
        self.send("POST", "/api/v1/nodes", &meta(NODE)).await?;
        // Pods need the default service account, which a controller creates.
        let account = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
        while self.send("GET", &account, &Value::Null).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let BenchArgs { budgets, pods, .. } = *self.arguments;
        let (begun, spent) = (Instant::now(), processor_time());
        let all = (0..budgets).flat_map(|budget| (0..pods).map(move |pod| (budget, pod)));
        let made = stream::iter(all.clone()).map(|(budget, pod)| async move {
            self.post("pods", &pod_of(budget, pod)).await?;
            Ok::<_, CliError>(())
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
        print_line(&format!(
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
            "spec": {
                "minAvailable": 0,
                "selector": {"matchLabels": {"budget": format!("b{budget}")}},
            }});
            self.send(
                "POST",
                &format!("/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"),
                &object,
            )
            .await?;
        }
        Ok(())
    }

    async fn set_ready(&self, budget: u32, pod: u32, ready: bool) -> Result<(), CliError> {
        let state = if ready { "True" } else { "False" };
        let patch = json!({
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": state}]},
        });
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

    async fn post(&self, path: &str, object: &Value) -> Result<(), CliError> {
        self.send(
            "POST",
            &format!("/api/v1/namespaces/{NAMESPACE}/{path}"),
            object,
        )
        .await
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Result<(), CliError> {
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
        let request = request.body(body).context("cannot build a request")?;
        self.client
            .request_text(request)
            .await
            .with_context(|| format!("cannot {method} {path}"))?;
        Ok(())
    }
}

fn name_of(budget: u32, pod: u32) -> String {
    format!("b{budget}-p{pod}")
}

fn pod_of(budget: u32, pod: u32) -> Value {
    json!({
        "metadata": {
            "name": name_of(budget, pod),
            "labels": {"app": "bench", "budget": format!("b{budget}")},
        },
        "spec": {"nodeName": NODE, "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "c",
                "image": "nginx",
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            }]},
    })
}

/// Passes every status of a budget to its tracker. Never ends while the watch works.
async fn watch(client: Client, trackers: Arc<Vec<Mutex<LagTracker>>>) {
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
        if let (Some(tracker), Some(healthy)) =
            (number.and_then(|number| trackers.get(number)), healthy)
        {
            lock(tracker).status_observed(i64::from(healthy), Instant::now());
        }
    }
}

async fn wait(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn lock(tracker: &Mutex<LagTracker>) -> std::sync::MutexGuard<'_, LagTracker> {
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}
