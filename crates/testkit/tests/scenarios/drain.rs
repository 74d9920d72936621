//! Scenarios of `exeunt drain` and `exeunt evict`: the events with their times.
//!
//! A scenario can change the cluster while the drain runs (`during`), run as another user (`as`),
//! answer the first evictions with a fault (`faults`), and interrupt the drain (`stopAfter`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use drain::engine::DrainEngine;
use drain::event::DrainEvent;
use drain::filter::FilterOptions;
use drain::progress::DeadlineAction;
use drain::selection::PodSelection;
use drain::state::DrainOptions;
use drain::tier::Tiers;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kinds::selector::LabelSelector;
use kube::client::Body;
use kube::{Api, Client};
use registry::request::User;
use serde::Deserialize;
use serde_json::Value;

use crate::scenarios;
use crate::script::{Step, play_steps};
use crate::world::{Target, World};

/// The drain of a scenario.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Arguments {
    nodes: Vec<String>,
    /// Pods instead of nodes.
    pods: Vec<Target>,
    force: bool,
    keep_daemons_out: bool,
    keep_empty_dirs: bool,
    delete: bool,
    dry_run: bool,
    surge: bool,
    first: Vec<String>,
    last: Vec<String>,
    grace: Option<i64>,
    timeout: Option<u64>,
    pod_deadline: Option<u64>,
    node_deadline: Option<u64>,
    on_deadline: String,
    skip_after: u32,
    parallel: usize,
    /// The user that runs the drain; the administrator by default.
    r#as: Option<String>,
    faults: Option<Faults>,
    /// Seconds that every request takes.
    slow: u64,
    /// Interrupts the drain after this many seconds.
    stop_after: Option<u64>,
    during: Vec<Disturbance>,
}

/// Answers to the first eviction requests instead of the server's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    times: u32,
    /// A Status, or a string that becomes the body of a response with code 200.
    answer: Value,
}

/// Steps taken while the drain runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disturbance {
    after: u64,
    steps: Vec<Step>,
}

pub(crate) async fn run(world: &World, arguments: &Arguments) -> anyhow::Result<String> {
    let clock = world.cluster.clock().clone();
    let (engine, start) = (Box::pin(engine(world, arguments)).await?, clock.now());
    let disturb = async {
        let mut said = String::new();
        for disturbance in &arguments.during {
            clock
                .sleep_until(rules::after_seconds(
                    start,
                    i64::try_from(disturbance.after)?,
                ))
                .await;
            said.push_str(&Box::pin(play_steps(world, &disturbance.steps)).await?);
        }
        anyhow::Ok(said)
    };
    let stop = async {
        match arguments.stop_after {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let (lines, said) = tokio::join!(Box::pin(follow(engine, start, world, stop)), disturb);
    // The names of a DaemonSet's pods are generated too.
    let lines = regex::Regex::new(r"\bagent-[a-z0-9]{5}\b")?.replace_all(&lines, "agent-(x)");
    Ok(format!("$ exeunt drain\n{lines}{}", said?))
}

async fn engine(world: &World, arguments: &Arguments) -> anyhow::Result<DrainEngine> {
    let client = match &arguments.r#as {
        Some(name) => world.cluster.client_as(User {
            name: name.clone(),
            ..User::default()
        }),
        None => world.client(),
    };
    let client = match &arguments.faults {
        Some(faults) => faulty(client, faults.clone()),
        None => client,
    };
    let client = if arguments.slow > 0 {
        slow(client, Duration::from_secs(arguments.slow))
    } else {
        client
    };
    let seconds = |limit: Option<u64>| limit.map(Duration::from_secs);
    let selectors = |texts: &[String]| {
        texts
            .iter()
            .map(|text| LabelSelector::parse(text))
            .collect::<Result<Vec<_>, _>>()
    };
    let policy = DrainOptions {
        grace_seconds: arguments.grace,
        delete: arguments.delete,
        dry_run: arguments.dry_run,
        timeout: seconds(arguments.timeout),
        pod_deadline: seconds(arguments.pod_deadline),
        node_deadline: seconds(arguments.node_deadline),
        on_deadline: match arguments.on_deadline.as_str() {
            "wait" => DeadlineAction::Wait,
            "delete" => DeadlineAction::Delete,
            _ => DeadlineAction::Report,
        },
        skip_after_seconds: arguments.skip_after,
        tiers: Tiers {
            first: selectors(&arguments.first)?,
            last: selectors(&arguments.last)?,
        },
        surge: arguments.surge,
    };
    let clock = world.cluster.clock().clone();
    if !arguments.pods.is_empty() {
        let mut pods = Vec::new();
        for target in &arguments.pods {
            pods.push(
                Api::<Pod>::namespaced(world.client(), &target.namespace)
                    .get(&target.name)
                    .await?,
            );
        }
        return Ok(DrainEngine::evict(client, clock, policy, pods));
    }
    let filter = FilterOptions {
        force: arguments.force,
        ignore_daemonsets: !arguments.keep_daemons_out,
        delete_emptydir_data: !arguments.keep_empty_dirs,
        skip_after_seconds: arguments.skip_after,
    };
    let nodes = drain::cordon::find(&world.client(), &arguments.nodes, None).await?;
    Ok(DrainEngine::drain(
        client,
        clock,
        policy,
        PodSelection {
            filter,
            ..PodSelection::default()
        },
        nodes,
        arguments.parallel.max(1),
    ))
}

/// Renders the events, one line each, until the drain ends or is interrupted.
async fn follow(
    mut engine: DrainEngine,
    start: Timestamp,
    world: &World,
    stop: impl Future<Output = ()>,
) -> String {
    let mut stop = std::pin::pin!(stop);
    let mut lines = String::new();
    loop {
        let event = tokio::select! {
            biased;
            () = &mut stop => {
                for fault in engine.stop().await {
                    lines.push_str(&format!("{fault}\n"));
                }
                return lines + "(interrupted)\n";
            }
            event = engine.next() => event,
        };
        let Some(event) = event else { return lines };
        let seconds = world
            .cluster
            .clock()
            .now()
            .duration_since(start)
            .as_secs_f64();
        lines.push_str(&format!("{seconds:6.1}  {}\n", one_line(&event)));
    }
}

/// Renders an event on one line.
fn one_line(event: &DrainEvent) -> String {
    let tree = serde_json::to_value(event).expect("an event");
    let mut text = tree["event"].as_str().unwrap_or_default().to_owned();
    let text_of = |member: &str| match &tree[member] {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if !items.is_empty() => Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join("; "),
        ),
        _ => None,
    };
    if let (Some(namespace), Some(name)) = (
        tree["pod"]["namespace"].as_str(),
        tree["pod"]["name"].as_str(),
    ) {
        text.push_str(&format!(" {namespace}/{name}"));
    }
    for member in ["node", "change", "workload", "class"] {
        text.extend(text_of(member).map(|found| format!(" {found}")));
    }
    if let DrainEvent::TerminationDelayed { cause, .. } = event {
        text.push_str(&format!(": {}", cause.describe()));
    }
    for member in ["budgets", "causes", "why", "errors", "message"] {
        text.extend(text_of(member).map(|found| format!(": {found}")));
    }
    text
}

