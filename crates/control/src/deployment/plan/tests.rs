//! Rollouts step by step: sets are changed as the plan says, and their pods become available.

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn deployment(replicas: i32, version: &str, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "revisionHistoryLimit": 1, "progressDeadlineSeconds": 600,
            "strategy": strategy,
                 "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web", "v": version}}}},
    }))
    .expect("a deployment")
}

fn rolling(surge: i32, unavailable: i32) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge,
        "maxUnavailable": unavailable}})
}

/// A much simplified API server and ReplicaSet controller.
#[derive(Default)]
struct World {
    sets: Vec<Arc<ReplicaSet>>,
    tick: i64,
}

impl World {
    fn apply(&mut self, actions: Vec<DeploymentAction>) {
        for action in actions {
            self.tick += 1;
            match action {
                DeploymentAction::Create(set) => {
                    let mut set = *set;
                    set.metadata.creation_timestamp = Some(crate::meta::on_wire(
                        crate::meta::after_seconds(now(), self.tick),
                    ));
                    set.metadata.generation = Some(1);
                    self.sets.push(Arc::new(set));
                }
                DeploymentAction::Change(change) => {
                    let set = self
                        .sets
                        .iter_mut()
                        .find(|set| set.metadata.name == change.set.metadata.name)
                        .expect("known");
                    let set = Arc::make_mut(set);
                    set.spec.as_mut().expect("spec").replicas = Some(change.replicas);
                    set.metadata
                        .annotations
                        .get_or_insert_default()
                        .extend(change.annotations);
                }
                DeploymentAction::Remove(set) => self
                    .sets
                    .retain(|known| known.metadata.name != set.metadata.name),
            }
        }
    }

    fn settle(&mut self, available: bool) {
        for set in &mut self.sets {
            let set = Arc::make_mut(set);
            let replicas = replicas_of(set);
            let status = set.status.get_or_insert_default();
            status.replicas = replicas;
            status.observed_generation = Some(1);
            status.terminating_replicas = Some(0);
            if available {
                status.available_replicas = Some(replicas);
                status.ready_replicas = Some(replicas);
            } else {
                status.available_replicas =
                    Some(status.available_replicas.unwrap_or_default().min(replicas));
            }
        }
    }

    /// The sizes of the sets, oldest first.
    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| replicas_of(set)).collect()
    }

    fn step(&mut self, deployment: &mut Deployment) -> bool {
        let plan = plan(deployment, &self.sets, |_| false, now());
        if let Some(updated) = plan.updated {
            *deployment = updated;
        }
        let busy = !plan.actions.is_empty();
        self.apply(plan.actions);
        busy
    }

    fn run(&mut self, deployment: &mut Deployment, available: bool) {
        for _ in 0..100 {
            self.settle(available);
            if !self.step(deployment) {
                return;
            }
        }
        panic!("the deployment never settles");
    }
}

fn reason(deployment: &Deployment, ty: &str) -> String {
    let conditions = deployment
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .expect("conditions");
    conditions
        .iter()
        .find(|condition| condition.type_ == ty)
        .and_then(|condition| condition.reason.clone())
        .unwrap_or_default()
}

#[test]
fn a_new_deployment_creates_one_set_with_hash_and_annotations() {
    let (mut world, mut deployment) = (World::default(), deployment(2, "1", rolling(1, 0)));
    world.step(&mut deployment);
    let set = &world.sets[0];
    let hash = set.metadata.labels.as_ref().expect("labels")["pod-template-hash"].clone();
    assert_eq!(
        set.metadata.name.as_deref(),
        Some(format!("web-{hash}").as_str())
    );
    assert_eq!(
        serde_json::to_value(&set.metadata.annotations).expect("json"),
        json!({"deployment.kubernetes.io/desired-replicas": "2",
            "deployment.kubernetes.io/max-replicas": "3", "deployment.kubernetes.io/revision": "1"})
    );
    assert_eq!(world.sizes(), [2]);
    assert_eq!(reason(&deployment, "Progressing"), "NewReplicaSetCreated");
    world.run(&mut deployment, true);
    assert_eq!(reason(&deployment, "Progressing"), "NewReplicaSetAvailable");
    assert_eq!(reason(&deployment, "Available"), "MinimumReplicasAvailable");
    assert_eq!(
        deployment
            .metadata
            .annotations
            .as_ref()
            .expect("annotations")[REVISION],
        "1"
    );
}

#[test]
fn a_rolling_update_waits_for_new_pods_when_none_may_be_unavailable() {
    let (mut world, mut deployment) = (World::default(), deployment(2, "1", rolling(1, 0)));
    world.run(&mut deployment, true);
    deployment
        .spec
        .as_mut()
        .expect("spec")
        .template
        .metadata
        .as_mut()
        .expect("meta")
        .labels
        .as_mut()
        .expect("labels")
        .insert("v".to_owned(), "2".to_owned());
    deployment.metadata.generation = Some(2);
    world.run(&mut deployment, false);
    assert_eq!(
        world.sizes(),
        [2, 1],
        "one more, and none less while the new one is not available"
    );
    world.settle(true);
    world.run(&mut deployment, true);
    assert_eq!(world.sizes(), [0, 2]);
    assert_eq!(
        world.sets[1]
            .metadata
            .annotations
            .as_ref()
            .expect("annotations")[REVISION],
        "2"
    );
}

