//! The pod workers: what an agent keeps of each pod, and the effects of a sync.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinError;

use super::Agent;
use super::requests::{self, RequestOutcome};
use crate::pod::desired::DesiredPod;
use crate::pod::events::record;
use crate::pod::phase::{self, Disposition, WorkerState};
use crate::runtime::Runtime;
use crate::wire::status::{self, PodStatus};

/// The maximum number of requests for pods that are in flight at the same time.
const MAX_IN_FLIGHT: usize = 64;
/// The maximum number of rounds in which requests to the runtime lead to further requests. A sync
/// that needs more would never end.
const MAX_ROUNDS: usize = 64;
/// The longest pause before a failed request is repeated.
const MAX_RETRY_SECONDS: i64 = 10;

/// One pod.
pub(super) struct PodWorker {
    pub(super) desired: DesiredPod,
    pub(super) state: WorkerState,
    pub(super) node: Arc<str>,
    /// Fingerprint of the published status.
    pub(super) published: u64,
    /// Fingerprint of a status that the API does not store as it was sent. It is not sent again.
    pub(super) rejected: Option<u64>,
    /// Fingerprint of what the runtime reads of the pod beside its specification.
    pub(super) annotations: u64,
    /// The resource version of the newest known state; 0 when the server's are not numbers.
    pub(super) revision: u64,
    /// The number of the list that the pod was last seen in.
    pub(super) list: u64,
    pub(super) due: Option<Timestamp>,
    pub(super) request: RequestState,
    /// The number of failed requests in a row.
    pub(super) failures: u8,
    pub(super) retry_at: Option<Timestamp>,
}

/// The state of the request to the API that a pod needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestState {
    /// No request is needed, or none was made yet.
    None,
    /// A request is needed and waits because too many are in flight.
    Waiting,
    /// A request was sent. Left with its response.
    InFlight,
    /// The API has accepted the deletion. Final.
    Deleted,
}

impl<R: Runtime> Agent<R> {
    /// Syncs the pods that are due.
    pub(super) fn sync_due(&mut self) {
        let now = self.clock.now();
        while let Some((at, uid)) = self.due.first().cloned() {
            if at > now {
                break;
            }
            self.due.remove(&(at, uid.clone()));
            if let Some(worker) = self.workers.get_mut(&uid) {
                worker.due = None;
                self.sync(&uid);
            }
        }
    }

    /// Advances a pod as far as possible now.
    pub(super) fn sync(&mut self, uid: &str) {
        let Some((uid, _)) = self.workers.get_key_value(uid) else {
            return;
        };
        let uid = uid.clone();
        let now = self.clock.now();
        for _ in 0..MAX_ROUNDS {
            let Some(worker) = self.workers.get_mut(&uid) else {
                return;
            };
            let observed = self.runtime.observe(&uid, now);
            let result = phase::next(worker.state.clone(), &worker.desired, &observed, now);
            worker.state = result.state;
            for event in result.events {
                record(&self.recorder, &worker.desired, &worker.node, event);
            }
            if result.requests.is_empty() {
                let (status, wake_at) = (result.status, result.wake_at);
                return self.settle(&uid, status, result.disposition, wake_at, now);
            }
            for request in result.requests {
                self.runtime.request(&uid, request, now);
            }
        }
        tracing::error!(pod = &*uid, "pod does not settle, retrying later");
        let later = now.saturating_add(SignedDuration::from_secs(MAX_RETRY_SECONDS));
        self.wake(&uid, Some(later.unwrap_or(now)));
    }

