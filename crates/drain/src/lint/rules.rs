//! The table of rules. Help, documentation and SARIF are made of it.

use std::fmt::Write as _;

use super::scene::Scene;
use super::{Hit, Severity, budgets, workloads};

/// One rule.
pub struct Rule {
    /// Identifier, stable.
    pub id: &'static str,
    /// How bad what it finds is.
    pub severity: Severity,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// Why that hurts.
    pub why: &'static str,
    /// The way out.
    pub way: &'static str,
    pub(super) check: for<'a> fn(&Scene<'a>) -> Vec<Hit<'a>>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rule")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

use Severity::{Error, Note, Warning};

/// Every rule, the worst first.
pub const RULES: &[Rule] = &[
    Rule {
        id: "pdb-never-allows",
        severity: Error,
        title: "A budget that leaves nothing to disrupt",
        why: "maxUnavailable 0, or minAvailable of all replicas: no healthy pod can ever be evicted, and every drain of its node waits for ever.",
        way: "write maxUnavailable: 1, or a minAvailable below the number of replicas",
        check: budgets::never_allows,
    },
    Rule {
        id: "pdb-single-replica",
        severity: Error,
        title: "A budget that protects a single replica",
        why: "The only replica can never be evicted: people end up deleting it by hand, which is the outage that the budget was to prevent.",
        way: "run two replicas, or drop the budget and accept a short outage; for one drain: exeunt drain --surge",
        check: budgets::single_replica,
    },
    Rule {
        id: "pdb-no-rule",
        severity: Error,
        title: "A budget with neither minAvailable nor maxUnavailable",
        why: "It is accepted, and allows nothing.",
        way: "write maxUnavailable: 1",
        check: budgets::no_rule,
    },
    Rule {
        id: "pdb-overlap",
        severity: Error,
        title: "Two budgets that select the same pods",
        why: "The server answers 500 to every eviction of a pod with more than one budget.",
        way: "let exactly one budget select each pod: narrow the selectors, or delete one budget",
        check: budgets::overlap,
    },
    Rule {
        id: "pdb-uncountable",
        severity: Error,
        title: "A budget whose pods cannot be counted",
        why: "Percentages and maxUnavailable count by the scale of the pods' controllers; for those without one (DaemonSets, Jobs) the budget allows nothing.",
        way: "write an integer minAvailable, or do not select these pods",
        check: budgets::uncountable,
    },
    Rule {
        id: "pdb-unmanaged-pods",
        severity: Warning,
        title: "A budget in percent, or with maxUnavailable, over pods without a controller",
        why: "Such pods are not expected and yet counted as healthy: the figures mean nothing, and over bare pods alone the budget allows nothing.",
        way: "write an integer minAvailable, or give the pods a controller",
        check: budgets::unmanaged,
    },
    Rule {
        id: "pdb-unhealthy-policy",
        severity: Warning,
        title: "A crash-looping application whose budget holds its broken pods",
        why: "Without unhealthyPodEvictionPolicy: AlwaysAllow the pods that crash keep their nodes from being drained, although they serve nobody.",
        way: "set unhealthyPodEvictionPolicy: AlwaysAllow",
        check: budgets::unhealthy_policy,
    },
    Rule {
        id: "pdb-selects-nothing",
        severity: Warning,
        title: "A budget that selects nothing",
        why: "A wrong label or a missing selector protects nobody, and nobody notices until a drain takes everything at once.",
        way: "make the selector match the labels of the pod template, or delete the budget",
        check: budgets::selects_nothing,
    },
    Rule {
        id: "pdb-several-workloads",
        severity: Note,
        title: "A budget over several workloads",
        why: "One workload that is down uses the budget up, and then the others cannot be drained either.",
        way: "write one budget for each workload",
        check: budgets::several_workloads,
    },
    Rule {
        id: "hpa-minimum",
        severity: Warning,
        title: "An autoscaler that may shrink a workload to what its budget protects",
        why: "At low load, which is when people drain, the budget allows nothing.",
        way: "raise minReplicas above what the budget needs, or write the budget as maxUnavailable: 1",
        check: budgets::autoscaler_minimum,
    },
    Rule {
        id: "hpa-minimum-one",
        severity: Note,
        title: "An autoscaler with a minimum of one replica",
        why: "At low load an eviction ends the only replica.",
        way: "set minReplicas to 2",
        check: workloads::autoscaler_one,
    },
    Rule {
        id: "single-replica",
        severity: Note,
        title: "A workload with a single replica",
        why: "Its eviction is an outage for as long as the successor takes to start.",
        way: "run two replicas with a budget of maxUnavailable: 1, or accept the outage",
        check: workloads::single_replica,
    },
    Rule {
        id: "bare-pod",
        severity: Warning,
        title: "A pod without a controller",
        why: "A drain refuses it without --force, and with --force it does not come back.",
        way: "make it by a Deployment, a StatefulSet or a Job",
        check: workloads::bare_pod,
    },
    Rule {
        id: "no-pre-stop",
        severity: Warning,
        title: "Pods behind a Service without a preStop hook",
        why: "The pod is told to stop while requests are still sent to it: each drain costs some of them an error.",
        way: "add lifecycle.preStop.sleep of a few seconds, so that endpoints are withdrawn before the pod stops",
        check: workloads::no_pre_stop,
    },
    Rule {
        id: "pre-stop-beyond-grace",
        severity: Error,
        title: "A preStop sleep that takes the whole grace",
        why: "The hook runs within the grace period: nothing is left for the process to end in order, and it is killed.",
        way: "raise terminationGracePeriodSeconds well above the sleep",
        check: workloads::pre_stop_beyond_grace,
    },
    Rule {
        id: "no-grace",
        severity: Warning,
        title: "Pods without any grace",
        why: "terminationGracePeriodSeconds 0 kills the processes at once and removes the pod before they have ended.",
        way: "leave it out (30 seconds), or write what the process needs",
        check: workloads::no_grace,
    },
    Rule {
        id: "long-grace",
        severity: Warning,
        title: "A grace period beyond the limit (--max-grace)",
        why: "A drain waits for it on every node, and node upgrades have time-outs.",
        way: "shorten terminationGracePeriodSeconds, or raise the limit for what really takes so long",
        check: workloads::long_grace,
    },
    Rule {
        id: "tolerates-cordon",
        severity: Note,
        title: "Pods that tolerate the taint of a cordon",
        why: "Evicted from a drained node, they may be scheduled straight back to it.",
        way: "name the taints that must be tolerated instead of all of them",
        check: workloads::tolerates_cordon,
    },
    Rule {
        id: "spread-counts-cordoned",
        severity: Note,
        title: "Hard topology spread that counts cordoned nodes",
        why: "A node that is being drained counts as a place without pods, so that no other may take one more: the successors find no node, and the budget waits for them.",
        way: "set nodeTaintsPolicy: Honor in the constraint, or whenUnsatisfiable: ScheduleAnyway",
        check: workloads::spread_counts_cordoned,
    },
    Rule {
        id: "eviction-webhook",
        severity: Warning,
        title: "A webhook that can fail every eviction",
        why: "It is asked about pods/eviction and fails closed: while it is down no node can be drained, not even its own.",
        way: "set failurePolicy: Ignore, or run it with several replicas on other nodes and a short time-out",
        check: workloads::eviction_webhook,
    },
];

/// The table as text for `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Rules:\n");
    for rule in RULES {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {:<8} {:<22} {}",
            rule.severity.word(),
            rule.id,
            rule.title
        );
    }
    let _ = write!(
        text,
        "\nThe annotation {}: RULE,RULE on an object suppresses findings about it (* is all).",
        super::IGNORE
    );
    text
}

/// The table as the document that describes it.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "| rule | severity | what it finds | why it hurts | way out |\n| --- | --- | --- | --- | --- |\n",
    );
    for Rule {
        id,
        severity,
        title,
        why,
        way,
        ..
    } in RULES
    {
        let _ = writeln!(
            text,
            "| `{id}` | {} | {title} | {why} | {way} |",
            severity.word()
        );
    }
    text
}
