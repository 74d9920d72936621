//! What `exeunt plan` prints in each scenario, and whether the drain then takes that long.

use anyhow::{Context as _, ensure};
use drain::cluster::{ClusterSnapshot, NamespaceScope};
use drain::engine::DrainEngine;
use drain::filter::FilterOptions;
use drain::plan::{DrainPlan, PlanOptions, make};
use drain::selection::PodSelection;
use drain::state::DrainOptions;
use drain::tier::Tiers;
use kinds::selector::LabelSelector;
use kube::Api;
use serde::Deserialize;

use crate::scenarios;
use crate::world::World;

/// The largest relative error of a forecast.
const TOLERANCE: f64 = 0.2;

/// Nodes to plan for, with options.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    nodes: Vec<String>,
    /// Seconds from the stop signal to the end of a container.
    #[serde(default)]
    stop: u32,
    #[serde(default = "one")]
    parallel: usize,
    /// Whether the flags that allow a loss are left out.
    #[serde(default)]
    careful: bool,
    /// The user who reads the cluster; the administrator by default.
    user: Option<String>,
    #[serde(default)]
    last: Vec<String>,
}

fn one() -> usize {
    1
}

impl Arguments {
    fn filter(&self) -> FilterOptions {
        let all = !self.careful;
        FilterOptions {
            force: all,
            ignore_daemonsets: all,
            delete_emptydir_data: all,
            skip_after_seconds: 0,
        }
    }

    fn options(&self) -> PlanOptions {
        PlanOptions {
            filter: self.filter(),
            tiers: Tiers {
                first: Vec::new(),
                last: self
                    .last
                    .iter()
                    .map(|text| LabelSelector::parse(text).expect("a selector"))
                    .collect(),
            },
            parallel: self.parallel,
            stop_seconds: f64::from(self.stop),
            ..PlanOptions::of(self.nodes.clone())
        }
    }
}

async fn plan(
    world: &World,
    arguments: &Arguments,
    options: &PlanOptions,
) -> anyhow::Result<DrainPlan> {
    let client = arguments
        .user
        .as_deref()
        .map_or_else(|| world.client(), |user| world.client_of(user));
    let snapshot = ClusterSnapshot::read(
        &client,
        &NamespaceScope::Cluster,
        world.cluster.clock().now(),
    )
    .await?;
    Ok(make(&snapshot, options)?)
}

/// Prints the plan.
pub(crate) async fn run(world: &World, arguments: &Arguments) -> anyhow::Result<String> {
    let options = arguments.options();
    let plan = plan(world, arguments, &options).await?;
    Ok(format!(
        "$ exeunt plan {}\n{}",
        arguments.nodes.join(" "),
        plan.render(&options)
    ))
}

/// Prints the plan, drains as planned, and compares the time that it took with the forecast.
pub(crate) async fn forecast(world: &World, arguments: &Arguments) -> anyhow::Result<String> {
    let options = arguments.options();
    let plan = plan(world, arguments, &options).await?;
    let forecast = plan.seconds.context("the plan does not come to its end")?;
    let (client, clock) = (world.client(), world.cluster.clock().clone());
    let api = Api::all(client.clone());
    let mut nodes = Vec::new();
    for name in &arguments.nodes {
        nodes.push(api.get(name).await?);
    }
    let survey = PodSelection {
        filter: options.filter,
        ..PodSelection::default()
    };
    let begin = clock.now();
    let mut engine = DrainEngine::drain(
        client,
        clock.clone(),
        DrainOptions::default(),
        survey,
        nodes,
        arguments.parallel,
    );
    while engine.next().await.is_some() {}
    let took = clock.now().duration_since(begin).as_secs_f64();
    ensure!(
        (took - forecast).abs() <= forecast * TOLERANCE,
        "forecast {forecast} s, took {took} s\n{}",
        plan.render(&options)
    );
    let outcome = "the drain then took as long as that, within 20 %";
    Ok(format!(
        "$ exeunt plan {}\n{}\n{outcome}",
        arguments.nodes.join(" "),
        plan.render(&options)
    ))
}

scenarios! { "plan":
    a_budget_lets_pods_leave_one_by_one,
    a_percentage_lets_several_leave,
    a_pod_that_tolerates_the_cordon_comes_back,
    a_pre_stop_sleep_is_part_of_the_grace,
    a_stateful_set_that_starts_is_not_stuck,
    a_stateful_set_waits_for_the_old_pod,
    max_unavailable_zero_is_stuck_for_good,
    no_room_elsewhere_makes_a_deadlock,
    pods_that_must_keep_apart_find_no_node,
    pods_that_never_become_ready_hold_the_others,
    pods_without_a_budget_leave_at_once,
    somebody_who_may_not_see_budgets,
    two_budgets_on_one_pod_are_refused,
    two_nodes_at_a_time,
    two_nodes_one_after_the_other,
    waves_for_five_nodes,
    what_keeps_a_node_is_told_with_the_flag,
}
