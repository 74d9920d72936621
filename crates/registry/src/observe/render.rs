//! Renders the metrics in the Prometheus text format when they are scraped.
//!
//! The metrics of budgets have the names that kube-state-metrics gives them, so that existing
//! dashboards and alerts work.

use std::fmt::Write as _;

use kinds::Tree;

use super::outcome::EvictionOutcome;
use crate::{Registry, key, object, record, tree};

const WRITE_CANNOT_FAIL: &str = "writing to a String cannot fail";
/// The gauges of a budget: the suffix of the name, the help, and the field of the status.
const STATUS_GAUGES: [(&str, &str, &str); 5] = [
    (
        "current_healthy",
        "Current number of healthy pods.",
        "currentHealthy",
    ),
    (
        "desired_healthy",
        "Minimum desired number of healthy pods.",
        "desiredHealthy",
    ),
    (
        "pod_disruptions_allowed",
        "Number of pod disruptions that are currently allowed.",
        "disruptionsAllowed",
    ),
    (
        "expected_pods",
        "Total number of pods counted by this disruption budget.",
        "expectedPods",
    ),
    (
        "observed_generation",
        "Most recent generation observed when updating this PDB status.",
        "observedGeneration",
    ),
];

impl Registry {
    /// Appends the metrics about evictions and budgets to `out` in the Prometheus text format.
    pub fn metrics(&self, out: &mut String) {
        self.write_evictions(out)
            .and_then(|()| self.write_budgets(out))
            .expect(WRITE_CANNOT_FAIL);
    }

    fn write_evictions(&self, out: &mut String) -> std::fmt::Result {
        let observer = self.observer();
        let all = observer.counts.all();
        let name = "exeunt_eviction_requests_total";
        writeln!(
            out,
            "# HELP {name} Evictions by outcome and by the budget that selects the pod.\n\
             # TYPE {name} counter"
        )?;
        for (namespace, budget, series) in &all {
            for outcome in EvictionOutcome::ALL {
                let count = series.of(outcome);
                if count > 0 {
                    let labels = format!(
                        "outcome=\"{}\",namespace=\"{}\",pdb=\"{}\"",
                        outcome.name(),
                        escaped(namespace),
                        escaped(budget)
                    );
                    writeln!(out, "{name}{{{labels}}} {count}")?;
                }
            }
        }
        let name = "exeunt_pdb_blocked_seconds_total";
        let help = "Time during which a budget refused evictions: from one refusal to the next \
                    within a minute, without a granted eviction in between.";
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter")?;
        for (namespace, budget, series) in all
            .iter()
            .filter(|(_, budget, series)| !budget.is_empty() && is_blocking(series))
        {
            let seconds = series.blocked().as_secs_f64();
            writeln!(
                out,
                "{name}{{namespace=\"{}\",pdb=\"{}\"}} {seconds}",
                escaped(namespace),
                escaped(budget)
            )?;
        }
        let help = "Time from a granted eviction to the removal of the pod.";
        observer
            .to_gone
            .render(out, "exeunt_eviction_to_gone_seconds", help)?;
        let help = "Time from a change of a budget's spec to the status that has observed it.";
        observer
            .status_lag
            .render(out, "exeunt_pdb_status_lag_seconds", help)?;
        let help = "Time from a change of a pod, as the disruption controller sees it, to the \
                    committed status of its budget that counts it.";
        observer
            .pod_lag
            .render(out, "exeunt_pdb_pod_status_lag_seconds", help)?;
        let name = "exeunt_eviction_events_dropped_total";
        let help = "Refused evictions without an event because too many other events were pending.";
        writeln!(
            out,
            "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}",
            observer.pending.dropped()
        )
    }

    fn write_budgets(&self, out: &mut String) -> std::fmt::Result {
        let Some(resource) = kinds::resource("policy", "v1", "poddisruptionbudgets") else {
            return Ok(());
        };
        let budgets: Vec<(String, Tree)> = self
            .store()
            .snapshot()
            .range(&key::prefix(resource, ""), None)
            .map(|budget| {
                let (namespace, name) = key::namespace_and_name(&budget.key);
                let labels = format!(
                    "namespace=\"{}\",poddisruptionbudget=\"{}\"",
                    escaped(namespace),
                    escaped(name)
                );
                (labels, record::parse(&budget.value))
            })
            .collect();
        let name = "kube_poddisruptionbudget_created";
        writeln!(
            out,
            "# HELP {name} Unix creation timestamp.\n# TYPE {name} gauge"
        )?;
        for (labels, budget) in &budgets {
            if let Some(created) =
                object::parse_time(object::meta_text(budget, "creationTimestamp"))
            {
                writeln!(out, "{name}{{{labels}}} {}", created.as_second())?;
            }
        }
        for (suffix, help, field) in STATUS_GAUGES {
            let name = format!("kube_poddisruptionbudget_status_{suffix}");
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge")?;
            for (labels, budget) in &budgets {
                writeln!(
                    out,
                    "{name}{{{labels}}} {}",
                    tree::int(budget, &["status", field]).unwrap_or(0)
                )?;
            }
        }
        Ok(())
    }
}

/// Returns true if the budget of this series has refused an eviction.
fn is_blocking(series: &super::counts::Series) -> bool {
    EvictionOutcome::ALL
        .into_iter()
        .any(|outcome| outcome.is_blocked() && series.of(outcome) > 0)
}

/// Escapes the value of a label. Names of objects need no escapes, but no value may break the
/// format.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
