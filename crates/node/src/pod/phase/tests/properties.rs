//! Properties of [`next`] that hold for every pod, every runtime and every order of events.
//!
//! A case is a random pod and a random list of events. After each event the worker is synced, and
//! the guarantees of the module are checked on every single call. The runtime of these tests is
//! adversarial: containers start, exit, disappear and change their readiness at any moment, hooks
//! end late or never, and kills come at any time after they are due. At the end the pod is deleted
//! and the runtime keeps to its deadlines, so the pod must come to its end.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{FailurePersistence, FileFailurePersistence};

use super::*;
use crate::pod::desired::{ContainerRole, DesiredContainer, RestartPolicy};

/// The time that rounding to whole seconds can add to a grace period: once for the hook and once
/// for the wait of a sidecar.
const ROUNDING: SignedDuration = SignedDuration::from_secs(2);
/// The minimum time between stop signal and kill.
const MIN_STOP: SignedDuration = SignedDuration::from_secs(2);

/// Something that happens to a pod. Events on containers in a state that does not allow them have
/// no effect.
#[derive(Clone, Debug)]
enum ScenarioEvent {
    /// Time passes, in milliseconds.
    Pass(i64),
    /// Time passes until the worker wants to be called.
    PassUntilWake,
    /// A container that is being created runs.
    Start(Index),
    /// A container exits, also one that is still being created.
    Exit(Index, i32),
    /// The runtime forgets a container.
    Lose(Index),
    /// The readiness of a running container changes.
    Ready(Index, bool),
    /// A preStop hook ends.
    EndHook(Index, Option<String>),
    /// Someone deletes the pod with this grace period, again or for the first time.
    Delete(i64),
    /// Someone deletes the pod by force.
    RemoveObject,
    /// Someone writes a phase into the status.
    WritePhase(PodPhase),
    /// Someone adds an ephemeral container.
    AddEphemeral,
}

fn restart_policy() -> impl Strategy<Value = RestartPolicy> {
    prop::sample::select(vec![
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ])
}

fn container(role: ContainerRole) -> impl Strategy<Value = DesiredContainer> {
    let own_policy = prop::option::weighted(0.2, restart_policy());
    (any::<bool>(), own_policy).prop_map(move |(has_pre_stop, restart_policy)| DesiredContainer {
        name: "c".into(),
        image: "i".into(),
        role,
        restart_policy,
        restart_on: Vec::new(),
        has_pre_stop,
        resources: None,
    })
}

fn desired_pod() -> impl Strategy<Value = DesiredPod> {
    let init = prop_oneof![
        container(ContainerRole::Init),
        container(ContainerRole::Sidecar)
    ];
    let containers = (
        prop::collection::vec(init, 0..4),
        prop::collection::vec(container(ContainerRole::Main), 1..3),
        prop::collection::vec(container(ContainerRole::Ephemeral), 0..2),
    );
    let parts = (containers, restart_policy(), -1..40_i64);
    parts.prop_map(
        |((inits, mains, ephemeral), restart_policy, grace_seconds)| {
            let view: PodView = serde_json::from_value(one(json!({}))).unwrap();
            DesiredPod {
                containers: [inits, mains, ephemeral].concat(),
                restart_policy,
                grace_seconds,
                ..DesiredPod::from_view(&view)
            }
        },
    )
}

fn events() -> impl Strategy<Value = Vec<ScenarioEvent>> {
    let exit_code = prop::sample::select(vec![0, 0, 1, 137]);
    let hook_error = prop::option::weighted(0.2, Just("hook failed".to_owned()));
    let terminal = prop::sample::select(vec![PodPhase::Failed, PodPhase::Succeeded]);
    let event = prop_oneof![
        6 => (0..25_000_i64).prop_map(ScenarioEvent::Pass),
        4 => Just(ScenarioEvent::PassUntilWake),
        8 => any::<Index>().prop_map(ScenarioEvent::Start),
        6 => (any::<Index>(), exit_code).prop_map(|(index, code)| ScenarioEvent::Exit(index, code)),
        1 => any::<Index>().prop_map(ScenarioEvent::Lose),
        2 => (any::<Index>(), any::<bool>())
            .prop_map(|(index, ready)| ScenarioEvent::Ready(index, ready)),
        3 => (any::<Index>(), hook_error)
            .prop_map(|(index, error)| ScenarioEvent::EndHook(index, error)),
        3 => (0..60_i64).prop_map(ScenarioEvent::Delete),
        1 => Just(ScenarioEvent::RemoveObject),
        1 => terminal.prop_map(ScenarioEvent::WritePhase),
        1 => Just(ScenarioEvent::AddEphemeral),
    ];
    prop::collection::vec(event, 1..40)
}

