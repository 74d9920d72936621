//! Executes a drain: sends the requests that [`DrainState`] decides on, and feeds it the responses
//! and the events of the watches. The only decision here is the order of the phases of a command.
//!
//! All nodes are cordoned before the first eviction, as kubectl does; then up to `parallel` nodes
//! are drained at the same time. [`DrainEngine::next`] returns one event after the other. It may be
//! dropped and called again without losing an event; nothing happens between calls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use clock::Clock;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kinds::path::segment;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use crate::event::DrainEvent;
use crate::evict::{self, EvictionOptions, PodRef};
use crate::filter::FilteredPods;
use crate::selection::PodSelection;
use crate::state::{DrainAction, DrainOptions, DrainState};
use crate::watch::{self, EngineInput, EvictionApi};
use crate::{cordon, pods, surge};

/// The prefix of group names: pods that were named one by one are drained like the pods of a node,
/// one group for each namespace.
const GROUP_PREFIX: &str = "namespace/";

/// The number of watch events that wait for the engine. A server that sends more waits.
const MAX_INPUTS: usize = 1024;

/// What the engine knows about the eviction API of the server. No request is sent before it is
/// known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EvictionDiscovery {
    /// The discovery request is in flight.
    Pending,
    /// The server serves this version.
    Found(EvictionApi),
    /// The server serves no eviction API, or the request failed. Every node has failed.
    Failed,
    /// Not needed: pods are deleted, not evicted.
    NotNeeded,
}

/// Drains nodes, or evicts single pods.
pub struct DrainEngine {
    client: Client,
    clock: Clock,
    state: DrainState,
    selection: PodSelection,
    parallel: usize,
    discovery: EvictionDiscovery,
    /// Nodes whose cordon request is in flight.
    cordoning: BTreeSet<String>,
    /// Nodes whose drain has not begun.
    waiting: VecDeque<String>,
    /// Nodes that are being drained.
    active: BTreeSet<String>,
    /// The kinds whose failing watch was reported.
    reported_watches: BTreeSet<&'static str>,
    running: FuturesUnordered<BoxFuture<'static, EngineInput>>,
    inputs: Receiver<EngineInput>,
    sender: Sender<EngineInput>,
    watches: JoinSet<()>,
}

impl DrainEngine {
    /// Creates a drain of these nodes, at most `parallel` of them at the same time.
    #[must_use]
    pub fn drain(
        client: Client,
        clock: Clock,
        options: DrainOptions,
        selection: PodSelection,
        nodes: Vec<Node>,
        parallel: usize,
    ) -> Self {
        let names: Vec<String> = nodes.iter().map(ResourceExt::name_any).collect();
        let mut engine = Self::new(client, clock, options, selection, names.clone(), parallel);
        engine.cordoning = names.iter().cloned().collect();
        engine.waiting = names.into();
        let dry_run = engine.state.options().dry_run;
        for node in nodes {
            let client = engine.client.clone();
            engine.start(async move {
                let change = cordon::set(&client, &node, true, dry_run).await;
                EngineInput::Cordoned(node.name_any(), change)
            });
        }
        engine
    }

    /// Creates an eviction of these pods, on whatever nodes they run.
    #[must_use]
    pub fn evict(client: Client, clock: Clock, options: DrainOptions, pods: Vec<Pod>) -> Self {
        let mut groups: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for pod in pods {
            groups
                .entry(format!("{GROUP_PREFIX}{}", pods::namespace(&pod)))
                .or_default()
                .push(pod);
        }
        let parallel = groups.len();
        let mut engine = Self::new(
            client,
            clock,
            options,
            PodSelection::default(),
            groups.keys().cloned().collect(),
            parallel,
        );
        let now = engine.clock.now();
        for (group, pods) in groups {
            engine.watch_namespace(&group, &pods);
            engine.active.insert(group.clone());
            engine.state.start(&group, pods, now);
        }
        engine
    }

