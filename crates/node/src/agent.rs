//! The loop that drives the pod workers of all nodes of an agent.
//!
//! One task owns all pods, so nothing is locked. Whatever happens (a watch event, the response to a
//! request, a report of the runtime, a time that is due), the worker of the pod is synced once
//! ([`sync`]): `pod/phase.rs` decides, its requests go to the runtime, and at most one request per
//! pod goes to the API. While that request is in flight the pod may be synced again, but the status
//! to publish is computed again when the response arrives, so there is never a queue of states.
//!
//! An idle pod costs its entry here and nothing else: no task, and no timer of its own.

mod requests;
mod sync;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, Entropy};
use events::EventRecorder;
use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::requests::RequestOutcome;
use self::sync::{PodWorker, RequestState};
use crate::addresses::{NodeSubnet, PodIpPool};
use crate::backoff::RequestBackoff;
use crate::options::NodeOptions;
use crate::pace::paced;
use crate::pod::desired::DesiredPod;
use crate::pod::events::record;
use crate::pod::phase::{PodEvent, WorkerState, render};
use crate::runtime::Runtime;
use crate::wire::status::{self, PodStatus};
use crate::wire::view::PodView;

/// Drives the pods of some nodes.
pub(crate) struct Agent<R> {
    client: Client,
    clock: Clock,
    entropy: Entropy,
    runtime: R,
    recorder: EventRecorder,
    nodes: HashMap<Arc<str>, PodIpPool>,
    workers: HashMap<Arc<str>, PodWorker>,
    /// When to sync which pod even if nothing happens. Holds each pod at most once.
    due: BTreeSet<(Timestamp, Arc<str>)>,
    requests: JoinSet<RequestOutcome>,
    /// The pods that wait for a free request.
    waiting: VecDeque<Arc<str>>,
    /// The number of the list of pods that the watch has begun last.
    list: u64,
}

impl<R: Runtime> Agent<R> {
    pub(crate) fn new(
        client: Client,
        clock: Clock,
        entropy: Entropy,
        options: &NodeOptions,
        runtime: R,
        recorder: EventRecorder,
    ) -> Self {
        let node = |(index, name): (usize, &String)| {
            let subnet = NodeSubnet::of(options.first_index + index);
            (name.as_str().into(), PodIpPool::new(subnet))
        };
        Self {
            client,
            clock,
            entropy,
            runtime,
            recorder,
            nodes: options.names.iter().enumerate().map(node).collect(),
            workers: HashMap::new(),
            due: BTreeSet::new(),
            requests: JoinSet::new(),
            waiting: VecDeque::new(),
            list: 0,
        }
    }

