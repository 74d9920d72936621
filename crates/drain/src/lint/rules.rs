//! The table of rules. Help, documentation and SARIF are generated from it.

use std::fmt::Write as _;

use super::context::LintContext;
use super::{FindingSeverity, RuleHit, budgets, workloads};

/// A rule.
pub struct LintRule {
    /// The stable identifier.
    pub id: &'static str,
    /// The severity of its findings.
    pub severity: FindingSeverity,
    /// What it finds, as a noun phrase.
    pub title: &'static str,
    /// Why that is a problem.
    pub why: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    pub(super) check: for<'a> fn(&LintContext<'a>) -> Vec<RuleHit>,
}

impl std::fmt::Debug for LintRule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LintRule")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

use FindingSeverity::{Error, Note, Warning};

/// All rules, grouped by subject.
pub const RULES: &[LintRule] = &[
    LintRule {
        id: "server-refuses",
        severity: Error,
        title: "An object that the server refuses",
        why: "It fails the server's own validation of budgets, or its API version is not served any more, so it is never created and protects nothing.",
        fix: "correct the object until kubectl apply --dry-run=server accepts it",
        check: budgets::refused,
    },
    LintRule {
        id: "pdb-never-allows",
        severity: Error,
        title: "A budget that never allows a disruption",
        why: "With maxUnavailable 0, or minAvailable equal to the replicas, no healthy pod can ever be evicted, and a drain of its node never finishes.",
        fix: "set maxUnavailable: 1, or a minAvailable below the number of replicas",
        check: budgets::never_allows,
    },
    LintRule {
        id: "pdb-single-replica",
        severity: Error,
        title: "A budget that protects a single replica",
        why: "The only replica can never be evicted. In the end somebody deletes it by hand, which is the outage that the budget should prevent.",
        fix: "run two replicas, or delete the budget and accept a short outage; for a single drain use exeunt drain --surge",
        check: budgets::single_replica,
    },
    LintRule {
        id: "pdb-no-rule",
        severity: Error,
        title: "A budget with neither minAvailable nor maxUnavailable",
        why: "The API server accepts it, and it never allows a disruption.",
        fix: "set maxUnavailable: 1",
        check: budgets::no_rule,
    },
    LintRule {
        id: "pdb-overlap",
        severity: Error,
        title: "Budgets that select the same pods",
        why: "The server answers 500 to every eviction of a pod with more than one budget.",
        fix: "narrow the selectors or delete a budget, so that one budget selects each pod",
        check: budgets::overlap,
    },
    LintRule {
        id: "pdb-uncountable",
        severity: Error,
        title: "A budget whose pods cannot be counted",
        why: "Percentages and maxUnavailable are computed from the scale of the pods' controllers. DaemonSets and Jobs have no scale, so the budget allows no disruption.",
        fix: "set an integer minAvailable, or do not select these pods",
        check: budgets::uncountable,
    },
    LintRule {
        id: "pdb-unmanaged-pods",
        severity: Warning,
        title: "A percentage or maxUnavailable for pods without a controller",
        why: "Such pods count as healthy but not as expected, so the budget allows too much, or for bare pods alone nothing.",
        fix: "set an integer minAvailable, or give the pods a controller",
        check: budgets::unmanaged,
    },
    LintRule {
        id: "pdb-unhealthy-policy",
        severity: Warning,
        title: "A budget that protects pods in a crash loop",
        why: "Without unhealthyPodEvictionPolicy: AlwaysAllow the crashing pods block drains of their nodes, although they serve no requests.",
        fix: "set unhealthyPodEvictionPolicy: AlwaysAllow",
        check: budgets::unhealthy_policy,
    },
    LintRule {
        id: "pdb-unhealthy-policy-unset",
        severity: Note,
        title: "A budget without unhealthyPodEvictionPolicy",
        why: "The default IfHealthyBudget protects pods that run without being ready while the budget has too few healthy pods.",
        fix: "set unhealthyPodEvictionPolicy: AlwaysAllow, or IfHealthyBudget if unready pods must be protected",
        check: budgets::unhealthy_policy_unset,
    },
    LintRule {
        id: "pdb-selects-nothing",
        severity: Warning,
        title: "A budget that selects no pods",
        why: "With a wrong label or without a selector the budget protects nothing, which nobody notices until a drain evicts all pods at once.",
        fix: "make the selector match the labels of the pod template, or delete the budget",
        check: budgets::selects_nothing,
    },
    LintRule {
        id: "pdb-pods-unseen",
        severity: Note,
        title: "A budget whose pods the file does not show",
        why: "Pods that an operator creates, or objects that are missing in the file, decide what the budget allows.",
        fix: "check the cluster, or a complete dump of it",
        check: budgets::unseen,
    },
    LintRule {
        id: "pdb-zero-replicas",
        severity: Note,
        title: "A budget for workloads without replicas",
        why: "The budget protects nothing as long as nobody scales the workloads up.",
        fix: "delete the budget, or set replicas",
        check: budgets::zero_replicas,
    },
    LintRule {
        id: "pdb-several-workloads",
        severity: Note,
        title: "A budget for several workloads",
        why: "When one workload is down it uses up the budget, and the others cannot be drained either.",
        fix: "create one budget for each workload",
        check: budgets::several_workloads,
    },
    LintRule {
        id: "hpa-minimum",
        severity: Warning,
        title: "An autoscaler whose minimum is what the budget protects",
        why: "At low load, when nodes are usually drained, the budget allows no disruption.",
        fix: "raise minReplicas above what the budget needs, or set maxUnavailable: 1 in the \
              budget",
        check: budgets::autoscaler_minimum,
    },
    LintRule {
        id: "hpa-minimum-one",
        severity: Note,
        title: "An autoscaler with a minimum of one replica",
        why: "At low load an eviction stops the only replica.",
        fix: "set minReplicas (minReplicaCount of a ScaledObject) to 2",
        check: workloads::autoscaler_one,
    },
    LintRule {
        id: "single-replica",
        severity: Note,
        title: "A workload with a single replica",
        why: "Its eviction is an outage until the replacement is ready.",
        fix: "run two replicas with a budget of maxUnavailable: 1, or accept the outage",
        check: workloads::single_replica,
    },
    LintRule {
        id: "no-budget",
        severity: Warning,
        title: "A replicated workload without a budget",
        why: "A drain of several nodes may evict all its pods at the same time.",
        fix: "create a budget with maxUnavailable: 1",
        check: workloads::no_budget,
    },
    LintRule {
        id: "bare-pod",
        severity: Warning,
        title: "A pod without a controller",
        why: "A drain refuses to evict it without --force, and with --force nothing replaces it.",
        fix: "create it through a Deployment, a StatefulSet or a Job",
        check: workloads::bare_pod,
    },
    LintRule {
        id: "no-pre-stop",
        severity: Warning,
        title: "Pods behind a Service without a preStop hook",
        why: "The pod gets its stop signal while requests are still routed to it, so some requests fail in every drain.",
        fix: "add a lifecycle.preStop.sleep of a few seconds, so that the endpoints are removed before the pod stops",
        check: workloads::no_pre_stop,
    },
    LintRule {
        id: "pre-stop-beyond-grace",
        severity: Error,
        title: "A preStop sleep as long as the grace period",
        why: "The hook runs within the grace period, so no time is left for the process to shut down, and it is killed.",
        fix: "raise terminationGracePeriodSeconds well above the sleep",
        check: workloads::pre_stop_beyond_grace,
    },
    LintRule {
        id: "no-grace",
        severity: Warning,
        title: "Pods without a grace period",
        why: "terminationGracePeriodSeconds 0 kills the processes at once, and deletes the pod before they have ended.",
        fix: "remove the field (30 seconds), or set the time that the process needs",
        check: workloads::no_grace,
    },
    LintRule {
        id: "long-grace",
        severity: Warning,
        title: "A grace period beyond the limit (--max-grace)",
        why: "A drain waits for it on every node, and node upgrades have timeouts.",
        fix: "reduce terminationGracePeriodSeconds, or raise the limit if the shutdown takes that long",
        check: workloads::long_grace,
    },
    LintRule {
        id: "tolerates-cordon",
        severity: Note,
        title: "Pods that tolerate the taint of cordoned nodes",
        why: "After an eviction they may be scheduled to the drained node again.",
        fix: "tolerate only the taints that must be tolerated",
        check: workloads::tolerates_cordon,
    },
    LintRule {
        id: "spread-counts-cordoned",
        severity: Note,
        title: "A required topology spread that counts cordoned nodes",
        why: "A drained node counts as a domain without pods, so no other domain may get one more: the replacements find no node, and the budget waits for them.",
        fix: "set nodeTaintsPolicy: Honor or whenUnsatisfiable: ScheduleAnyway in the constraint",
        check: workloads::spread_counts_cordoned,
    },
    LintRule {
        id: "eviction-webhook",
        severity: Warning,
        title: "A webhook that can fail every eviction",
        why: "The server calls it for pods/eviction and it fails closed: while it is down no node can be drained, not even its own.",
        fix: "set failurePolicy: Ignore, or run several replicas on other nodes with a short timeout",
        check: workloads::eviction_webhook,
    },
];

/// Renders the table for `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Rules:\n");
    for rule in RULES {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {:<8} {:<26} {}",
            rule.severity.as_str(),
            rule.id,
            rule.title
        );
    }
    let _ = write!(
        text,
        "\nThe annotation {}: RULE,RULE suppresses these rules for an object (* for all).",
        super::IGNORE
    );
    text
}

/// Renders the table for docs/lint.md.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "| rule | severity | finds | reason | fix |\n| --- | --- | --- | --- | --- |\n",
    );
    for LintRule {
        id,
        severity,
        title,
        why,
        fix,
        ..
    } in RULES
    {
        let _ = writeln!(
            text,
            "| `{id}` | {} | {title} | {why} | {fix} |",
            severity.as_str()
        );
    }
    text
}