/// A container of the adversarial runtime.
#[derive(Clone, Debug, Default)]
struct FakeContainer {
    observation: ContainerObservation,
    hook_requested: bool,
    kill_at: Option<Timestamp>,
}

impl FakeContainer {
    fn is_active(&self) -> bool {
        matches!(
            self.observation.state,
            ContainerState::Creating | ContainerState::Running { .. }
        )
    }

    fn exit(&mut self, exit_code: i32, now: Timestamp) {
        let started_at = match self.observation.state {
            ContainerState::Creating => now,
            ContainerState::Running { started_at, .. } => started_at,
            ContainerState::Absent | ContainerState::Exited(_) => return,
        };
        self.observation.state = ContainerState::Exited(ContainerExit {
            started_at,
            finished_at: now,
            exit_code,
            reason: String::new(),
            message: String::new(),
            id: String::new(),
        });
    }
}

/// A worker with its adversarial runtime, and what the checks remember.
struct WorkerUnderTest {
    desired: DesiredPod,
    state: WorkerState,
    runtime: Vec<FakeContainer>,
    now: Timestamp,
    wake_at: Option<Timestamp>,
    disposition: Disposition,
    removed: bool,
}

impl WorkerUnderTest {
    fn new(desired: DesiredPod) -> Self {
        let now = at(1000.0);
        let state = WorkerState::resume(
            &desired,
            &PodStatus::default(),
            Ipv4Addr::LOCALHOST,
            None,
            now,
        );
        Self {
            runtime: vec![FakeContainer::default(); desired.containers.len()],
            desired,
            state,
            now,
            wake_at: None,
            disposition: Disposition::Keep,
            removed: false,
        }
    }

    fn apply(&mut self, event: ScenarioEvent) {
        let now = self.now;
        let count = self.runtime.len();
        match event {
            ScenarioEvent::Pass(milliseconds) => {
                self.now += SignedDuration::from_millis(milliseconds);
            }
            ScenarioEvent::PassUntilWake => self.now = self.wake_at.unwrap_or(now),
            ScenarioEvent::Start(index) => {
                let observation = &mut self.runtime[index.index(count)].observation;
                if observation.state == ContainerState::Creating {
                    observation.state = ContainerState::Running {
                        started_at: now,
                        ready: false,
                        unhealthy: None,
                    };
                }
            }
            ScenarioEvent::Exit(index, code) => self.runtime[index.index(count)].exit(code, now),
            ScenarioEvent::Lose(index) => {
                let container = &mut self.runtime[index.index(count)];
                if container.is_active() {
                    container.observation.state = ContainerState::Absent;
                }
            }
            ScenarioEvent::Ready(index, value) => {
                if let ContainerState::Running {
                    ready, unhealthy, ..
                } = &mut self.runtime[index.index(count)].observation.state
                {
                    *ready = value;
                    *unhealthy = (!value).then(|| "probe failed".to_owned());
                }
            }
            ScenarioEvent::EndHook(index, failure) => {
                let container = &mut self.runtime[index.index(count)];
                if container.hook_requested {
                    container.observation.hook_done = true;
                    container.observation.hook_failure = failure;
                }
            }
            ScenarioEvent::Delete(grace) => self.desired.deletion_grace = Some(grace),
            ScenarioEvent::RemoveObject => self.desired.gone = true,
            ScenarioEvent::WritePhase(phase) if !self.desired.phase.is_terminal() => {
                self.desired.phase = phase;
            }
            ScenarioEvent::WritePhase(_) => {}
            ScenarioEvent::AddEphemeral => {
                let mut added = self.desired.containers[0].clone();
                added.role = ContainerRole::Ephemeral;
                self.desired.containers.push(added);
                self.runtime.push(FakeContainer::default());
            }
        }
    }