    fn new(
        client: Client,
        clock: Clock,
        options: DrainOptions,
        selection: PodSelection,
        names: Vec<String>,
        parallel: usize,
    ) -> Self {
        let (sender, inputs) = channel(MAX_INPUTS);
        let discovery = if options.delete {
            EvictionDiscovery::NotNeeded
        } else {
            EvictionDiscovery::Pending
        };
        let mut engine = Self {
            state: DrainState::new(options, names),
            client,
            clock,
            selection,
            parallel: parallel.max(1),
            discovery,
            cordoning: BTreeSet::new(),
            waiting: VecDeque::new(),
            active: BTreeSet::new(),
            reported_watches: BTreeSet::new(),
            running: FuturesUnordered::new(),
            inputs,
            sender,
            watches: JoinSet::new(),
        };
        if discovery == EvictionDiscovery::Pending {
            engine
                .watches
                .spawn(watch::budgets(engine.client.clone(), engine.sender.clone()));
            let client = engine.client.clone();
            engine.start(async move { EngineInput::Discovered(discover(&client).await) });
        }
        engine
    }

    /// Returns the state of the drain.
    #[must_use]
    pub fn state(&self) -> &DrainState {
        &self.state
    }

    /// Returns the next event, `None` when the drain has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<DrainEvent> {
        loop {
            if let Some(event) = self.state.next_event() {
                return Some(event);
            }
            let wake = self.advance();
            if let Some(event) = self.state.next_event() {
                return Some(event);
            }
            if self.running.is_empty()
                && self.state.nodes().iter().all(|node| node.outcome.is_some())
            {
                return None;
            }
            let clock = self.clock.clone();
            let sleep = async move {
                match wake {
                    Some(wake) => clock.sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(input) = self.running.next() => self.handle(input),
                Some(input) = self.inputs.recv() => self.handle(input),
                () = sleep => {}
            }
            // Inputs that arrived together lead to one decision: a budget may free for several
            // pods.
            for _ in 0..MAX_INPUTS {
                let Ok(input) = self.inputs.try_recv() else {
                    break;
                };
                self.handle(input);
            }
        }
    }

    /// Ends the drain early: aborts requests in flight and scales workloads back. Accepted
    /// evictions continue. Returns warnings.
    pub async fn stop(&mut self) -> Vec<String> {
        // Aborts the waiting only: the server may carry the requests out all the same.
        self.running.clear();
        let mut warnings = Vec::new();
        let options = self.state.options();
        // A dry run raised nothing; what is raised belongs to another drain.
        if !options.surge || options.dry_run {
            return warnings;
        }
        // Workloads may still be scaled up for nodes whose drain has ended already.
        for node in self
            .state
            .nodes()
            .iter()
            .filter(|node| node.since.is_some())
        {
            let (surges, unseen) = surge::raised_for(&self.client, &node.name).await;
            warnings.extend(unseen);
            for surge in surges {
                warnings.extend(surge::lower(&self.client, &surge).await.err());
            }
        }
        warnings
    }

    fn start(&mut self, request: impl Future<Output = EngineInput> + Send + 'static) {
        self.running.push(request.boxed());
    }

    /// Sends the requests that are due. Returns the time of the next decision without an input.
    fn advance(&mut self) -> Option<Timestamp> {
        // A replacement could otherwise land on the node that is drained next.
        if self.discovery == EvictionDiscovery::Pending || !self.cordoning.is_empty() {
            return None;
        }
        self.finish_nodes();
        while self.active.len() < self.parallel {
            let Some(node) = self.waiting.pop_front() else {
                break;
            };
            self.active.insert(node.clone());
            let (client, selection, now) = (
                self.client.clone(),
                self.selection.clone(),
                self.clock.now(),
            );
            self.start(async move {
                let filtered = selection.of_node(&client, &node, now).await;
                EngineInput::Listed(node, filtered)
            });
        }
        let (actions, wake) = self.state.decide(self.clock.now());
        for action in actions {
            self.act(action);
        }
        let ended = |name: &String| {
            self.state
                .nodes()
                .iter()
                .any(|node| node.name == *name && node.outcome.is_some())
        };
        if self.active.iter().any(ended) {
            // The next node begins now, not at the next input.
            return Some(self.clock.now());
        }
        wake
    }