    /// Drives the pods until shutdown, and leaves them as they are then.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let selector = match self.nodes.keys().next() {
            Some(only) if self.nodes.len() == 1 => format!("spec.nodeName={only}"),
            // One watch for all nodes. Pods that are not bound yet concern no agent.
            _ => "spec.nodeName!=".to_owned(),
        };
        let config = watcher::Config::default().fields(&selector);
        let watched = Api::<PodView>::all(paced(self.client.clone()));
        let events = watch(watched, config).backoff(RequestBackoff::new(self.entropy.clone()));
        let mut events = std::pin::pin!(events);
        let mut changes = self.runtime.changes();
        loop {
            let next_due = self.due.first().map(|(at, _)| *at);
            tokio::select! {
                // Responses and due pods come before watch events, so that a burst of events does
                // not delay them.
                biased;
                () = shutdown.cancelled() => return,
                Some(outcome) = self.requests.join_next() => self.finish_request(outcome),
                Some(uid) = receive(&mut changes) => self.sync(&uid),
                () = sleep_until(&self.clock, next_due) => self.sync_due(),
                event = events.next() => match event {
                    Some(Ok(event)) => self.handle_event(event),
                    Some(Err(error)) => tracing::warn!(%error, "watch of pods interrupted"),
                    None => return,
                },
            }
        }
    }

    fn handle_event(&mut self, event: Event<PodView>) {
        match event {
            Event::Init => self.list += 1,
            Event::InitApply(pod) | Event::Apply(pod) => {
                let uid: Arc<str> = pod.uid().into();
                if self.update(&uid, &pod) {
                    self.sync(&uid);
                }
            }
            Event::Delete(pod) => self.object_gone(pod.uid()),
            Event::InitDone => {
                // Pods that were deleted while the watch was interrupted are missing from the list.
                let list = self.list;
                let missing = self
                    .workers
                    .iter()
                    .filter(|(_, worker)| worker.list != list)
                    .map(|(uid, _)| uid.clone());
                let mut missing: Vec<Arc<str>> = missing.collect();
                // In a fixed order, because the map's order is random.
                missing.sort_unstable();
                missing.iter().for_each(|uid| self.object_gone(uid));
            }
        }
    }

    /// Stores a state of a pod. Returns false when the pod belongs to no node of this agent, and
    /// when a newer state is known.
    fn update(&mut self, uid: &Arc<str>, view: &PodView) -> bool {
        let now = self.clock.now();
        let revision = view
            .metadata
            .resource_version
            .as_deref()
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        let desired = DesiredPod::from_view(view);
        let annotations = status::fingerprint(&view.metadata.annotations);
        let published = view.status.clone().owned();
        let fingerprint = status::fingerprint(&published);
        if let Some(worker) = self.workers.get_mut(uid) {
            worker.list = self.list;
            // Responses and watch events arrive in any order.
            if revision < worker.revision {
                return false;
            }
            if worker.published != fingerprint {
                worker.rejected = None;
            }
            let changed = worker.annotations != annotations
                || worker.desired.generation != desired.generation
                || worker.desired.containers.len() != desired.containers.len();
            worker.revision = revision;
            worker.published = fingerprint;
            worker.desired = desired;
            worker.annotations = annotations;
            if worker.request != RequestState::InFlight {
                // Another writer may have changed a condition of the node. The node changes it
                // back, and this is a transition.
                worker.state.transitions = render::transitions(&published);
            }
            if changed {
                self.update_runtime(uid, view, now);
            }
            return true;
        }
        let Some((node, pool)) = self.nodes.get_key_value(view.spec.node_name.as_str()) else {
            return false;
        };
        if uid.is_empty() {
            return false;
        }
        let (node, host_ip) = (node.clone(), pool.subnet().node_ip());
        let ip = self.pod_ip(&node, &desired, &published);
        let state = WorkerState::resume(&desired, &published, host_ip, ip, now);
        let worker = PodWorker {
            desired,
            state,
            node,
            published: fingerprint,
            rejected: None,
            annotations,
            revision,
            list: self.list,
            due: None,
            request: RequestState::None,
            failures: 0,
            retry_at: None,
        };
        self.workers.insert(uid.clone(), worker);
        self.update_runtime(uid, view, now);
        if published.start_time.is_some() {
            self.runtime.restore(view, now);
        }
        true
    }

    fn update_runtime(&mut self, uid: &Arc<str>, view: &PodView, now: Timestamp) {
        let Some(worker) = self.workers.get(uid) else {
            return;
        };
        for message in self.runtime.update(view, now) {
            let event = PodEvent {
                container: None,
                warning: true,
                reason: "InvalidSimulation",
                message,
            };
            record(&self.recorder, &worker.desired, &worker.node, event);
        }
    }

    /// Returns the published address of the pod, or a new one.
    fn pod_ip(
        &mut self,
        node: &Arc<str>,
        desired: &DesiredPod,
        published: &PodStatus,
    ) -> Option<Ipv4Addr> {
        let pool = self.nodes.get_mut(node)?;
        if desired.host_network {
            return None;
        }
        if let Ok(ip) = published.pod_ip.parse() {
            pool.reserve(ip);
            return Some(ip);
        }
        if desired.phase.is_terminal() {
            None
        } else {
            pool.allocate()
        }
    }

    /// Notes that the pod's object is gone from the API. Its containers are stopped all the same.
    fn object_gone(&mut self, uid: &str) {
        if let Some(worker) = self.workers.get_mut(uid) {
            worker.desired.gone = true;
            self.sync(uid);
        }
    }
}

async fn receive(changes: &mut Option<mpsc::Receiver<Arc<str>>>) -> Option<Arc<str>> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(clock: &Clock, at: Option<Timestamp>) {
    match at {
        // Without the minimum, a rounded duration could end just before `at`, and nothing would be
        // due yet.
        Some(at) => tokio::time::sleep(clock.until(at).max(Duration::from_nanos(1))).await,
        None => std::future::pending().await,
    }
}