#[test]
fn a_rollout_never_has_too_many_or_too_few_pods() {
    for (surge, unavailable) in [(1, 0), (0, 1), (2, 1), (3, 3), (0, 5)] {
        let (mut world, mut deployment) = (
            World::default(),
            deployment(5, "1", rolling(surge, unavailable)),
        );
        world.run(&mut deployment, true);
        deployment
            .spec
            .as_mut()
            .expect("spec")
            .template
            .metadata
            .as_mut()
            .expect("meta")
            .labels
            .as_mut()
            .expect("labels")
            .insert("v".to_owned(), "2".to_owned());
        for round in 0..50 {
            world.step(&mut deployment);
            let total: i32 = world.sizes().iter().sum();
            assert!(
                total <= 5 + surge,
                "{surge}/{unavailable}: {total} in round {round}"
            );
            // Pods that an old set keeps are available. Of the new set, those that have settled
            // are.
            let available: i32 = world
                .sets
                .iter()
                .map(|set| available_of(set).min(replicas_of(set)))
                .sum();
            assert!(
                available >= 5 - unavailable.min(5),
                "{surge}/{unavailable}: {available} available in round {round}"
            );
            world.settle(true);
        }
        assert_eq!(world.sizes(), [0, 5], "{surge}/{unavailable}");
    }
}

#[test]
fn recreate_waits_until_no_old_pod_runs() {
    let (mut world, mut deployment) = (
        World::default(),
        deployment(2, "1", json!({"type": "Recreate"})),
    );
    world.run(&mut deployment, true);
    deployment
        .spec
        .as_mut()
        .expect("spec")
        .template
        .metadata
        .as_mut()
        .expect("meta")
        .labels
        .as_mut()
        .expect("labels")
        .insert("v".to_owned(), "2".to_owned());
    world.step(&mut deployment);
    assert_eq!(world.sizes(), [0]);
    world.settle(true);
    let waiting = plan(&deployment, &world.sets, |_| true, now());
    assert!(waiting.actions.is_empty(), "{waiting:?}");
    world.run(&mut deployment, true);
    assert_eq!(world.sizes(), [0, 2]);
}

#[test]
fn a_paused_deployment_scales_and_does_not_roll_out() {
    let (mut world, mut deployment) = (World::default(), deployment(1, "1", rolling(1, 0)));
    deployment.spec.as_mut().expect("spec").paused = Some(true);
    world.run(&mut deployment, true);
    assert!(world.sets.is_empty());
    assert_eq!(reason(&deployment, "Progressing"), "DeploymentPaused");
    deployment.spec.as_mut().expect("spec").paused = Some(false);
    world.run(&mut deployment, true);
    let spec = deployment.spec.as_mut().expect("spec");
    (spec.paused, spec.replicas) = (Some(true), Some(2));
    spec.template
        .metadata
        .as_mut()
        .expect("meta")
        .labels
        .as_mut()
        .expect("labels")
        .insert("v".to_owned(), "2".to_owned());
    world.run(&mut deployment, true);
    assert_eq!(world.sizes(), [2]);
}

#[test]
fn a_rollback_gives_the_old_set_a_new_revision_and_records_the_former_one() {
    let (mut world, mut deployment) = (World::default(), deployment(1, "1", rolling(1, 0)));
    world.run(&mut deployment, true);
    for version in ["2", "1"] {
        deployment
            .spec
            .as_mut()
            .expect("spec")
            .template
            .metadata
            .as_mut()
            .expect("meta")
            .labels
            .as_mut()
            .expect("labels")
            .insert("v".to_owned(), version.to_owned());
        world.run(&mut deployment, true);
    }
    let annotations = world.sets[0]
        .metadata
        .annotations
        .as_ref()
        .expect("annotations");
    assert_eq!(
        (
            annotations[REVISION].as_str(),
            annotations["deployment.kubernetes.io/revision-history"].as_str()
        ),
        ("3", "1")
    );
}

#[test]
fn history_is_bounded() {
    let (mut world, mut deployment) = (World::default(), deployment(1, "1", rolling(1, 0)));
    for version in ["1", "2", "3", "4"] {
        deployment
            .spec
            .as_mut()
            .expect("spec")
            .template
            .metadata
            .as_mut()
            .expect("meta")
            .labels
            .as_mut()
            .expect("labels")
            .insert("v".to_owned(), version.to_owned());
        world.run(&mut deployment, true);
        world.run(&mut deployment, true);
    }
    assert_eq!(world.sizes(), [0, 1]);
}

#[test]
fn without_progress_the_condition_turns_false_after_the_deadline() {
    let (mut world, mut deployment) = (World::default(), deployment(1, "1", rolling(1, 0)));
    world.run(&mut deployment, false);
    let pending = plan(&deployment, &world.sets, |_| false, now());
    let pause = pending.recheck.expect("looks again");
    assert_eq!(pause, Duration::from_secs(601));
    let late = plan(
        &deployment,
        &world.sets,
        |_| false,
        crate::meta::after_seconds(now(), 601),
    );
    assert_eq!(
        reason(&late.updated.expect("changed"), "Progressing"),
        "ProgressDeadlineExceeded"
    );
}