/// Returns a client whose first evictions get the configured answer instead of the server's.
fn faulty(client: Client, faults: Faults) -> Client {
    let left = Arc::new(AtomicU32::new(faults.times));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, left, answer) = (client.clone(), left.clone(), faults.answer.clone());
        async move {
            let evicts = request.uri().path().ends_with("/eviction");
            let hit = evicts
                && left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
            if !hit {
                return client.send(request).await;
            }
            let (code, body) = match &answer {
                Value::String(text) => (200, text.clone()),
                status => (
                    u16::try_from(status["code"].as_u64().unwrap_or(500)).unwrap_or(500),
                    status.to_string(),
                ),
            };
            let response = http::Response::builder()
                .status(code)
                .body(Body::from(body.into_bytes()));
            response.map_err(kube::Error::HttpError)
        }
    });
    Client::new(service, "default")
}

/// Returns a client whose requests take this long.
fn slow(client: Client, time: Duration) -> Client {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            tokio::time::sleep(time).await;
            client.send(request).await
        }
    });
    Client::new(service, "default")
}

scenarios! { "drain":
    a_bare_pod_and_an_empty_dir_block_until_they_are_allowed,
    a_budget_is_deleted_under_the_drain,
    a_budget_is_relaxed_under_the_drain,
    a_budget_lets_one_pod_go_at_a_time,
    a_dry_run_asks_and_changes_nothing,
    a_finalizer_holds_an_accepted_pod,
    a_member_with_volumes_of_its_own_is_not_surged,
    a_pod_that_is_leaving_already_is_awaited,
    a_proxy_says_yes_to_an_eviction,
    a_refused_pod_becomes_unready_and_goes,
    a_refused_pod_is_deleted_past_its_deadline,
    a_refused_pod_is_left_at_its_deadline,
    a_same_named_successor_is_spared,
    a_server_answers_slowly,
    a_timeout_speaks_as_kubectl_does,
    a_user_who_may_not_list_pods,
    a_user_who_may_not_watch_budgets,
    a_webhook_denies_for_a_while,
    a_webhook_is_broken_for_good,
    an_interrupted_drain_is_taken_up_again,
    an_unreachable_node_holds_its_pods,
    deletion_asks_no_budget,
    evictions_of_one_budget_meet_each_other,
    pods_are_evicted_by_name,
    pods_of_daemon_sets_stay,
    surge_gives_up_when_no_second_replica_comes,
    surge_is_taken_back_by_an_interruption,
    surge_keeps_a_single_replica_reachable,
    surge_of_a_stateful_set_gives_another_member,
    surge_of_a_stateful_set_is_taken_back_while_its_member_is_away,
    surge_of_an_interrupted_drain_is_put_right,
    surge_of_an_interrupted_stateful_set_is_put_right,
    surge_of_replica_sets_and_replication_controllers,
    the_node_vanishes_under_the_drain,
    the_token_expires_under_the_drain,
    tiers_go_one_after_the_other,
    two_budgets_on_one_pod_are_named,
    two_nodes_take_turns_at_a_budget,
}
