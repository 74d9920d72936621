//! What `exeunt explain` prints in each scenario.

use anyhow::Context as _;
use drain::cluster::{ClusterSnapshot, NamespaceScope};
use drain::explain::{ExplainSubject, explain};
use serde::Deserialize;

use crate::scenarios;
use crate::world::{Target, World};

/// The subject to explain, alone or with options.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Arguments {
    Plain(Target),
    Full(Full),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Full {
    of: Target,
    /// Whether to send a dry-run eviction, too.
    #[serde(default)]
    ask: bool,
    /// The user who reads the cluster; the administrator by default.
    user: Option<String>,
}

pub(crate) async fn run(world: &World, arguments: &Arguments) -> anyhow::Result<String> {
    let (target, ask, user) = match arguments {
        Arguments::Plain(target) => (target, false, None),
        Arguments::Full(full) => (&full.of, full.ask, full.user.as_deref()),
    };
    let client = user.map_or_else(|| world.client(), |user| world.client_of(user));
    let subject = ExplainSubject::new(&target.kind, &target.namespace, &target.name)
        .context("pods, pdbs and nodes are explained")?;
    let snapshot = ClusterSnapshot::read(
        &client,
        &NamespaceScope::Cluster,
        world.cluster.clock().now(),
    )
    .await?;
    let mut explanation =
        explain(&snapshot, &subject).with_context(|| format!("{subject} not found"))?;
    if ask {
        explanation.ask(&client).await;
    }
    Ok(format!(
        "$ exeunt explain {subject}\n{}",
        explanation.render()
    ))
}

scenarios! { "explain":
    a_budget_that_a_controller_writes,
    a_budget_that_allows,
    a_budget_without_any_rule,
    a_crash_looping_pod_uses_the_budget_up,
    a_csi_controller_must_go_after_the_volumes_it_detaches,
    a_deployment_that_can_be_restarted_elsewhere,
    a_dry_run_judges_each_pod_alone,
    a_finalizer_keeps_a_pod_that_was_evicted,
    a_local_volume_ties_a_pod_to_its_node,
    a_mirror_pod_of_its_node,
    a_namespace_that_is_being_deleted,
    a_pod_that_does_not_run_yet,
    a_pod_without_a_controller_under_a_percentage,
    a_replacement_waits_for_a_cordoned_node,
    a_selector_that_selects_nothing,
    a_spread_that_counts_cordoned_nodes,
    a_status_that_is_never_updated,
    a_status_that_is_not_what_the_pods_say,
    a_status_that_was_not_updated,
    a_terminating_pod_uses_the_budget_up,
    a_volume_left_on_an_empty_node,
    a_volume_that_does_not_detach,
    a_webhook_that_answers_from_the_drained_node,
    a_webhook_whose_service_is_gone,
    a_whole_node,
    an_autoscaler_may_shrink_to_the_budget,
    an_eviction_that_was_refused_again_and_again,
    an_idle_node_that_an_autoscaler_cannot_take_away,
    an_owner_with_a_scale_of_its_own,
    an_owner_without_scale_cannot_be_counted,
    an_unreachable_node_never_confirms,
    an_unready_pod_goes_under_always_allow,
    an_unready_pod_goes_while_enough_others_are_healthy,
    an_unready_pod_is_held_by_if_healthy_budget,
    granted_evictions_that_nobody_confirmed,
    max_unavailable_zero_never_allows,
    min_available_of_all_replicas_never_allows,
    several_drains_contend_for_one_budget,
    single_replica_under_min_available_one,
    somebody_who_may_not_see_budgets,
    somebody_who_may_not_see_controllers,
    the_server_is_asked_as_well,
    two_budgets_on_one_pod,
    what_is_lost_and_what_comes_back,
}
