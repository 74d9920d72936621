//! `exeunt demo`: a drain under a budget in one command.
//!
//! Starts a cluster in this process, creates a sample application with a budget, drains a node, and
//! prints the six steps of each eviction as they happen. After the start it uses only the API, as
//! any client could.

mod event;
mod observe;

use std::collections::BTreeMap;
use std::time::Duration;

use ::drain::event::DrainEvent;
use ::drain::format::plural;
use anyhow::Context as _;
use clock::Clock;
use cluster::{Cluster, ClusterConfig, Listen, NodeOptions};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use crate::cli::DemoArgs;
use crate::error::CliError;
use crate::signals::Signals;
use crate::terminal::{Terminal, TextStyle, print_line, print_styled};
use event::DemoEvent;
use observe::Observation;

const SAMPLE: &str = include_str!("demo/sample.yaml");
const NAMESPACE: &str = "default";
/// A limit far above what any step of the demo takes: reaching it means that something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo.
pub(crate) async fn run(arguments: &DemoArgs) -> Result<(), CliError> {
    let terminal = Terminal::of_stdout();
    let directory = tempfile::Builder::new()
        .prefix("exeunt-demo-")
        .tempdir()
        .context("cannot create a temporary directory")?;
    let started = Instant::now();
    let config = ClusterConfig {
        listen: Some(Listen {
            address: ([127, 0, 0, 1], 0).into(),
            dir: directory.path().to_path_buf(),
        }),
        nodes: Some(NodeOptions::numbered("node", 3)),
        budget_warnings: true,
        refusal_events: true,
        ..ClusterConfig::default()
    };
    let cluster = Cluster::start(config).await?;
    let heading = |text: &str| print_styled(&terminal.paint(TextStyle::Heading, text));
    heading("A cluster in this process");
    print_line(&format!(
        "  ready after {} ms: API server at {}, controllers, scheduler, 3 simulated nodes",
        started.elapsed().as_millis(),
        cluster.url().unwrap_or_default()
    ));

    let client = cluster.client();
    print_line("");
    heading("A Deployment with 6 pods and a PodDisruptionBudget");
    print_line("  nginx-pdb: maxUnavailable 1, unhealthyPodEvictionPolicy AlwaysAllow");
    let from = Instant::now();
    apply_sample(&client).await?;
    wait_until_settled(&client).await?;
    print_line(&format!(
        "  6 pods are Ready after {:.2} s; the budget allows 1 disruption",
        from.elapsed().as_secs_f64()
    ));

    let (node, pods) = busiest_node(&client).await?;
    print_line("");
    heading(&format!(
        "Draining {node}, which runs {} of the pods",
        pods.len()
    ));
    let drain = DemoDrain {
        terminal,
        client: &client,
        node: &node,
        numbers: pods.iter().cloned().zip(0..).collect(),
    };
    let totals = Box::pin(drain.run()).await?;
    let summary = format!(
        "  {node} drained in {:.2} s: {}, {}",
        totals.seconds,
        plural(pods.len(), "eviction"),
        plural(totals.refusals, "refusal")
    );
    print_styled(&terminal.paint(TextStyle::Success, &summary));

    if arguments.keep {
        keep(&cluster, &node).await?;
    } else {
        print_next_steps();
    }
    Ok(cluster.stop().await?)
}

async fn apply_sample(client: &Client) -> Result<(), CliError> {
    for document in SAMPLE.split("\n---\n") {
        let document = kinds::yaml::decode_untyped(document.as_bytes())
            .context("cannot parse the sample")?
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

async fn create<K>(client: &Client, document: kinds::Tree) -> Result<(), CliError>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let object: K = serde_json::from_value(document.into()).context("cannot decode the sample")?;
    Api::<K>::namespaced(client.clone(), NAMESPACE)
        .create(&PostParams::default(), &object)
        .await
        .context("cannot create the sample application")?;
    Ok(())
}

async fn wait_until_settled(client: &Client) -> Result<(), CliError> {
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

async fn wait<K>(client: &Client, name: &str, condition: impl Condition<K>) -> Result<(), CliError>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let api = Api::<K>::namespaced(client.clone(), NAMESPACE);
    let done = tokio::time::timeout(PATIENCE, await_condition(api, name, condition)).await;
    done.with_context(|| format!("{name} not ready after {} s", PATIENCE.as_secs()))?
        .context("cannot watch the sample application")?;
    Ok(())
}

/// Returns the node with the most pods of the application, and their names.
async fn busiest_node(client: &Client) -> Result<(String, Vec<String>), CliError> {
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
        .ok_or_else(|| CliError::new("no pods of the sample application found"))
}

/// The drain of one node, whose events are printed as they happen.
struct DemoDrain<'a> {
    terminal: Terminal,
    client: &'a Client,
    node: &'a str,
    /// The pods of the node with the numbers of their colours.
    numbers: BTreeMap<String, usize>,
}

