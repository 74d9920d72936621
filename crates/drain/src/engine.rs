//! Carries a drain out: makes the requests that the [`Board`] decides on, and feeds it with what
//! comes back. There is no decision here beside the order of the steps of a command.
//!
//! All nodes are cordoned before the first is drained, as kubectl does; then up to `parallel` of
//! them are drained side by side. [`Engine::next`] gives one event after the other and may be
//! dropped at any time: nothing is lost, and nothing happens while nobody asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use clock::Clock;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::board::{Action, Board, Policy};
use crate::event::Event;
use crate::evict::{self, Form, Target};
use crate::survey::Survey;
use crate::watch::{self, Fact};
use crate::{cordon, health, surge};

/// A pseudo node's name begins so: pods that were named one by one, by namespace.
const NAMESPACE: &str = "namespace/";

/// Drains nodes, or evicts pods.
pub struct Engine {
    client: Client,
    clock: Clock,
    board: Board,
    survey: Survey,
    parallel: usize,
    beta: bool,
    /// Nodes whose cordon is not answered.
    cordoning: BTreeSet<String>,
    /// Nodes that wait for their turn.
    waiting: VecDeque<String>,
    /// Nodes whose turn it is.
    active: BTreeSet<String>,
    told_blind: BTreeSet<&'static str>,
    running: FuturesUnordered<BoxFuture<'static, Fact>>,
    facts: UnboundedReceiver<Fact>,
    sender: UnboundedSender<Fact>,
    watches: JoinSet<()>,
}

impl Engine {
    /// A drain of these nodes, `parallel` of them at the same time.
    #[must_use]
    pub fn drain(
        client: Client,
        clock: Clock,
        policy: Policy,
        survey: Survey,
        nodes: Vec<Node>,
        parallel: usize,
    ) -> Self {
        let names: Vec<String> = nodes.iter().map(ResourceExt::name_any).collect();
        let mut engine = Self::new(client, clock, policy, survey, names.clone(), parallel);
        engine.cordoning = names.iter().cloned().collect();
        engine.waiting = names.into();
        let dry_run = engine.board.policy().dry_run;
        for node in nodes {
            let client = engine.client.clone();
            engine.start(async move {
                let change = cordon::set(&client, &node, true, dry_run).await;
                Fact::Cordoned(node.name_any(), change)
            });
        }
        engine
    }

    /// The eviction of these pods, whatever their nodes.
    #[must_use]
    pub fn evict(client: Client, clock: Clock, policy: Policy, pods: Vec<Pod>) -> Self {
        let mut groups: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for pod in pods {
            groups
                .entry(format!("{NAMESPACE}{}", health::namespace(&pod)))
                .or_default()
                .push(pod);
        }
        let parallel = groups.len();
        let mut engine = Self::new(
            client,
            clock,
            policy,
            Survey::default(),
            groups.keys().cloned().collect(),
            parallel,
        );
        let now = engine.clock.now();
        for (group, pods) in groups {
            engine.watch_namespace(&group, &pods);
            engine.active.insert(group.clone());
            engine.board.start(&group, pods, now);
        }
        engine
    }

    fn new(
        client: Client,
        clock: Clock,
        policy: Policy,
        survey: Survey,
        names: Vec<String>,
        parallel: usize,
    ) -> Self {
        let (sender, facts) = unbounded_channel();
        let delete = policy.delete;
        let mut engine = Self {
            board: Board::new(policy, names),
            client,
            clock,
            survey,
            parallel: parallel.max(1),
            beta: false,
            cordoning: BTreeSet::new(),
            waiting: VecDeque::new(),
            active: BTreeSet::new(),
            told_blind: BTreeSet::new(),
            running: FuturesUnordered::new(),
            facts,
            sender,
            watches: JoinSet::new(),
        };
        if !delete {
            engine
                .watches
                .spawn(watch::budgets(engine.client.clone(), engine.sender.clone()));
            let client = engine.client.clone();
            // Nothing is asked for before this is known: see `advance`.
            engine.cordoning.insert(String::new());
            engine.start(async move { Fact::Api(discover(&client).await) });
        }
        engine
    }