    fn observe(&self) -> PodObservation {
        PodObservation {
            containers: self
                .runtime
                .iter()
                .map(|container| container.observation.clone())
                .collect(),
            next_change: None,
        }
    }

    /// Syncs the pod as an agent does, and checks every call.
    fn sync(&mut self) {
        for _ in 0..20 {
            let observed = self.observe();
            let before = self.state.clone();
            let result = next(before.clone(), &self.desired, &observed, self.now);
            check_progress_of_work(&before, &result);
            for request in &result.requests {
                self.carry_out(request, &before, &result.state);
            }
            if result.disposition != Disposition::Keep {
                assert!(self.removed, "ends before the runtime has released the pod");
                assert!(!self.runtime.iter().any(FakeContainer::is_active));
            }
            self.state = result.state.clone();
            if result.requests.is_empty() {
                self.check_settled(&result, &observed);
                self.wake_at = result.wake_at;
                self.disposition = result.disposition;
                if let Some(status) = result.status {
                    let published = PodPhase::parse(&status.phase);
                    let settled = published == self.desired.phase;
                    self.desired.phase = published;
                    if !settled {
                        continue;
                    }
                }
                return;
            }
        }
        panic!("the pod does not settle");
    }

    /// Carries out a request, after checking that the worker may make it.
    fn carry_out(&mut self, request: &RuntimeRequest, before: &WorkerState, after: &WorkerState) {
        let now = self.now;
        match *request {
            RuntimeRequest::StartContainer { container, attempt } => {
                assert_eq!(
                    after.work,
                    PodWork::Sync,
                    "starts a container while it ends"
                );
                let container = &mut self.runtime[container];
                assert!(!container.is_active(), "starts a container twice");
                *container = FakeContainer::default();
                container.observation.attempt = attempt;
                container.observation.state = ContainerState::Creating;
            }
            RuntimeRequest::RunPreStopHook { container } => {
                assert!(self.desired.containers[container].has_pre_stop);
                let container = &mut self.runtime[container];
                assert!(container.is_active(), "hook of a container that has ended");
                assert!(!container.hook_requested, "hook runs twice");
                assert_eq!(container.kill_at, None, "hook after the stop signal");
                container.hook_requested = true;
            }
            RuntimeRequest::StopContainer { container, timeout } => {
                let timeout = SignedDuration::try_from(timeout).unwrap();
                self.check_stop(container, timeout, after);
                let container = &mut self.runtime[container];
                if container.observation.state == ContainerState::Creating {
                    *container = FakeContainer::default();
                } else {
                    container.kill_at = Some(now + timeout);
                }
            }
            RuntimeRequest::RemovePod => {
                assert!(!self.removed, "removed twice");
                assert_ne!(before.work, PodWork::Terminated);
                assert!(!self.runtime.iter().any(FakeContainer::is_active));
                self.removed = true;
            }
        }
    }

    fn check_stop(&self, index: usize, timeout: SignedDuration, after: &WorkerState) {
        let PodWork::Terminating {
            since,
            grace_seconds,
        } = after.work
        else {
            panic!("stops a container of a pod that does not end");
        };
        let container = &self.runtime[index];
        match container.observation.state {
            ContainerState::Creating => assert!(timeout.is_zero()),
            ContainerState::Running { .. } => {
                let grace = SignedDuration::from_secs(i64::try_from(grace_seconds).unwrap());
                let kill_at = self.now + timeout;
                assert!(timeout >= MIN_STOP);
                assert!(kill_at >= since + grace, "killed within the grace period");
                let latest = (since + grace + ROUNDING).max(self.now + MIN_STOP);
                assert!(kill_at <= latest, "killed long after the grace period");
                assert!(
                    container.kill_at.is_none_or(|former| kill_at < former),
                    "a second stop does not come earlier"
                );
                let hook_over = container.observation.hook_done
                    || self.now >= since + grace
                    || !self.desired.containers[index].has_pre_stop;
                assert!(hook_over, "stop signal while the hook may still run");
            }
            ContainerState::Absent | ContainerState::Exited(_) => {
                panic!("stops a container that has ended");
            }
        }
    }

