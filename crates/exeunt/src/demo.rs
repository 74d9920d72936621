//! `exeunt demo`: the main job in one command.
//!
//! Boots a cluster in this process, applies a sample application with a budget, drains a node, and
//! shows the six steps of each eviction as they happen. Everything after the boot goes through the
//! API: the demo does what any client could do.

mod happening;
mod observe;

use std::collections::BTreeMap;
use std::time::Duration;

use ::drain::event::DrainEvent;
use anyhow::Context as _;
use clock::Clock;
use cluster::{Cluster, Config, Listen, NodeOptions};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use crate::cli::Demo;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::terminal::{Terminal, Tone, say};
use happening::Happening;
use observe::Sight;

const SAMPLE: &str = include_str!("demo/sample.yaml");
const NAMESPACE: &str = "default";
/// Nothing in the demo takes this long; whoever waits longer learns that something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo.
pub(crate) async fn run(arguments: &Demo) -> Result<(), Failure> {
    let terminal = Terminal::of_stdout();
    let folder = tempfile::Builder::new()
        .prefix("exeunt-demo-")
        .tempdir()
        .context("cannot make a folder for the demo")?;
    let started = Instant::now();
    let config = Config {
        listen: Some(Listen {
            address: ([127, 0, 0, 1], 0).into(),
            dir: folder.path().to_path_buf(),
        }),
        nodes: Some(NodeOptions::numbered("node", 3)),
        budget_warnings: true,
        refusal_events: true,
        ..Config::default()
    };
    let cluster = Cluster::start(config).await?;
    let heading = |text: &str| say(&terminal.paint(Tone::Strong, text));
    heading("A cluster in this process");
    say(&format!(
        "  ready after {} ms: API server at {}, controllers, scheduler, 3 simulated nodes",
        started.elapsed().as_millis(),
        cluster.url().unwrap_or_default()
    ));

    let client = cluster.client();
    heading("\nA Deployment of 6 pods and a budget");
    say("  nginx-pdb: maxUnavailable 1, unhealthyPodEvictionPolicy AlwaysAllow");
    let from = Instant::now();
    apply_sample(&client).await?;
    wait_until_settled(&client).await?;
    say(&format!(
        "  6 pods are Ready after {:.2} s; the budget allows 1 disruption",
        from.elapsed().as_secs_f64()
    ));

    let (node, pods) = busiest_node(&client).await?;
    heading(&format!(
        "\nDrain of {node}, where {} of them run",
        pods.len()
    ));
    let story = Story {
        terminal,
        client: &client,
        node: &node,
        numbers: pods.iter().cloned().zip(0..).collect(),
    };
    let told = Box::pin(story.tell()).await?;
    let plural = if told.refusals == 1 { "" } else { "s" };
    let summary = format!(
        "  {node} drained in {:.2} s: {} evictions, {} refusal{plural}",
        told.seconds,
        pods.len(),
        told.refusals
    );
    say(&terminal.paint(Tone::Good, &summary));

    if arguments.keep {
        keep(&cluster, &node).await?;
    } else {
        farewell();
    }
    Ok(cluster.stop().await?)
}

async fn apply_sample(client: &Client) -> Result<(), Failure> {
    for document in SAMPLE.split("\n---\n") {
        let document = kinds::yaml::decode_untyped(document.as_bytes())
            .context("the sample is not YAML")?
            .tree;
        match document["kind"].as_str() {
            Some("Deployment") => create::<Deployment>(client, document).await?,
            Some("Service") => {
                create::<k8s_openapi::api::core::v1::Service>(client, document).await?
            }
            _ => create::<PodDisruptionBudget>(client, document).await?,
        }
    }
    Ok(())
}

async fn create<K>(client: &Client, document: kinds::Tree) -> Result<(), Failure>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let object: K =
        serde_json::from_value(document.into()).context("the sample does not fit its kind")?;
    Api::<K>::namespaced(client.clone(), NAMESPACE)
        .create(&PostParams::default(), &object)
        .await
        .context("cannot apply the sample")?;
    Ok(())
}

async fn wait_until_settled(client: &Client) -> Result<(), Failure> {
    wait::<Deployment>(client, "nginx", |deployment: Option<&Deployment>| {
        deployment.and_then(|deployment| deployment.status.as_ref()?.available_replicas) == Some(6)
    })
    .await?;
    wait::<PodDisruptionBudget>(
        client,
        "nginx-pdb",
        |budget: Option<&PodDisruptionBudget>| {
            budget.and_then(|budget| budget.status.as_ref()?.disruptions_allowed) == Some(1)
        },
    )
    .await
}

async fn wait<K>(client: &Client, name: &str, condition: impl Condition<K>) -> Result<(), Failure>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let api = Api::<K>::namespaced(client.clone(), NAMESPACE);
    let done = tokio::time::timeout(PATIENCE, await_condition(api, name, condition)).await;
    done.with_context(|| format!("{name} was not ready after {} s", PATIENCE.as_secs()))?
        .context("the watch failed")?;
    Ok(())
}