    /// The state of everything.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The next event; none when all is over. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.board.event() {
                return Some(event);
            }
            let wake = self.advance();
            if let Some(event) = self.board.event() {
                return Some(event);
            }
            if self.running.is_empty()
                && self.board.nodes().iter().all(|node| node.outcome.is_some())
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
                Some(fact) = self.running.next() => self.learn(fact),
                Some(fact) = self.facts.recv() => self.learn(fact),
                () = sleep => {}
            }
            // What has come at the same time is looked at together.
            while let Ok(fact) = self.facts.try_recv() {
                self.learn(fact);
            }
        }
    }

    /// Ends early and leaves nothing behind but what was accepted: scales workloads back.
    pub async fn stop(&mut self) -> Vec<String> {
        self.running.clear();
        let mut faults = Vec::new();
        if !self.board.policy().surge {
            return faults;
        }
        // A node whose drain has ended may still be waited for by what is to be scaled back.
        for node in self
            .board
            .nodes()
            .iter()
            .filter(|node| node.since.is_some())
        {
            let (surges, unseen) = surge::raised_for(&self.client, &node.name).await;
            faults.extend(unseen);
            for surge in surges {
                faults.extend(surge::lower(&self.client, &surge).await.err());
            }
        }
        faults
    }

    fn start(&mut self, request: impl Future<Output = Fact> + Send + 'static) {
        self.running.push(request.boxed());
    }

    /// Does what is due; gives the time when something can happen by itself.
    fn advance(&mut self) -> Option<Timestamp> {
        if !self.cordoning.is_empty() {
            return None;
        }
        self.finish_nodes();
        while self.active.len() < self.parallel {
            let Some(node) = self.waiting.pop_front() else {
                break;
            };
            self.active.insert(node.clone());
            let (client, survey, now) =
                (self.client.clone(), self.survey.clone(), self.clock.now());
            self.start(async move {
                let sorted = survey.of_node(&client, &node, now).await;
                Fact::Surveyed(node, sorted)
            });
        }
        let (actions, wake) = self.board.decide(self.clock.now());
        for action in actions {
            self.act(action);
        }
        let ended = |name: &String| {
            self.board
                .nodes()
                .iter()
                .any(|node| node.name == *name && node.outcome.is_some())
        };
        if self.active.iter().any(ended) {
            // The next node's turn comes now, and not at the next fact.
            return Some(self.clock.now());
        }
        wake
    }

    /// Takes nodes that have ended out of their turn.
    fn finish_nodes(&mut self) {
        let ended = |name: &&String| {
            self.board
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
            if self.board.policy().surge && !self.board.policy().dry_run {
                let client = self.client.clone();
                self.start(async move {
                    let (surges, unseen) = surge::raised_for(&client, &name).await;
                    Fact::Leftovers(surges, unseen)
                });
            }
        }
    }

    fn act(&mut self, action: Action) {
        let client = self.client.clone();
        let policy = self.board.policy();
        let form = Form {
            grace_seconds: policy.grace_seconds,
            dry_run: policy.dry_run,
            beta: self.beta,
        };
        match action {
            Action::Evict(target) => self.start(async move {
                let answer = evict::evict(&client, &target, form).await;
                Fact::Answered(target, answer)
            }),
            Action::Delete(target) => self.start(async move {
                let answer = evict::delete(&client, &target, form).await;
                Fact::Answered(target, answer)
            }),
            Action::Look(target) => self.start(async move {
                let found = Api::<Pod>::namespaced(client, &target.namespace)
                    .get_opt(&target.name)
                    .await;
                Fact::Looked(target, found.map(|pod| pod.map(Box::new)))
            }),
            Action::Surge(pod, node) => self.start(async move {
                let surged = surge::raise(&client, &pod, &node).await;
                Fact::Surged(Target::of(&pod), surged)
            }),
            Action::Restore(surge) => self.start(async move {
                let restored = surge::restore(&client, &surge).await;
                Fact::Restored(surge, restored)
            }),
        }
    }

    fn learn(&mut self, fact: Fact) {
        let now = self.clock.now();
        match fact {
            Fact::Api(found) => self.discovered(found, now),
            Fact::Cordoned(node, change) => self.cordoned(node, change, now),
            Fact::Surveyed(node, sorted) => self.surveyed(&node, sorted, now),
            Fact::PodSeen(pod) => self.board.pod_seen(*pod, now),
            Fact::PodGone(uid) => self.board.pod_gone(&uid, now),
            Fact::PodsListed(node, uids) => self.board.pods_listed(&node, &uids, now),
            Fact::PodsBlind(why) => {
                self.board.pods_blind(why.is_some());
                self.tell_blind("pods", "each pod is looked at every 2 s", why);
            }
            Fact::NodeSeen(name, node) => self.board.node_seen(&name, node.map(|node| *node)),
            Fact::BudgetSeen(budget) => self.board.budget_seen(*budget),
            Fact::BudgetGone(budget) => self.board.budget_gone(&budget),
            Fact::BudgetsBlind(why) => {
                self.board.budgets_blind(why.is_some());
                self.tell_blind(
                    "budgets",
                    "refused evictions are tried again every 5 s",
                    why,
                );
            }
            Fact::Answered(target, answer) => self.board.answered(&target.uid, answer, now),
            Fact::Looked(target, Ok(Some(pod)))
                if pod.metadata.uid.as_deref() == Some(&target.uid) =>
            {
                self.board.pod_seen(*pod, now)
            }
            Fact::Looked(target, Ok(_)) => self.board.pod_gone(&target.uid, now),
            Fact::Looked(target, Err(error)) => self.board.cannot_look(&target.uid, &error, now),
            Fact::Surged(target, surged) => self.board.surged(&target.uid, surged, now),
            Fact::Restored(_, Ok(false)) => {}
            Fact::Restored(surge, Ok(true)) => self.board.tell(Event::Restored {
                workload: surge.told(),
            }),
            Fact::Restored(_, Err(message)) => self.board.tell(Event::Warning { message }),
            Fact::Leftovers(surges, unseen) => {
                unseen
                    .into_iter()
                    .for_each(|message| self.board.tell(Event::Warning { message }));
                surges
                    .into_iter()
                    .for_each(|surge| self.act(Action::Restore(surge)));
            }
        }
    }

    fn tell_blind(&mut self, what: &'static str, instead: &str, why: Option<String>) {
        if let Some(why) = why.filter(|_| self.told_blind.insert(what)) {
            self.board.tell(Event::Warning {
                message: format!("{what} cannot be watched, so {instead}: {why}"),
            });
        }
    }

    fn discovered(&mut self, found: Result<bool, String>, now: Timestamp) {
        self.cordoning.remove("");
        match found {
            Ok(beta) => self.beta = beta,
            Err(why) => {
                self.waiting.clear();
                let names: Vec<String> = self
                    .board
                    .nodes()
                    .iter()
                    .map(|node| node.name.clone())
                    .collect();
                names
                    .iter()
                    .for_each(|name| self.board.fail(name, vec![why.clone()], now));
            }
        }
    }

    fn cordoned(
        &mut self,
        node: String,
        change: Result<cordon::Change, kube::Error>,
        now: Timestamp,
    ) {
        self.cordoning.remove(&node);
        match change {
            Ok(change) => self.board.tell(Event::Cordoned { node, change }),
            Err(error) => {
                // Its pods would come back to it.
                self.waiting.retain(|name| *name != node);
                self.board.fail(
                    &node,
                    vec![format!(
                        "unable to cordon node {node:?}: {}",
                        evict::words(&error)
                    )],
                    now,
                );
            }
        }
    }

    fn surveyed(
        &mut self,
        node: &str,
        sorted: Result<crate::filter::Sorted, kube::Error>,
        now: Timestamp,
    ) {
        let sorted = match sorted {
            Ok(sorted) => sorted,
            Err(error) => {
                return self.board.fail(
                    node,
                    vec![format!(
                        "cannot list the pods of {node}: {}",
                        evict::words(&error)
                    )],
                    now,
                );
            }
        };
        let errors = sorted.errors();
        if !errors.is_empty() {
            return self.board.fail(node, errors, now);
        }
        if let Some(message) = sorted.warning() {
            self.board.tell(Event::Warning { message });
        }
        if !sorted.go.is_empty() && !self.board.policy().dry_run {
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
        self.board.start(node, sorted.go, now);
    }

    fn watch_namespace(&mut self, group: &str, pods: &[Pod]) {
        let namespace = group.trim_start_matches(NAMESPACE);
        let config = match pods {
            [pod] => {
                watcher::Config::default().fields(&format!("metadata.name={}", health::name(pod)))
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

/// Whether the server takes evictions in `policy/v1beta1` only.
async fn discover(client: &Client) -> Result<bool, String> {
    let list = match client.list_core_api_resources("v1").await {
        Ok(list) => list,
        // Every server of today knows it, and will say so if this one does not.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(false),
        Err(error) => {
            return Err(format!(
                "cannot ask what the server can do: {}",
                evict::words(&error)
            ));
        }
    };
    let found = list
        .resources
        .iter()
        .find(|resource| resource.name == "pods/eviction" && resource.kind == "Eviction");
    match found {
        Some(found) => Ok((found.group.as_deref(), found.version.as_deref()) != (Some("policy"), Some("v1"))),
        // kubectl deletes then, without a word and past all budgets.
        None => Err("the server has no Eviction API, so budgets would not be asked; --disable-eviction deletes the pods".to_owned()),
    }
}