    /// Checks a call without requests: another one finds nothing to do, and unless the pod is over
    /// something will happen.
    fn check_settled(&self, result: &SyncResult, observed: &PodObservation) {
        let again = next(result.state.clone(), &self.desired, observed, self.now);
        assert!(again.requests.is_empty() && again.events.is_empty());
        assert_eq!(format!("{:?}", again.state), format!("{:?}", result.state));
        assert_eq!(again.status, result.status);
        assert_eq!(
            (again.wake_at, again.disposition),
            (result.wake_at, result.disposition)
        );

        assert!(
            result.wake_at.is_none_or(|at| at > self.now),
            "wakes at once"
        );
        let mut active = self.runtime.iter().filter(|one| one.is_active()).peekable();
        match result.state.work {
            PodWork::Sync => {
                assert!(active.peek().is_some() || result.wake_at.is_some(), "stuck");
            }
            PodWork::Terminating { .. } => {
                assert!(active.peek().is_some(), "ends without a reason to wait");
                let stopping = active.all(|container| container.kill_at.is_some());
                assert!(stopping || result.wake_at.is_some(), "stuck at the end");
            }
            PodWork::Terminated => assert!(self.removed && active.peek().is_none()),
        }
    }

    /// Deletes the pod on a runtime that keeps to its deadlines, on which no hook ever ends.
    fn finish(&mut self) {
        let started = self.now;
        if self.desired.deletion_grace.is_none_or(|grace| grace == 0) {
            self.desired.deletion_grace = Some(10);
        }
        self.sync();
        for _ in 0..100 {
            if self.disposition != Disposition::Keep {
                let PodWork::Terminated = self.state.work else {
                    panic!("ends while it runs");
                };
                let grace = self.desired.effective_grace_seconds();
                let took = self.now.duration_since(started);
                let longest = SignedDuration::from_secs(i64::try_from(grace).unwrap());
                assert!(took <= longest + ROUNDING + MIN_STOP, "took {took:?}");
                return;
            }
            let kills = self.runtime.iter().filter(|one| one.is_active());
            let due = kills.filter_map(|one| one.kill_at).chain(self.wake_at);
            self.now = due.min().expect("something happens").max(self.now);
            for container in &mut self.runtime {
                if container.kill_at.is_some_and(|at| at <= self.now) {
                    container.exit(137, self.now);
                }
            }
            self.sync();
        }
        panic!("the pod does not end");
    }
}

/// Checks what no single call may do, whatever it finds.
fn check_progress_of_work(before: &WorkerState, result: &SyncResult) {
    let after = &result.state;
    let rank = |work: PodWork| match work {
        PodWork::Sync => 0,
        PodWork::Terminating { .. } => 1,
        PodWork::Terminated => 2,
    };
    assert!(rank(before.work) <= rank(after.work), "goes back");
    if before.phase.is_terminal() {
        assert_eq!(after.phase, before.phase, "leaves a terminal phase");
    }
    assert!(!before.initialized || after.initialized);
    assert_eq!(after.phase.is_terminal(), after.work == PodWork::Terminated);
    if let (
        PodWork::Terminating {
            since: former_since,
            grace_seconds: former,
        },
        PodWork::Terminating {
            since,
            grace_seconds,
        },
    ) = (before.work, after.work)
    {
        assert_eq!(former_since, since);
        assert!(grace_seconds <= former, "extends the grace period");
    }
    for (former, now) in before.containers.iter().zip(&after.containers) {
        assert!(former.restart_count <= now.restart_count);
        assert!(now.restart_count - former.restart_count <= 1);
    }
    if !result.requests.is_empty() {
        assert!(result.status.is_none(), "publishes before the requests");
    }
}

/// Seeds of failed cases are saved beside this file and run first from then on. They are to be
/// committed.
fn saved_failures() -> Option<Box<dyn FailurePersistence>> {
    Some(Box::new(FileFailurePersistence::WithSource("regressions")))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: saved_failures(),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_pod_keeps_the_guarantees(desired in desired_pod(), events in events()) {
        let mut worker = WorkerUnderTest::new(desired);
        worker.sync();
        for event in events {
            worker.apply(event);
            worker.sync();
        }
        worker.finish();
    }
}
