//! Budgets and workloads that will block a drain or be hurt by one, found before it begins.
//!
//! [`lint`] is pure: a snapshot of a cluster, or of manifests that never saw one, in; findings out.
//! Every rule is a row of [`RULES`]: identifier, severity, why, the way out, and the function that
//! checks it; help, documentation and SARIF come from the same rows. An object that carries the
//! annotation [`IGNORE`] keeps its findings, marked as suppressed.
//!
//! Read next: `scene.rs` for what the rules look at, `budgets.rs` and `workloads.rs` for the
//! checks.

mod budgets;
mod render;
mod rules;
mod sarif;
mod scene;
mod sources;
mod workloads;

use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

pub use self::rules::{RULES, Rule, help, markdown};
pub use render::text;
pub use sarif::sarif;
pub use sources::{Source, Sources};

use crate::cluster::Snapshot;
use scene::Scene;

/// The annotation that names rules to suppress for an object, with commas between them; `*` is all.
pub const IGNORE: &str = "lint.exeunt.dev/ignore";

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Will hurt somebody.
    Warning,
    /// A drain will be stuck.
    Error,
}

/// What can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest grace period that is not reported.
    pub max_grace: Duration,
}

/// The object that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Object {
    /// Empty for objects without one.
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
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub object: Object,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub way: &'static str,
    /// The object asks not to be told.
    pub suppressed: bool,
    /// Where the object was written, when it came from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// What a rule's function finds: an object and a message.
struct Hit<'a> {
    kind: &'static str,
    meta: &'a ObjectMeta,
    message: String,
}

impl Severity {
    /// The word for it, in SARIF and elsewhere.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Object {
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

/// Checks everything; the worst first, then by object.
#[must_use]
pub fn lint(snapshot: &Snapshot, sources: &Sources, options: &Options) -> Vec<Finding> {
    let scene = Scene::of(snapshot, *options);
    let mut findings: Vec<Finding> = RULES
        .iter()
        .flat_map(|rule| {
            (rule.check)(&scene)
                .into_iter()
                .map(|hit| finding(rule, &hit, sources))
        })
        .collect();
    findings
        .sort_by(|left, right| (right.severity, &left.object).cmp(&(left.severity, &right.object)));
    findings
}

fn finding(rule: &'static Rule, hit: &Hit<'_>, sources: &Sources) -> Finding {
    let namespace = match hit.kind {
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => String::new(),
        _ => hit
            .meta
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned()),
    };
    let object = Object {
        namespace,
        kind: hit.kind.to_owned(),
        name: hit.meta.name.clone().unwrap_or_default(),
    };
    let ignored = hit
        .meta
        .annotations
        .as_ref()
        .and_then(|notes| notes.get(IGNORE))
        .map(String::as_str)
        .unwrap_or_default();
    let suppressed = ignored
        .split(',')
        .map(str::trim)
        .any(|word| word == rule.id || word == "*");
    let source = sources.of(&object);
    Finding {
        rule: rule.id,
        severity: rule.severity,
        object,
        message: hit.message.clone(),
        way: rule.way,
        suppressed,
        source,
    }
}

#[cfg(test)]
mod tests;
