//! One run: two API servers on one store, controllers, nodes, a Deployment and a StatefulSet with a
//! budget each, and a random sequence of operations and crashes.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clock::{Clock, Entropy};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use testkit::TestCluster;
use testkit::safety::{CrashPoint, Disk};

/// Operations in one run.
const STEPS: usize = 40;
/// The most evictions that are requested at the same time.
const BURST: u64 = 6;
/// Long enough for pods to be replaced, `disruptedPods` entries to expire and the longest backoff
/// of a work queue to end.
const CALM: Duration = Duration::from_secs(200);
/// The time that a controller may take to remove an expired `disruptedPods` entry.
const PATIENCE: SignedDuration = SignedDuration::from_secs(65);
/// The applications; each has a budget of the same name.
const APPS: [&str; 2] = ["web", "db"];

/// The storage under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Memory,
    Disk,
}

/// Counts over some runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StormCounts {
    pub(crate) runs: u64,
    pub(crate) granted: u64,
    pub(crate) refused: u64,
    pub(crate) crashes: u64,
    pub(crate) charges: u64,
    pub(crate) statuses: u64,
}

impl StormCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.granted += other.granted;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.charges += other.charges;
        self.statuses += other.statuses;
    }
}

pub(crate) struct Storm {
    disk: Disk,
    clock: Clock,
    random: Entropy,
    seed: u64,
    first: TestCluster,
    second: TestCluster,
    /// When the controllers were started.
    since: Timestamp,
    /// Pods whose eviction was granted, by name and uid.
    granted: Vec<(String, String)>,
    counts: StormCounts,
    log: Vec<String>,
}

impl Storm {
    pub(crate) async fn run(seed: u64, place: StoreKind) -> anyhow::Result<StormCounts> {
        let directory = tempfile::tempdir()?;
        let clock = Clock::starting_at(Timestamp::from_second(1_790_000_000)?);
        let disk = match place {
            StoreKind::Memory => Disk::in_memory("default", clock.clone()),
            StoreKind::Disk => Disk::in_directory(directory.path(), "default", clock.clone()),
        };
        let random = Entropy::seeded(seed);
        let (first, second) = boot(&disk, &clock, seed).await?;
        let since = clock.now();
        let (counts, granted, log) = (
            StormCounts {
                runs: 1,
                ..StormCounts::default()
            },
            Vec::new(),
            Vec::new(),
        );
        let mut storm = Self {
            disk,
            clock,
            random,
            seed,
            first,
            second,
            since,
            granted,
            counts,
            log,
        };
        let outcome = storm.weather().await;
        outcome.with_context(|| format!("after {:#?}", storm.log))?;
        (storm.counts.charges, storm.counts.statuses) = storm.disk.ledger(|ledger| ledger.counts());
        Ok(storm.counts)
    }

    async fn weather(&mut self) -> anyhow::Result<()> {
        self.deploy().await?;
        tokio::time::sleep(CALM).await;
        self.check_calm()
            .await
            .context("before anything happened")?;
        for step in 0..STEPS {
            self.happen()
                .await
                .with_context(|| format!("step {step}"))?;
            self.check()?;
            if step % 10 == 9 {
                self.note("calm".to_owned());
                tokio::time::sleep(CALM).await;
                self.check_calm().await?;
            }
        }
        Ok(())
    }

