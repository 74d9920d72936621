//! Finds budgets and workloads that will block a drain, or be harmed by one, before it begins.
//!
//! [`lint`] is pure: it takes a snapshot of a cluster or of manifests and returns findings. Every
//! rule is a row of [`RULES`]: identifier, severity, reason, fix, and the function that checks it.
//! Help, documentation and SARIF are generated from the same rows. Findings about an object with
//! the annotation [`IGNORE`] are kept and marked as suppressed.
//!
//! Read next: `context.rs` for the input of the rules, `budgets.rs` and `workloads.rs` for the
//! checks.

mod budgets;
mod context;
mod render;
mod rules;
mod sarif;
mod sources;
mod workloads;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

pub use self::rules::{LintRule, RULES, help, markdown};
pub use render::text;
pub use sarif::sarif;
pub use sources::{SourceLocation, SourceMap};

use crate::cluster::{ClusterSnapshot, is_clusterwide};
use crate::pods;
use context::LintContext;

/// The annotation with the rules to suppress for an object, separated by commas; `*` for all.
pub const IGNORE: &str = "lint.exeunt.dev/ignore";

/// The resources that the rules read. Without one of them, a rule may miss what it looks for.
pub const READS: &[&str] = &[
    "pods",
    "poddisruptionbudgets.policy",
    "deployments.apps",
    "statefulsets.apps",
    "replicasets.apps",
    "daemonsets.apps",
    "replicationcontrollers",
    "jobs.batch",
    "cronjobs.batch",
    "horizontalpodautoscalers.autoscaling",
    "services",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
];

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingSeverity {
    /// A drain has a side effect that may be intended.
    Note,
    /// A drain causes errors, data loss, or long waits.
    Warning,
    /// A drain cannot finish.
    Error,
}

/// The options of lint.
#[derive(Clone, Copy, Debug)]
pub struct LintOptions {
    /// The longest grace period that is not reported.
    pub max_grace: Duration,
}

/// The object that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Identifier of the rule.
    pub rule: &'static str,
    /// Severity of the rule.
    pub severity: FindingSeverity,
    /// The object.
    pub object: ObjectRef,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(rename = "way")]
    pub fix: &'static str,
    /// True when the object has the annotation that suppresses the rule.
    pub suppressed: bool,
    /// The location of the object, `None` when it was read from a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLocation>,
}

/// A match of a rule: an object and a message.
struct RuleHit {
    object: ObjectRef,
    /// The object's annotation [`IGNORE`].
    ignored: String,
    message: String,
}

impl RuleHit {
    fn new(kind: &str, meta: &ObjectMeta, message: String) -> Self {
        let namespace = if is_clusterwide(kind) {
            ""
        } else {
            pods::namespace_of(meta)
        };
        let object = ObjectRef {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: meta.name.clone().unwrap_or_default(),
        };
        Self::of(object, meta.annotations.as_ref(), message)
    }

    fn of(
        object: ObjectRef,
        annotations: Option<&BTreeMap<String, String>>,
        message: String,
    ) -> Self {
        let ignored = annotations.and_then(|annotations| annotations.get(IGNORE));
        Self {
            object,
            ignored: ignored.cloned().unwrap_or_default(),
            message,
        }
    }
}

impl FindingSeverity {
    /// Returns the name of the severity, also its level in SARIF.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_lowercase();
        let kind = if kind == "poddisruptionbudget" {
            "pdb"
        } else {
            &kind
        };
        match self.namespace.as_str() {
            "" => write!(out, "{kind}/{}", self.name),
            namespace => write!(out, "{namespace}/{kind}/{}", self.name),
        }
    }
}

/// Checks all rules. The findings are ordered by severity, the worst first, then by object.
#[must_use]
pub fn lint(
    snapshot: &ClusterSnapshot,
    sources: &SourceMap,
    options: &LintOptions,
) -> Vec<Finding> {
    let context = LintContext::of(snapshot, *options);
    let mut findings: Vec<Finding> = RULES
        .iter()
        .flat_map(|rule| {
            (rule.check)(&context)
                .into_iter()
                .map(|hit| finding(rule, hit, sources))
        })
        .collect();
    findings
        .sort_by(|left, right| (right.severity, &left.object).cmp(&(left.severity, &right.object)));
    findings
}

fn finding(rule: &'static LintRule, hit: RuleHit, sources: &SourceMap) -> Finding {
    let suppressed = hit
        .ignored
        .split(',')
        .map(str::trim)
        .any(|word| word == rule.id || word == "*");
    let source = sources.of(&hit.object);
    Finding {
        rule: rule.id,
        severity: rule.severity,
        object: hit.object,
        message: hit.message,
        fix: rule.fix,
        suppressed,
        source,
    }
}

#[cfg(test)]
mod tests;