/// The node with most pods of the application, and their names.
async fn busiest_node(client: &Client) -> Result<(String, Vec<String>), Failure> {
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE)
        .list(&ListParams::default().labels("app=nginx"))
        .await;
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.context("cannot list the pods")? {
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default();
        nodes.entry(node).or_default().push(pod.name_any());
    }
    nodes
        .into_iter()
        .max_by_key(|(_, pods)| pods.len())
        .ok_or_else(|| Failure::new("the application has no pods"))
}

/// The drain of one node, told as it happens.
struct Story<'a> {
    terminal: Terminal,
    client: &'a Client,
    node: &'a str,
    /// The pods that leave, numbered for their colours.
    numbers: BTreeMap<String, usize>,
}

struct Told {
    seconds: f64,
    refusals: usize,
}

impl Story<'_> {
    async fn tell(&self) -> Result<Told, Failure> {
        let (sight_sender, mut sights) = unbounded_channel();
        let watches = observe::namespace(self.client, NAMESPACE, &sight_sender);
        let (progress_sender, mut progress) = unbounded_channel();
        let (clock, started) = (Clock::system(), Instant::now());
        let mut told = Told {
            seconds: 0.0,
            refusals: 0,
        };
        let mut drain = std::pin::pin!(::drain::node::drain(
            self.client,
            &clock,
            self.node,
            progress_sender
        ));
        let drained = loop {
            tokio::select! {
                biased;
                Some(step) = progress.recv() => self.progress(started, step, &mut told).await,
                Some(sight) = sights.recv() => self.sight(started, sight),
                done = &mut drain => break done,
            }
        };
        drained.with_context(|| format!("cannot drain {}", self.node))?;
        told.seconds = started.elapsed().as_secs_f64();
        while let Ok(step) = progress.try_recv() {
            self.progress(started, step, &mut told).await;
        }
        self.last_step(started, &mut sights).await;
        drop(watches);
        Ok(told)
    }

    /// The last pod's sixth step comes after the drain is done.
    async fn last_step(&self, started: Instant, sights: &mut UnboundedReceiver<Sight>) {
        let all_counted = wait_until_settled(self.client);
        tokio::pin!(all_counted);
        loop {
            tokio::select! {
                biased;
                Some(sight) = sights.recv() => self.sight(started, sight),
                _ = &mut all_counted => break,
            }
        }
        while let Ok(sight) = sights.try_recv() {
            self.sight(started, sight);
        }
    }

    async fn progress(&self, started: Instant, step: DrainEvent, told: &mut Told) {
        let (pod, happening) = match step {
            DrainEvent::Cordoned { .. } => {
                return say(&format!("  {:>8}  node/{} cordoned", "", self.node));
            }
            DrainEvent::EvictionRequested { pod, .. } => (pod, Happening::Asked),
            DrainEvent::Accepted { pod } => (
                pod,
                Happening::Granted {
                    allowed: self.allowed().await,
                },
            ),
            DrainEvent::Refused { pod, why, .. } => {
                told.refusals += 1;
                (
                    pod,
                    Happening::Refused {
                        message: why.message,
                        causes: why.causes,
                    },
                )
            }
            _ => return,
        };
        self.line(started, &pod.name, &happening);
    }

    async fn allowed(&self) -> Option<i32> {
        let budgets = Api::<PodDisruptionBudget>::namespaced(self.client.clone(), NAMESPACE);
        budgets
            .get("nginx-pdb")
            .await
            .ok()?
            .status?
            .disruptions_allowed
    }

    fn sight(&self, started: Instant, (pod, happening): Sight) {
        match pod {
            Some(pod) if !self.numbers.contains_key(&pod) => {}
            Some(pod) => self.line(started, &pod, &happening),
            None => self.line(started, "nginx-pdb", &happening),
        }
    }

    fn line(&self, started: Instant, name: &str, happening: &Happening) {
        let number = self.numbers.get(name).map_or(usize::MAX, |number| *number);
        // The Deployment's and the ReplicaSet's parts of the name say nothing here.
        let short = name
            .rsplit_once('-')
            .filter(|_| number != usize::MAX)
            .map_or(name.to_owned(), |(_, suffix)| format!("…-{suffix}"));
        say(&happening.render(
            self.terminal,
            started.elapsed().as_secs_f64(),
            &short,
            number,
        ));
    }
}

fn farewell() {
    say("\nTo go on with kubectl, keep the server running:");
    say("  exeunt demo --keep            this cluster, with the node still cordoned");
    say("  exeunt serve --nodes 3        an empty one that survives restarts");
}

async fn keep(cluster: &Cluster, node: &str) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    say("\nThe server keeps running until you press Ctrl-C. In another terminal:");
    if let Some(kubeconfig) = cluster.kubeconfig() {
        say(&format!("  export KUBECONFIG={}", kubeconfig.display()));
    }
    say("  kubectl get pods -o wide");
    say("  kubectl describe pdb nginx-pdb");
    say(&format!("  kubectl uncordon {node}"));
    say("  kubectl drain node-3 --ignore-daemonsets");
    signals.next_or_end_of(cluster).await;
    Ok(())
}
