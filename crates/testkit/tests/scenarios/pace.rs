//! A drain takes little longer than its budgets and pods require, and no budget is violated: three
//! cases in virtual time, with a watch that counts ready pods.

use std::collections::BTreeMap;
use std::time::Duration;

use drain::engine::DrainEngine;
use drain::event::DrainEvent;
use drain::selection::PodSelection;
use drain::state::DrainOptions;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event as Seen};
use serde_json::{Value, json};

use crate::world::{Target, World};

/// The longest duration of a drain, as a multiple of the shortest possible.
const AT_MOST: f64 = 1.1;

/// Replicas of one application on the first nodes, and as many empty nodes.
struct Situation {
    nodes: usize,
    replicas: usize,
    budget: Option<Value>,
    /// Seconds from the start of a pod to Ready, and from its stop signal to its end.
    ready_seconds: f64,
    stop_seconds: f64,
    /// The fewest pods that may be ready at any time.
    least_ready: usize,
    least_seconds: f64,
}

async fn check(situation: Situation) -> anyhow::Result<()> {
    let Situation {
        nodes, replicas, ..
    } = situation;
    let world = World::start(2 * nodes, true, false).await?;
    let node = |number: usize| -> anyhow::Result<Target> {
        Target::try_from(format!("node/node-{number}")).map_err(anyhow::Error::msg)
    };
    let spare: Vec<Target> = (nodes + 1..=2 * nodes)
        .map(node)
        .collect::<Result<_, _>>()?;
    for target in &spare {
        world
            .patch(target, &json!({"spec": {"unschedulable": true}}), false)
            .await?;
    }
    let annotations = json!({
        "sim.exeunt.dev/ready-after-seconds": situation.ready_seconds.to_string(),
        "sim.exeunt.dev/stop-seconds": situation.stop_seconds.to_string(),
    });
    let template = json!({
        "metadata": {"labels": {"app": "web"}, "annotations": annotations},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template,
    });
    world
        .create(&json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": spec,
        }))
        .await?;
    let deployment = Target::try_from("deployment/web".to_owned()).map_err(anyhow::Error::msg)?;
    world
        .wait(&deployment, "/status/readyReplicas", &json!(replicas))
        .await?;
    if let Some(mut spec) = situation.budget {
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
        world
            .create(&json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "web"},
                "spec": spec,
            }))
            .await?;
        let budget = Target::try_from("pdb/web".to_owned()).map_err(anyhow::Error::msg)?;
        world
            .wait(&budget, "/status/currentHealthy", &json!(replicas))
            .await?;
    }
    for target in &spare {
        world
            .patch(target, &json!({"spec": {"unschedulable": null}}), false)
            .await?;
    }

    let names: Vec<String> = (1..=nodes).map(|number| format!("node-{number}")).collect();
    let found = drain::cordon::find(&world.client(), &names, None).await?;
    let clock = world.cluster.clock().clone();
    let start = clock.now();
    let mut engine = DrainEngine::drain(
        world.client(),
        clock.clone(),
        DrainOptions::default(),
        PodSelection::default(),
        found,
        nodes,
    );
    let follow = async {
        let mut drained = 0;
        while let Some(event) = engine.next().await {
            drained += usize::from(matches!(event, DrainEvent::Drained { .. }));
        }
        drained
    };
    let (drained, fewest) = tokio::select! {
        drained = Box::pin(follow) => (drained, None),
        fewest = fewest_ready(&world, situation.least_ready) => (0, Some(fewest)),
    };
    assert_eq!(fewest, None, "fewer pods were ready than the budget wants");
    assert_eq!(drained, nodes);
    let seconds = clock.now().duration_since(start).as_secs_f64();
    assert!(
        seconds <= situation.least_seconds * AT_MOST,
        "{seconds} s, the least is {} s",
        situation.least_seconds
    );
    world.stop().await
}

/// Watches the pods; returns when fewer than `least` of them are ready.
async fn fewest_ready(world: &World, least: usize) -> usize {
    let mut ready = BTreeMap::new();
    let mut complete = false;
    let mut events =
        watcher::watcher(Api::<Pod>::all(world.client()), watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        match event.expect("the watch goes on") {
            Seen::Apply(pod) | Seen::InitApply(pod) => {
                let counts = drain::pods::is_ready(&pod) && !drain::pods::is_terminating(&pod);
                ready.insert(pod.metadata.uid.unwrap_or_default(), counts);
            }
            Seen::Delete(pod) => drop(ready.remove(&pod.metadata.uid.unwrap_or_default())),
            Seen::InitDone => complete = true,
            Seen::Init => {}
        }
        let count = ready.values().filter(|ready| **ready).count();
        if complete && count < least {
            return count;
        }
    }
    // Without the watch nothing is checked.
    tokio::time::sleep(Duration::MAX).await;
    usize::MAX
}

#[tokio::test(start_paused = true)]
async fn a_hundred_pods_without_budgets_go_at_once() -> anyhow::Result<()> {
    let least_seconds = 2.0;
    let situation = Situation {
        nodes: 1,
        replicas: 100,
        budget: None,
        ready_seconds: 0.0,
        stop_seconds: 2.0,
        least_ready: 0,
        least_seconds,
    };
    Box::pin(check(situation)).await
}

#[tokio::test(start_paused = true)]
async fn thirty_pods_under_a_budget_of_one_go_as_fast_as_their_successors_are_ready()
-> anyhow::Result<()> {
    // Each eviction except the last waits until the replacement of the pod is ready.
    let least_seconds = 29.0 * 2.0;
    let budget = Some(json!({"maxUnavailable": 1}));
    let situation = Situation {
        nodes: 1,
        replicas: 30,
        budget,
        ready_seconds: 2.0,
        stop_seconds: 0.0,
        least_ready: 29,
        least_seconds,
    };
    Box::pin(check(situation)).await
}

#[tokio::test(start_paused = true)]
async fn ten_nodes_share_a_budget() -> anyhow::Result<()> {
    // A hundred pods, ten at a time: ten rounds, and nothing waits for the last.
    let least_seconds = 9.0 * 2.0;
    let budget = Some(json!({"maxUnavailable": 10}));
    let situation = Situation {
        nodes: 10,
        replicas: 100,
        budget,
        ready_seconds: 2.0,
        stop_seconds: 0.0,
        least_ready: 90,
        least_seconds,
    };
    Box::pin(check(situation)).await
}
