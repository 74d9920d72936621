//! Why an eviction is refused, or a pod does not go, and what to do about it.
//!
//! [`explain`] is pure: a [`Snapshot`] and a [`Subject`] in, an [`Explanation`] out, which is data
//! for programs and renders as text. It decides as the server does ([`decide`]), by what the status
//! of a budget says, and sets its own arithmetic ([`crate::budget`]) beside it. Only
//! [`Explanation::ask`] talks to a server. What could not be read is told, never guessed.
//!
//! Read next: `pod.rs`, `budgets.rs`, `node.rs` for the three subjects; `ways.rs` for the ways out.

mod after;
mod ask;
mod budgets;
mod contention;
pub mod decide;
mod leaving;
mod node;
mod pod;
mod render;
mod scaledown;
mod spread;
mod subject;
mod unseen;
mod ways;
mod webhooks;

use serde::Serialize;

pub(crate) use after::{prepares_to_stop, serving, volumes as volumes_of};
pub use ask::Answer;
pub use subject::{Kind, Subject};
pub(crate) use webhooks::{Hook, of_evictions as webhooks_of_evictions};

use crate::cluster::Snapshot;

/// The result in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// An eviction would be granted now.
    Allowed,
    /// It would be refused now, and may be granted later.
    Refused,
    /// It will be refused until somebody changes something.
    Blocked,
    /// The pod is on its way out.
    Leaving,
    /// The pod should be gone and is not.
    Stuck,
    /// Too little could be read.
    Unknown,
}

/// One thing that is in the way, or will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which sort; stable, for programs.
    pub id: &'static str,
    /// In words.
    pub text: String,
    /// It holds the pod, now or once its eviction is granted; otherwise it is good to know.
    pub blocks: bool,
}

/// A line of evidence, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The line.
    pub text: String,
    /// Its parts, for example the pods that were counted.
    pub parts: Vec<String>,
}

/// How much a way out can hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Looks, waits, or adds something.
    Safe,
    /// Lowers a protection.
    Protection,
    /// Ends pods, or loses data.
    Downtime,
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// What it can hurt.
    pub risk: Risk,
    /// What to do and why.
    pub text: String,
    /// As commands to copy, in order.
    pub commands: Vec<String>,
}

/// Everything there is to say about one subject.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What it is about.
    pub subject: Subject,
    /// The result in one word.
    pub verdict: Verdict,
    /// The result in one sentence.
    pub headline: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// What is in the way, or will be.
    pub problems: Vec<Problem>,
    /// What to do, the safe things first.
    pub ways: Vec<Way>,
    /// What could not be read, and what is therefore unknown.
    pub unseen: Vec<String>,
    /// What the server says to a dry run, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// Explains a subject; none when the snapshot does not hold it.
#[must_use]
pub fn explain(snapshot: &Snapshot, subject: &Subject) -> Option<Explanation> {
    let mut explanation = match subject.kind {
        Kind::Pod => pod::explain(snapshot, subject.pod(snapshot)?),
        Kind::Budget => budgets::explain(snapshot, subject.budget(snapshot)?),
        Kind::Node => node::explain(snapshot, subject.node(snapshot)?),
    };
    explanation.unseen = unseen::lines(snapshot, subject.kind);
    // The sort keeps the order of those that hurt alike.
    explanation.ways.sort_by_key(|way| way.risk);
    Some(explanation)
}

impl Explanation {
    fn new(subject: Subject, verdict: Verdict, headline: String) -> Self {
        let (evidence, problems, ways, unseen) = Default::default();
        Self {
            subject,
            verdict,
            headline,
            evidence,
            problems,
            ways,
            unseen,
            answer: None,
        }
    }

    /// The explanation as text for people.
    #[must_use]
    pub fn render(&self) -> String {
        render::text(self)
    }

    /// Asks the server to evict the pod as a dry run, and keeps its answer beside ours. Nothing for
    /// other subjects.
    pub async fn ask(&mut self, client: &kube::Client) {
        if self.subject.kind == Kind::Pod {
            self.answer = Some(ask::ask(client, &self.subject, self.verdict).await);
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

impl Evidence {
    fn line(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parts: Vec::new(),
        }
    }
}
