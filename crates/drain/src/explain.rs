//! Explains why an eviction is refused, or why a pod does not terminate, and what to do about it.
//!
//! [`explain`] is pure: it takes a [`ClusterSnapshot`] and an [`ExplainSubject`] and returns an
//! [`Explanation`], which serializes for programs and renders as text. It predicts the server's
//! decision from the status of the budget ([`crate::prediction`]) and compares that status with its
//! own count ([`crate::budget`]). Only [`Explanation::ask`] sends a request. What could not be read
//! is listed in [`Explanation::unread`], never guessed.
//!
//! Read next: `pod.rs`, `budgets.rs`, `node.rs` for the three subjects; `remedies.rs` for what to
//! do.

mod budgets;
mod consequences;
mod contention;
mod dry_run;
mod node;
mod pod;
mod remedies;
mod render;
mod scaledown;
mod spread;
mod subject;
mod templates;
mod terminating;
mod unread;
mod views;
mod webhooks;

use serde::Serialize;

pub use dry_run::DryRunAnswer;
pub use subject::{ExplainSubject, SubjectKind};

use crate::cluster::ClusterSnapshot;
use views::ExplainViews;

/// The result in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvictionVerdict {
    /// An eviction would be granted now.
    Allowed,
    /// An eviction would be refused now, and may be granted later without any change.
    Refused,
    /// Every eviction is refused until somebody changes something.
    Blocked,
    /// The pod is being deleted and has grace left.
    Leaving,
    /// The pod is being deleted and is overdue.
    Stuck,
    /// The user may not read what the result depends on.
    Unknown,
}

/// Something that blocks an eviction or a termination, or that is worth knowing before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The category, a stable identifier for programs.
    pub id: &'static str,
    /// The description for people.
    pub text: String,
    /// True when the problem holds the pod, now or after its eviction is granted.
    pub blocks: bool,
}

/// A line of evidence with its details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The line.
    pub text: String,
    /// The details, for example the pods that were counted.
    pub parts: Vec<String>,
}

/// The worst effect of a [`Remedy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Reads, waits, or adds capacity.
    Safe,
    /// Weakens a budget or another protection.
    Protection,
    /// Stops pods or loses data.
    Downtime,
}

/// Something to do about a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The worst effect.
    pub risk: Risk,
    /// What to do and why.
    pub text: String,
    /// Shell commands, in order.
    pub commands: Vec<String>,
}

/// The explanation of one subject.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The object that is explained.
    pub subject: ExplainSubject,
    /// The result in one word.
    pub verdict: EvictionVerdict,
    /// The result in one sentence.
    pub headline: String,
    /// The facts that the result rests on.
    pub evidence: Vec<Evidence>,
    /// What blocks the subject, and what else is worth knowing.
    pub problems: Vec<Problem>,
    /// What to do, ordered by risk.
    #[serde(rename = "ways")]
    pub remedies: Vec<Remedy>,
    /// What could not be read, and what is unknown because of that.
    #[serde(rename = "unseen")]
    pub unread: Vec<String>,
    /// The server's answer to a dry run, when [`Explanation::ask`] was called.
    #[serde(rename = "answer", skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<DryRunAnswer>,
}

/// The resources without which no verdict about a subject of this kind is certain. What else could
/// not be read is listed in [`Explanation::unread`].
#[must_use]
pub fn reads(kind: SubjectKind) -> &'static [&'static str] {
    match kind {
        SubjectKind::Pod | SubjectKind::Budget => &["pods", "poddisruptionbudgets.policy"],
        SubjectKind::Node => &["nodes", "pods", "poddisruptionbudgets.policy"],
    }
}

/// Explains a subject. `None` when the snapshot does not contain it.
#[must_use]
pub fn explain(snapshot: &ClusterSnapshot, subject: &ExplainSubject) -> Option<Explanation> {
    let mut explanation = match subject.kind {
        SubjectKind::Pod => {
            let views = ExplainViews::new(snapshot);
            pod::explain(snapshot, subject.pod(snapshot)?, &views)
        }
        SubjectKind::Budget => {
            let budget = subject.budget(snapshot)?;
            let of_templates = templates::explain(snapshot, budget);
            of_templates.unwrap_or_else(|| budgets::explain(snapshot, budget))
        }
        SubjectKind::Node => node::explain(snapshot, subject.node(snapshot)?),
    };
    explanation.unread = unread::lines(snapshot, subject.kind);
    // The sort is stable: remedies of one risk stay in the order of their usefulness.
    explanation.remedies.sort_by_key(|remedy| remedy.risk);
    Some(explanation)
}

impl Explanation {
    fn new(subject: ExplainSubject, verdict: EvictionVerdict, headline: String) -> Self {
        Self {
            subject,
            verdict,
            headline,
            evidence: Vec::new(),
            problems: Vec::new(),
            remedies: Vec::new(),
            unread: Vec::new(),
            dry_run: None,
        }
    }

    /// Renders the explanation as text for people.
    #[must_use]
    pub fn render(&self) -> String {
        render::text(self)
    }

    /// Sends a dry-run eviction and stores the server's answer. Does nothing for subjects that are
    /// not pods.
    pub async fn ask(&mut self, client: &kube::Client) {
        if self.subject.kind == SubjectKind::Pod {
            self.dry_run = Some(dry_run::ask(client, &self.subject, self.verdict).await);
        }
    }
}

impl Problem {
    fn new(id: &'static str, text: impl Into<String>) -> Self {
        Self {
            id,
            text: text.into(),
            blocks: false,
        }
    }

    fn blocking(id: &'static str, text: impl Into<String>) -> Self {
        Self {
            blocks: true,
            ..Self::new(id, text)
        }
    }
}

impl Remedy {
    fn new(
        risk: Risk,
        text: impl Into<String>,
        commands: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            risk,
            text: text.into(),
            commands: commands.into_iter().collect(),
        }
    }
}

impl Evidence {
    fn line(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parts: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