    async fn deploy(&self) -> anyhow::Result<()> {
        let client = self.first.client();
        let of = |app: &str| {
            json!({
                "metadata": {"labels": {"app": app}},
                "spec": {"terminationGracePeriodSeconds": 5,
            "containers": [{"name": "main", "image": "nginx"}]}})
        };
        let spec = |app: &str, replicas: u64| {
            json!({
                "replicas": replicas,
                "selector": {"matchLabels": {"app": app}},
                "template": of(app),
            })
        };
        let options = PostParams::default();
        let web =
            serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec("web", 5)}))?;
        Api::<Deployment>::default_namespaced(client.clone())
            .create(&options, &web)
            .await?;
        let mut db = spec("db", 3);
        db["serviceName"] = json!("db");
        let db = serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": db}))?;
        Api::<StatefulSet>::default_namespaced(client.clone())
            .create(&options, &db)
            .await?;
        for app in APPS {
            let mut spec = self.floor(app);
            spec["selector"] = json!({"matchLabels": {"app": app}});
            let budget = serde_json::from_value(json!({"metadata": {"name": app}, "spec": spec}))?;
            Api::<PodDisruptionBudget>::default_namespaced(client.clone())
                .create(&options, &budget)
                .await?;
        }
        Ok(())
    }

    /// Returns a random requirement of a budget. It sets both members, so that one replaces the
    /// other.
    fn floor(&self, app: &str) -> Value {
        let size = if app == "web" { 4 } else { 3 };
        match self.random.below(4) {
            0 => json!({"minAvailable": self.random.below(size), "maxUnavailable": null}),
            1 => {
                json!({
                    "minAvailable": format!("{}%", 20 * self.random.below(5)),
                    "maxUnavailable": null,
                })
            }
            2 => {
                json!({
                    "minAvailable": null,
                    "maxUnavailable": format!("{}%", 20 * self.random.below(4)),
                })
            }
            _ => json!({"minAvailable": null, "maxUnavailable": 1 + self.random.below(2)}),
        }
    }

    fn note(&mut self, what: String) {
        self.log.push(format!("{} {what}", self.clock.now()));
    }

    fn app(&self) -> &'static str {
        if self.random.below(2) == 0 {
            "web"
        } else {
            "db"
        }
    }

    /// Every other run has no losses except by evictions, so that each lost pod was evicted.
    fn is_gentle(&self) -> bool {
        self.seed.is_multiple_of(4) || self.seed % 4 == 1
    }

    async fn happen(&mut self) -> anyhow::Result<()> {
        let gentle = self.is_gentle();
        match self.random.below(16) {
            0..=5 => self.evict_some().await,
            6 => self.pause().await,
            7 | 8 => self.edit().await,
            9 if !gentle => self.scale().await,
            10 if !gentle => self.delete().await,
            11 | 12 if !gentle => self.flip().await,
            13 => self.restart_controllers().await,
            14 => self.crash(None).await,
            15 => {
                let death = if self.random.below(2) == 0 {
                    CrashPoint::BeforeWrite
                } else {
                    CrashPoint::AfterWrite
                };
                self.crash(Some(death)).await
            }
            _ => self.evict_some().await,
        }
    }

    async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let app = self.app();
        let pods = Api::<Pod>::default_namespaced(self.first.client());
        Ok(pods
            .list(&ListParams::default().labels(&format!("app={app}")))
            .await?
            .items)
    }

    async fn evict_some(&mut self) -> anyhow::Result<()> {
        self.evict_burst(false).await
    }

    async fn evict_burst(&mut self, dying: bool) -> anyhow::Result<()> {
        let pods = self.pods().await?;
        if pods.is_empty() {
            return Ok(());
        }
        let count = 1 + self.random.below(BURST);
        let mut asked = Vec::new();
        for _ in 0..count {
            let pod = &pods[usize::try_from(self.random.below(pods.len() as u64))?];
            let client = if self.random.below(2) == 0 {
                self.first.client()
            } else {
                self.second.client()
            };
            let uid = (self.random.below(2) == 0).then(|| pod.uid().unwrap_or_default());
            let grace = (self.random.below(4) == 0).then_some(0);
            asked.push(evict(
                client,
                pod.name_any(),
                pod.uid().unwrap_or_default(),
                uid,
                grace,
            ));
        }
        self.note(format!("evict {count} pods"));
        let answers = join_all(asked).await;
        for (name, uid, answer) in answers {
            match answer {
                Ok(()) => {
                    self.counts.granted += 1;
                    self.granted.push((name, uid));
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 429) => {
                    self.counts.refused += u64::from(status.code == 429);
                }
                Err(_) if dying => {}
                Err(error) => return Err(error).context(format!("the eviction of {name}")),
            }
        }
        Ok(())
    }

    async fn pause(&mut self) -> anyhow::Result<()> {
        let millis = [1, 100, 3_000, 30_000][usize::try_from(self.random.below(4))?];
        self.note(format!("wait {millis} ms"));
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(())
    }

    async fn edit(&mut self) -> anyhow::Result<()> {
        let app = self.app();
        let spec = self.floor(app);
        self.note(format!("edit {app}: {spec}"));
        patch::<PodDisruptionBudget>(&self.first.client(), app, &json!({"spec": spec})).await
    }

    async fn scale(&mut self) -> anyhow::Result<()> {
        let (app, replicas) = (self.app(), self.random.below(7));
        self.note(format!("scale {app} to {replicas}"));
        let change = json!({"spec": {"replicas": replicas}});
        if app == "web" {
            patch::<Deployment>(&self.first.client(), app, &change).await
        } else {
            patch::<StatefulSet>(&self.first.client(), app, &change).await
        }
    }

    async fn some_pod(&self) -> anyhow::Result<Option<String>> {
        let pods = self.pods().await?;
        let place = usize::try_from(self.random.below(pods.len() as u64))?;
        Ok(pods.get(place).map(|pod| pod.name_any()))
    }

    async fn delete(&mut self) -> anyhow::Result<()> {
        let Some(name) = self.some_pod().await? else {
            return Ok(());
        };
        self.note(format!("delete {name}"));
        gone_is_fine(
            Api::<Pod>::default_namespaced(self.second.client())
                .delete(&name, &DeleteParams::default())
                .await
                .map(drop),
        )
    }

    async fn flip(&mut self) -> anyhow::Result<()> {
        let Some(name) = self.some_pod().await? else {
            return Ok(());
        };
        let value = if self.random.below(2) == 0 {
            json!("true")
        } else {
            Value::Null
        };
        self.note(format!("{name} is never ready: {value}"));
        let change = json!({"metadata": {"annotations": {"sim.exeunt.dev/never-ready": value}}});
        patch::<Pod>(&self.first.client(), &name, &change).await
    }

    async fn restart_controllers(&mut self) -> anyhow::Result<()> {
        self.note("restart the controllers".to_owned());
        self.first.stop_controllers().await;
        for _ in 0..self.random.below(4) {
            self.evict_some().await?;
            self.pause().await?;
        }
        self.first
            .start_controllers(control::ControllerOptions::default());
        self.since = self.clock.now();
        Ok(())
    }

    /// Crashes the servers, now or at the next write, and restarts them on the durable state.
    async fn crash(&mut self, death: Option<CrashPoint>) -> anyhow::Result<()> {
        self.note(format!("crash, {death:?}"));
        self.counts.crashes += 1;
        if let Some(death) = death {
            self.disk.crash_on_next_write(death);
            // Reads still work; writes fail.
            self.evict_burst(true).await?;
        }
        let (first, second) =
            boot(&self.disk, &self.clock, self.seed + self.counts.crashes).await?;
        (self.first, self.second) = (first, second);
        self.since = self.clock.now();
        let pods = Api::<Pod>::default_namespaced(self.first.client());
        for (name, uid) in &self.granted {
            let found = pods
                .get_opt(name)
                .await?
                .filter(|pod| pod.uid().as_ref() == Some(uid));
            let lives = found.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
            ensure!(
                !lives,
                "the eviction of {name} ({uid}) was granted and is forgotten"
            );
        }
        self.granted.clear();
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        let since = self.since;
        let violations = self.disk.ledger(|ledger| {
            ledger.check_disrupted_pods(since, PATIENCE);
            ledger.violations().to_vec()
        });
        ensure!(violations.is_empty(), "{violations:#?}");
        Ok(())
    }

    /// Checks that every status agrees with the pods, after some time without operations.
    async fn check_calm(&self) -> anyhow::Result<()> {
        let client = self.first.client();
        let web = Api::<Deployment>::default_namespaced(client.clone())
            .get("web")
            .await?
            .spec
            .and_then(|spec| spec.replicas);
        let db = Api::<StatefulSet>::default_namespaced(client)
            .get("db")
            .await?
            .spec
            .and_then(|spec| spec.replicas);
        self.disk.ledger(|ledger| {
            ledger.check_status(|app| if app == "web" { web } else { db }.map(i64::from))
        });
        self.check()
    }
}