    /// Sends the request that a pod needs, if any, and schedules the next sync.
    fn settle(
        &mut self,
        uid: &Arc<str>,
        status: Option<PodStatus>,
        disposition: Disposition,
        wake_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        if disposition == Disposition::Forget {
            return self.forget(uid);
        }
        let Some(worker) = self.workers.get_mut(uid) else {
            return;
        };
        // `settle` runs again when a request ends, so a pod waits with at most one request.
        let retry_at = worker.retry_at.filter(|at| *at > now);
        self.wake(uid, [wake_at, retry_at].into_iter().flatten().min());
        let Some(worker) = self.workers.get_mut(uid) else {
            return;
        };
        let unpublished = status.filter(|status| {
            let fingerprint = status::fingerprint(status);
            fingerprint != worker.published && worker.rejected != Some(fingerprint)
        });
        let needs_request = unpublished.is_some() || disposition == Disposition::Delete;
        if !needs_request || retry_at.is_some() || worker.request != RequestState::None {
            return;
        }
        if self.requests.len() >= MAX_IN_FLIGHT {
            worker.request = RequestState::Waiting;
            self.waiting.push_back(uid.clone());
            return;
        }
        worker.request = RequestState::InFlight;
        let target = requests::PodTarget {
            client: self.client.clone(),
            namespace: worker.desired.namespace.clone(),
            name: worker.desired.name.clone(),
            uid: uid.clone(),
        };
        // The final status is published before the object is deleted.
        match unpublished {
            Some(status) => self.requests.spawn(requests::catch_panic(
                uid.clone(),
                target.patch_status(status),
            )),
            None => self
                .requests
                .spawn(requests::catch_panic(uid.clone(), target.delete())),
        };
    }

    /// Handles the end of a request, and sends those that wait.
    pub(super) fn finish_request(&mut self, finished: Result<RequestOutcome, JoinError>) {
        match finished {
            Ok(outcome) => self.handle_outcome(outcome),
            Err(error) => tracing::error!(%error, "task of a pod request failed"),
        }
        while self.requests.len() < MAX_IN_FLIGHT
            && let Some(uid) = self.waiting.pop_front()
        {
            if let Some(worker) = self.workers.get_mut(&uid) {
                worker.request = RequestState::None;
                self.sync(&uid);
            }
        }
    }

    fn handle_outcome(&mut self, outcome: RequestOutcome) {
        let now = self.clock.now();
        let (uid, failure) = match outcome {
            RequestOutcome::StatusPatched { uid, sent, result } => {
                if let Some(worker) = self.workers.get_mut(&uid) {
                    worker.request = RequestState::None;
                }
                match result {
                    Ok(view) => {
                        self.update(&uid, &view);
                        let worker = self.workers.get_mut(&uid);
                        if let Some(worker) = worker.filter(|worker| worker.published != sent) {
                            let pod = &*worker.desired.name;
                            tracing::debug!(pod, "API stored another status than it was sent");
                            worker.rejected = Some(sent);
                        }
                        (uid, None)
                    }
                    Err(error) => (uid, Some(error.to_string())),
                }
            }
            RequestOutcome::Deleted { uid, result } => {
                if let Some(worker) = self.workers.get_mut(&uid) {
                    worker.request = match result {
                        Ok(()) => RequestState::Deleted,
                        Err(_) => RequestState::None,
                    };
                }
                (uid, result.err().map(|error| error.to_string()))
            }
            RequestOutcome::Panicked { uid } => {
                tracing::error!(%uid, "pod request panicked, retrying later");
                if let Some(worker) = self.workers.get_mut(&uid) {
                    worker.request = RequestState::None;
                }
                (uid, Some("the request panicked".to_owned()))
            }
        };
        if let Some(worker) = self.workers.get_mut(&uid) {
            match failure {
                None => (worker.failures, worker.retry_at) = (0, None),
                Some(error) => {
                    tracing::debug!(pod = &*worker.desired.name, %error, "pod request failed");
                    worker.failures = worker.failures.saturating_add(1);
                    let seconds = (1_i64 << worker.failures.min(6)).min(MAX_RETRY_SECONDS);
                    worker.retry_at = now.saturating_add(SignedDuration::from_secs(seconds)).ok();
                }
            }
            self.sync(&uid);
        }
    }

    fn forget(&mut self, uid: &Arc<str>) {
        self.wake(uid, None);
        if let Some(worker) = self.workers.remove(uid)
            && let (Some(pool), Some(ip)) = (self.nodes.get_mut(&worker.node), worker.state.ip)
        {
            pool.release(ip);
        }
    }

    /// Schedules the next sync of a pod, in place of the one that was scheduled before.
    fn wake(&mut self, uid: &Arc<str>, at: Option<Timestamp>) {
        let Some(worker) = self.workers.get_mut(uid) else {
            return;
        };
        if worker.due == at {
            return;
        }
        if let Some(former) = worker.due.take() {
            self.due.remove(&(former, uid.clone()));
        }
        worker.due = at;
        if let Some(at) = at {
            self.due.insert((at, uid.clone()));
        }
    }
}