    /// Removes nodes whose drain has ended from the active ones, and looks for workloads that are
    /// still scaled up for them.
    fn finish_nodes(&mut self) {
        let ended = |name: &&String| {
            self.state
                .nodes()
                .iter()
                .any(|node| node.name == **name && node.outcome.is_some())
        };
        for name in self
            .active
            .iter()
            .filter(ended)
            .cloned()
            .collect::<Vec<_>>()
        {
            self.active.remove(&name);
            if self.state.options().surge && !self.state.options().dry_run {
                let client = self.client.clone();
                self.start(async move {
                    let (surges, unseen) = surge::raised_for(&client, &name).await;
                    EngineInput::StillSurged(surges, unseen)
                });
            }
        }
    }

    fn act(&mut self, action: DrainAction) {
        let client = self.client.clone();
        let options = self.state.options();
        let request = EvictionOptions {
            grace_seconds: options.grace_seconds,
            dry_run: options.dry_run,
            beta: self.discovery == EvictionDiscovery::Found(EvictionApi::V1Beta1),
        };
        match action {
            DrainAction::Evict(target) => self.start(async move {
                let answer = evict::evict(&client, &target, request).await;
                EngineInput::Responded(target, answer)
            }),
            DrainAction::Delete(target) => self.start(async move {
                let answer = evict::delete(&client, &target, request).await;
                EngineInput::Responded(target, answer)
            }),
            DrainAction::Check(target) => self.start(async move {
                let found = Api::<Pod>::namespaced(client, &segment(&target.namespace))
                    .get_opt(&segment(&target.name))
                    .await;
                EngineInput::Checked(target, found.map(|pod| pod.map(Box::new)))
            }),
            DrainAction::Surge(pod, node) => self.start(async move {
                let surged = surge::raise(&client, &pod, &node).await;
                EngineInput::Surged(PodRef::of(&pod), surged)
            }),
            DrainAction::Restore(surge) => self.start(async move {
                let restored = surge::restore(&client, &surge).await;
                EngineInput::Restored(surge, restored)
            }),
        }
    }

    fn handle(&mut self, input: EngineInput) {
        let now = self.clock.now();
        match input {
            EngineInput::Discovered(found) => self.discovered(found, now),
            EngineInput::Cordoned(node, change) => self.cordoned(node, change, now),
            EngineInput::Listed(node, filtered) => self.listed(&node, filtered, now),
            EngineInput::PodObserved(pod) => self.state.pod_observed(*pod, now),
            EngineInput::PodDeleted(uid) => self.state.pod_deleted(&uid, now),
            EngineInput::PodsListed(node, uids) => self.state.pods_listed(&node, &uids, now),
            EngineInput::PodWatch(why) => {
                self.state.set_pods_unwatched(why.is_some());
                self.report_watch("pods", "each terminating pod is read every 2 s", why);
            }
            EngineInput::NodeObserved(name, node) => {
                self.state.node_observed(&name, node.map(|node| *node))
            }
            EngineInput::BudgetObserved(budget) => self.state.budget_observed(*budget),
            EngineInput::BudgetDeleted(budget) => self.state.budget_deleted(&budget),
            EngineInput::BudgetWatch(why) => {
                self.state.set_budgets_unwatched(why.is_some());
                self.report_watch("budgets", "refused evictions are retried every 5 s", why);
            }
            EngineInput::Responded(target, answer) => {
                self.state.responded(&target.uid, answer, now)
            }
            EngineInput::Checked(target, Ok(Some(pod)))
                if pod.metadata.uid.as_deref() == Some(&target.uid) =>
            {
                self.state.pod_observed(*pod, now)
            }
            EngineInput::Checked(target, Ok(_)) => self.state.pod_deleted(&target.uid, now),
            EngineInput::Checked(target, Err(error)) => {
                self.state.check_failed(&target.uid, &error, now)
            }
            EngineInput::Surged(target, surged) => self.state.surged(&target.uid, surged, now),
            EngineInput::Restored(_, Ok(false)) => {}
            EngineInput::Restored(surge, Ok(true)) => self.state.emit(DrainEvent::Restored {
                workload: surge.describe(),
            }),
            EngineInput::Restored(_, Err(message)) => {
                self.state.emit(DrainEvent::Warning { message })
            }
            EngineInput::StillSurged(surges, unseen) => {
                unseen
                    .into_iter()
                    .for_each(|message| self.state.emit(DrainEvent::Warning { message }));
                surges
                    .into_iter()
                    .for_each(|surge| self.act(DrainAction::Restore(surge)));
            }
        }
    }