/// Starts two servers on the durable state, the first one with controllers and nodes.
async fn boot(disk: &Disk, clock: &Clock, seed: u64) -> anyhow::Result<(TestCluster, TestCluster)> {
    let store = disk.open()?;
    let builder = || {
        TestCluster::builder()
            .starting_at(clock.now())
            .store(store.clone())
    };
    let first = builder().seed(seed).nodes(3).start().await?;
    let second = builder().seed(!seed).without_controllers().start().await?;
    Ok((first, second))
}

async fn evict(
    client: Client,
    name: String,
    uid: String,
    precondition: Option<String>,
    grace: Option<u32>,
) -> (String, String, Result<(), kube::Error>) {
    let preconditions = precondition.map(|uid| Preconditions {
        uid: Some(uid),
        resource_version: None,
    });
    let delete = DeleteParams {
        grace_period_seconds: grace,
        preconditions,
        ..DeleteParams::default()
    };
    // Without a precondition, a new pod of the same name may be evicted instead.
    let pinned = delete.preconditions.is_some();
    let options = EvictParams {
        delete_options: Some(delete),
        ..EvictParams::default()
    };
    let answer = Api::<Pod>::default_namespaced(client)
        .evict(&name, &options)
        .await
        .map(drop);
    (name, if pinned { uid } else { String::new() }, answer)
}

async fn patch<K>(client: &Client, name: &str, change: &Value) -> anyhow::Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api = Api::<K>::default_namespaced(client.clone());
    gone_is_fine(
        api.patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await
            .map(drop),
    )
}

fn gone_is_fine(answer: Result<(), kube::Error>) -> anyhow::Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map_err(Into::into),
    }
}
