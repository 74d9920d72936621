//! The loop that drives all pods of all nodes of an agent.
//!
//! One task owns all pods; nothing is locked. Whatever happens (the API shows a new state, a call
//! has come back, the runtime names a pod, a moment is due), the pod is looked at once: its life is
//! advanced by `pod/phase.rs`, orders go to the runtime, and at most one call per pod goes to the
//! API. While a call is under way the pod may be looked at again, but what the API should show is
//! computed afresh when the call is back, so there is never a queue of states.
//!
//! An idle pod costs its entry here and nothing else: no task, no timer of its own.

mod calls;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, Entropy};
use events::EventRecorder;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::calls::Finished;
use crate::backoff::Pauses;
use crate::options::{Addresses, NodeOptions, Range};
use crate::pod::desired::Desired;
use crate::pod::events::record;
use crate::pod::phase::{self, End, Life, Note};
use crate::pod::status::{self, PodStatus};
use crate::pod::view::PodView;
use crate::runtime::Runtime;

/// Calls for pods that are under way at the same time.
const CONCURRENT: usize = 64;
/// Orders lead to new orders only this often in one look; more would be a circle.
const MOST_STEPS: usize = 64;
/// A failed call is repeated at the latest after this time.
const LONGEST_PAUSE_SECONDS: i64 = 10;

/// Drives the pods of some nodes.
pub(crate) struct Agent<R> {
    client: Client,
    clock: Clock,
    entropy: Entropy,
    runtime: R,
    recorder: EventRecorder,
    nodes: HashMap<Arc<str>, Addresses>,
    pods: HashMap<Arc<str>, Pod>,
    /// When to look at which pod although nothing happened.
    due: BTreeSet<(Timestamp, Arc<str>)>,
    calls: JoinSet<Finished>,
    /// Pods that wait until a call may be made.
    waiting: VecDeque<Arc<str>>,
    /// Number of the list of pods that is being read.
    round: u64,
}

/// One pod.
struct Pod {
    desired: Desired,
    life: Life,
    node: Arc<str>,
    /// Fingerprint of the status that the API shows.
    shown: u64,
    /// Fingerprint of a status that the API does not take as it is sent.
    refused: Option<u64>,
    /// Fingerprint of what the runtime reads of the pod besides its specification.
    annotations: u64,
    /// Revision of the newest state that was seen; 0 when the server's are no numbers.
    revision: u64,
    /// In which list of pods it was last seen.
    round: u64,
    due: Option<Timestamp>,
    call: Call,
    failures: u8,
    retry_at: Option<Timestamp>,
}