    fn report_watch(&mut self, what: &'static str, instead: &str, why: Option<String>) {
        if let Some(why) = why.filter(|_| self.reported_watches.insert(what)) {
            self.state.emit(DrainEvent::Warning {
                message: format!("cannot watch {what}, so {instead}: {why}"),
            });
        }
    }

    fn discovered(&mut self, found: Result<EvictionApi, String>, now: Timestamp) {
        match found {
            Ok(api) => self.discovery = EvictionDiscovery::Found(api),
            Err(why) => {
                self.discovery = EvictionDiscovery::Failed;
                self.waiting.clear();
                let names: Vec<String> = self
                    .state
                    .nodes()
                    .iter()
                    .map(|node| node.name.clone())
                    .collect();
                names
                    .iter()
                    .for_each(|name| self.state.fail(name, vec![why.clone()], now));
            }
        }
    }

    fn cordoned(
        &mut self,
        node: String,
        change: Result<cordon::CordonChange, kube::Error>,
        now: Timestamp,
    ) {
        self.cordoning.remove(&node);
        match change {
            Ok(change) => self.state.emit(DrainEvent::Cordoned { node, change }),
            Err(error) => {
                // On a node that stays schedulable, replacements would come back to it.
                self.waiting.retain(|name| *name != node);
                self.state.fail(
                    &node,
                    vec![format!(
                        "unable to cordon node {node:?}: {}",
                        evict::message_of(&error)
                    )],
                    now,
                );
            }
        }
    }

    fn listed(&mut self, node: &str, filtered: Result<FilteredPods, kube::Error>, now: Timestamp) {
        let filtered = match filtered {
            Ok(filtered) => filtered,
            Err(error) => {
                return self.state.fail(
                    node,
                    vec![format!(
                        "cannot list the pods of {node}: {}",
                        evict::message_of(&error)
                    )],
                    now,
                );
            }
        };
        let errors = filtered.errors();
        if !errors.is_empty() {
            return self.state.fail(node, errors, now);
        }
        if let Some(message) = filtered.warning() {
            self.state.emit(DrainEvent::Warning { message });
        }
        if !filtered.evict.is_empty() && !self.state.options().dry_run {
            let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
            self.watches.spawn(watch::pods(
                self.client.clone(),
                None,
                config,
                node.to_owned(),
                self.sender.clone(),
            ));
            self.watches.spawn(watch::node(
                self.client.clone(),
                node.to_owned(),
                self.sender.clone(),
            ));
        }
        self.state.start(node, filtered.evict, now);
    }

    fn watch_namespace(&mut self, group: &str, pods: &[Pod]) {
        let namespace = group.trim_start_matches(GROUP_PREFIX);
        let config = match pods {
            [pod] => {
                watcher::Config::default().fields(&format!("metadata.name={}", pods::name(pod)))
            }
            _ => watcher::Config::default(),
        };
        self.watches.spawn(watch::pods(
            self.client.clone(),
            Some(namespace.to_owned()),
            config,
            group.to_owned(),
            self.sender.clone(),
        ));
    }
}

/// Reads the version of the eviction API from the discovery document of the core API.
async fn discover(client: &Client) -> Result<EvictionApi, String> {
    let list = match client.list_core_api_resources("v1").await {
        Ok(list) => list,
        // Users may lack the right to read it. Supported servers serve policy/v1, and an older one
        // answers the first eviction with an error.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(EvictionApi::V1),
        Err(error) => {
            return Err(format!(
                "cannot discover the eviction API: {}",
                evict::message_of(&error)
            ));
        }
    };
    let found = list
        .resources
        .iter()
        .find(|resource| resource.name == "pods/eviction" && resource.kind == "Eviction");
    match found {
        Some(found)
            if (found.group.as_deref(), found.version.as_deref())
                == (Some("policy"), Some("v1")) =>
        {
            Ok(EvictionApi::V1)
        }
        // Servers before 1.22 have the resource, with the older version or with none.
        Some(_) => Ok(EvictionApi::V1Beta1),
        // kubectl silently deletes the pods in this case, which ignores all budgets.
        None => Err(
            "the server does not serve the eviction API; --disable-eviction deletes the pods and ignores budgets"
                .to_owned(),
        ),
    }
}