struct DrainTotals {
    seconds: f64,
    refusals: usize,
}

impl DemoDrain<'_> {
    async fn run(&self) -> Result<DrainTotals, CliError> {
        let (observation_sender, mut observations) = unbounded_channel();
        let watches = observe::namespace(self.client, NAMESPACE, &observation_sender);
        let (progress_sender, mut progress) = unbounded_channel();
        let (clock, started) = (Clock::system().steady(), Instant::now());
        let mut totals = DrainTotals {
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
                Some(event) = progress.recv() => self.progress(started, event, &mut totals).await,
                Some(observation) = observations.recv() => self.observed(started, observation),
                done = &mut drain => break done,
            }
        };
        drained.with_context(|| format!("cannot drain {}", self.node))?;
        totals.seconds = started.elapsed().as_secs_f64();
        while let Ok(event) = progress.try_recv() {
            self.progress(started, event, &mut totals).await;
        }
        self.last_step(started, &mut observations).await;
        drop(watches);
        Ok(totals)
    }

    /// Prints events until the budget has recovered, which happens after the end of the drain.
    async fn last_step(&self, started: Instant, observations: &mut UnboundedReceiver<Observation>) {
        let settled = wait_until_settled(self.client);
        tokio::pin!(settled);
        loop {
            tokio::select! {
                biased;
                Some(observation) = observations.recv() => self.observed(started, observation),
                _ = &mut settled => break,
            }
        }
        while let Ok(observation) = observations.try_recv() {
            self.observed(started, observation);
        }
    }

    async fn progress(&self, started: Instant, event: DrainEvent, totals: &mut DrainTotals) {
        let (pod, event) = match event {
            DrainEvent::Cordoned { .. } => {
                return print_line(&format!("  {:>8}  node/{} cordoned", "", self.node));
            }
            DrainEvent::EvictionRequested { pod, .. } => (pod, DemoEvent::Requested),
            DrainEvent::Accepted { pod } => (
                pod,
                DemoEvent::Granted {
                    allowed: self.allowed().await,
                },
            ),
            DrainEvent::Refused { pod, why, .. } => {
                totals.refusals += 1;
                (
                    pod,
                    DemoEvent::Refused {
                        message: why.message,
                        causes: why.causes,
                    },
                )
            }
            _ => return,
        };
        self.print(started, &pod.name, &event);
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

    fn observed(&self, started: Instant, (pod, event): Observation) {
        match pod {
            Some(pod) if !self.numbers.contains_key(&pod) => {}
            Some(pod) => self.print(started, &pod, &event),
            None => self.print(started, "nginx-pdb", &event),
        }
    }

    fn print(&self, started: Instant, name: &str, event: &DemoEvent) {
        let number = self.numbers.get(name).map_or(usize::MAX, |number| *number);
        // All pods share the Deployment's and the ReplicaSet's parts of the name.
        let short = name
            .rsplit_once('-')
            .filter(|_| number != usize::MAX)
            .map_or(name.to_owned(), |(_, suffix)| format!("…-{suffix}"));
        print_styled(&event.render(
            self.terminal,
            started.elapsed().as_secs_f64(),
            &short,
            number,
        ));
    }
}

fn print_next_steps() {
    print_line("");
    print_line("To continue with kubectl:");
    print_line("  exeunt demo --keep            keep this cluster running, with the node cordoned");
    print_line("  exeunt serve --nodes 3        start an empty cluster that survives restarts");
}

async fn keep(cluster: &Cluster, node: &str) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    print_line("");
    print_line("The server runs until you press Ctrl-C. In another terminal:");
    if let Some(kubeconfig) = cluster.kubeconfig() {
        print_line(&format!("  export KUBECONFIG={}", kubeconfig.display()));
    }
    print_line("  kubectl get pods -o wide");
    print_line("  kubectl describe pdb nginx-pdb");
    print_line(&format!("  kubectl uncordon {node}"));
    print_line("  kubectl drain node-3 --ignore-daemonsets");
    signals.next_or_end_of(cluster).await;
    Ok(())
}