/// Whether a call for a pod is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    None,
    Waiting,
    UnderWay,
    /// The API was asked to remove the pod, and agreed.
    Removed,
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
        let number = |(index, name): (usize, &String)| {
            (
                name.as_str().into(),
                Addresses::new(Range::of(options.first_index + index)),
            )
        };
        Self {
            client,
            clock,
            entropy,
            runtime,
            recorder,
            nodes: options.names.iter().enumerate().map(number).collect(),
            pods: HashMap::new(),
            due: BTreeSet::new(),
            calls: JoinSet::new(),
            waiting: VecDeque::new(),
            round: 0,
        }
    }

    /// Drives the pods until shutdown. The pods are left as they are.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let selector = match self.nodes.keys().next() {
            Some(only) if self.nodes.len() == 1 => format!("spec.nodeName={only}"),
            // Pods that no node has yet are nobody's business here.
            _ => "spec.nodeName!=".to_owned(),
        };
        let config = watcher::Config::default().fields(&selector);
        let events = watch(Api::<PodView>::all(self.client.clone()), config)
            .backoff(Pauses::new(self.entropy.clone()));
        let mut events = std::pin::pin!(events);
        let mut changes = self.runtime.changes();
        loop {
            let next_due = self.due.first().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(finished) = self.calls.join_next() => self.finish(finished),
                Some(uid) = receive(&mut changes) => self.look(&uid),
                () = sleep_until(&self.clock, next_due) => self.look_at_due(),
                event = events.next() => match event {
                    Some(Ok(event)) => self.take_event(event),
                    Some(Err(error)) => tracing::warn!(%error, "the watch of pods was interrupted"),
                    None => return,
                },
            }
        }
    }

    fn take_event(&mut self, event: Event<PodView>) {
        match event {
            Event::Init => self.round += 1,
            Event::InitApply(pod) | Event::Apply(pod) => self.take(&pod),
            Event::Delete(pod) => self.lose(pod.uid()),
            Event::InitDone => {
                let round = self.round;
                let missing = self
                    .pods
                    .iter()
                    .filter(|(_, pod)| pod.round != round)
                    .map(|(uid, _)| uid.clone());
                let mut missing: Vec<Arc<str>> = missing.collect();
                missing.sort_unstable();
                missing.iter().for_each(|uid| self.lose(uid));
            }
        }
    }

    /// Takes the newest state of a pod.
    fn take(&mut self, view: &PodView) {
        let uid: Arc<str> = view.uid().into();
        if self.absorb(&uid, view) {
            self.look(&uid);
        }
    }

    /// Keeps what the API shows of a pod; false when it is nobody's here or older than what is
    /// known.
    fn absorb(&mut self, uid: &Arc<str>, view: &PodView) -> bool {
        let now = self.clock.now();
        let revision = view
            .metadata
            .resource_version
            .as_deref()
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        let desired = Desired::from_view(view);
        let annotations = status::fingerprint(&view.metadata.annotations);
        let shown = view.status.clone().owned();
        let fingerprint = status::fingerprint(&shown);
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.round = self.round;
            if revision < pod.revision {
                return false;
            }
            if pod.shown != fingerprint {
                pod.refused = None;
            }
            let changed = pod.annotations != annotations
                || pod.desired.generation != desired.generation
                || pod.desired.containers.len() != desired.containers.len();
            (pod.revision, pod.shown, pod.desired, pod.annotations) =
                (revision, fingerprint, desired, annotations);
            if pod.call != Call::UnderWay {
                // Somebody else may have changed one of our conditions; then it changes back now.
                pod.life.transitions = status::render::transitions(&shown);
            }
            if changed {
                self.admit(uid, view, now);
            }
            return true;
        }
        let Some((node, addresses)) = self.nodes.get_key_value(view.spec.node_name.as_str()) else {
            return false;
        };
        if uid.is_empty() {
            return false;
        }
        let (node, host_ip) = (node.clone(), addresses.range().node());
        let ip = self.address_of(&node, &desired, &shown);
        let life = Life::begin(&desired, &shown, host_ip, ip, now);
        let pod = Pod {
            desired,
            life,
            node,
            shown: fingerprint,
            refused: None,
            annotations,
            revision,
            round: self.round,
            due: None,
            call: Call::None,
            failures: 0,
            retry_at: None,
        };
        self.pods.insert(uid.clone(), pod);
        self.admit(uid, view, now);
        if shown.start_time.is_some() {
            self.runtime.adopt(view, now);
        }
        true
    }

    fn admit(&mut self, uid: &Arc<str>, view: &PodView, now: Timestamp) {
        let Some(pod) = self.pods.get(uid) else {
            return;
        };
        for message in self.runtime.admit(view, now) {
            let note = Note {
                container: None,
                warning: true,
                reason: "InvalidSimulation",
                message,
            };
            record(&self.recorder, &pod.desired, &pod.node, note);
        }
    }

    /// The address that the pod has already, or a new one.
    fn address_of(
        &mut self,
        node: &Arc<str>,
        desired: &Desired,
        shown: &PodStatus,
    ) -> Option<Ipv4Addr> {
        let addresses = self.nodes.get_mut(node)?;
        if desired.host_network {
            return None;
        }
        if let Ok(ip) = shown.pod_ip.parse() {
            addresses.adopt(ip);
            return Some(ip);
        }
        if desired.phase.is_terminal() {
            None
        } else {
            addresses.take()
        }
    }

    /// The object is gone from the API.
    fn lose(&mut self, uid: &str) {
        if let Some((uid, pod)) = self.pods.get_key_value(uid) {
            let uid = uid.clone();
            let gone = Desired {
                gone: true,
                ..pod.desired.clone()
            };
            self.pods
                .entry(uid.clone())
                .and_modify(|pod| pod.desired = gone);
            self.look(&uid);
        }
    }

    fn look_at_due(&mut self) {
        let now = self.clock.now();
        while let Some((at, uid)) = self.due.first().cloned() {
            if at > now {
                break;
            }
            self.due.remove(&(at, uid.clone()));
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.due = None;
                self.look(&uid);
            }
        }
    }

    /// Advances a pod as far as it goes now.
    fn look(&mut self, uid: &str) {
        let Some((uid, _)) = self.pods.get_key_value(uid) else {
            return;
        };
        let uid = uid.clone();
        let now = self.clock.now();
        for _ in 0..MOST_STEPS {
            let Some(pod) = self.pods.get_mut(&uid) else {
                return;
            };
            let observed = self.runtime.observe(&uid, now);
            let step = phase::next(pod.life.clone(), &pod.desired, &observed, now);
            pod.life = step.life;
            for note in step.notes {
                record(&self.recorder, &pod.desired, &pod.node, note);
            }
            let quiet = step.orders.is_empty();
            for order in step.orders {
                self.runtime.order(&uid, order, now);
            }
            if quiet {
                return self.settle(&uid, step.status, step.end, step.wake_at, now);
            }
        }
        tracing::error!(
            pod = &*uid,
            "a pod goes round in circles; it is looked at again later"
        );
        self.wake(
            &uid,
            Some(
                now.saturating_add(SignedDuration::from_secs(LONGEST_PAUSE_SECONDS))
                    .unwrap_or(now),
            ),
        );
    }

    /// Makes the call that a pod needs, if any, and notes when to look again.
    fn settle(
        &mut self,
        uid: &Arc<str>,
        status: Option<PodStatus>,
        end: End,
        wake_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        if end == End::Forget {
            return self.forget(uid);
        }
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let retry_at = pod.retry_at.filter(|at| *at > now);
        self.wake(uid, [wake_at, retry_at].into_iter().flatten().min());
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let differs = status.filter(|status| {
            let fingerprint = status::fingerprint(status);
            fingerprint != pod.shown && pod.refused != Some(fingerprint)
        });
        let needs_call = differs.is_some() || end == End::Delete;
        if !needs_call || retry_at.is_some() || pod.call != Call::None {
            return;
        }
        if self.calls.len() >= CONCURRENT {
            pod.call = Call::Waiting;
            self.waiting.push_back(uid.clone());
            return;
        }
        pod.call = Call::UnderWay;
        let call = calls::Target {
            client: self.client.clone(),
            namespace: pod.desired.namespace.clone(),
            name: pod.desired.name.clone(),
            uid: uid.clone(),
        };
        match differs {
            Some(status) => self
                .calls
                .spawn(calls::guarded(uid.clone(), call.report(status))),
            None => self.calls.spawn(calls::guarded(uid.clone(), call.remove())),
        };
    }

    fn finish(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        match finished {
            Ok(finished) => self.take_answer(finished),
            Err(error) => tracing::error!(%error, "a call for a pod broke down"),
        }
        while self.calls.len() < CONCURRENT
            && let Some(uid) = self.waiting.pop_front()
        {
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.call = Call::None;
                self.look(&uid);
            }
        }
    }

    fn take_answer(&mut self, finished: Finished) {
        let now = self.clock.now();
        let (uid, failure) = match finished {
            Finished::Reported { uid, sent, answer } => {
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.call = Call::None;
                }
                match answer {
                    Ok(view) => {
                        self.absorb(&uid, &view);
                        if let Some(pod) = self.pods.get_mut(&uid).filter(|pod| pod.shown != sent) {
                            tracing::debug!(
                                pod = &*pod.desired.name,
                                "the API shows another status than it was sent"
                            );
                            pod.refused = Some(sent);
                        }
                        (uid, None)
                    }
                    Err(error) => (uid, Some(error.to_string())),
                }
            }
            Finished::Removed { uid, answer } => {
                let removed = answer.is_ok();
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.call = if removed { Call::Removed } else { Call::None };
                }
                (uid, answer.err().map(|error| error.to_string()))
            }
            Finished::Broken { uid } => {
                tracing::error!(%uid, "a call for a pod panicked; it is made again later");
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.call = Call::None;
                }
                (uid, Some("the call panicked".to_owned()))
            }
        };
        if let Some(pod) = self.pods.get_mut(&uid) {
            match failure {
                None => (pod.failures, pod.retry_at) = (0, None),
                Some(error) => {
                    tracing::debug!(pod = &*pod.desired.name, %error, "a call for a pod failed");
                    pod.failures = pod.failures.saturating_add(1);
                    let seconds = (1_i64 << pod.failures.min(6)).min(LONGEST_PAUSE_SECONDS);
                    pod.retry_at = now.saturating_add(SignedDuration::from_secs(seconds)).ok();
                }
            }
            self.look(&uid);
        }
    }

    fn forget(&mut self, uid: &Arc<str>) {
        self.wake(uid, None);
        if let Some(pod) = self.pods.remove(uid)
            && let (Some(addresses), Some(ip)) = (self.nodes.get_mut(&pod.node), pod.life.ip)
        {
            addresses.release(ip);
        }
    }

    /// Sees to it that the pod is looked at then, and not earlier for the same reason.
    fn wake(&mut self, uid: &Arc<str>, at: Option<Timestamp>) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        if pod.due == at {
            return;
        }
        if let Some(former) = pod.due.take() {
            self.due.remove(&(former, uid.clone()));
        }
        pod.due = at;
        if let Some(at) = at {
            self.due.insert((at, uid.clone()));
        }
    }
}

async fn receive(changes: &mut Option<tokio::sync::mpsc::Receiver<Arc<str>>>) -> Option<Arc<str>> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(clock: &Clock, at: Option<Timestamp>) {
    match at {
        // A moment too early would be looked at in vain.
        Some(at) => tokio::time::sleep(clock.until(at).max(Duration::from_nanos(1))).await,
        None => std::future::pending().await,
    }
}
