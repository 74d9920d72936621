//! Replays recorded conversations (`golden/*.json`) against a server and tells the differences.
//!
//! A transcript holds scenarios, a scenario holds steps: a request, what to wait for, and the
//! answer that a real Kubernetes gave, with the moving parts masked (`<uid>`, `<rv>`, `<time>`…).
//! Every scenario has a namespace of its own. Nothing here knows which server answers: it is handed
//! a [`Transport`]. On a paused runtime waits take no time.
//!
//! Read next: `path` for the small language that picks parts of an answer, `mask` for what moves.

mod answer;
mod body;
mod compare;
mod mask;
mod path;
mod protobuf;
mod run;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use body::Sent;
pub use run::replay;

/// A recorded area.
#[derive(Debug, Deserialize)]
pub struct Transcript {
    /// Name of the area.
    pub area: String,
    /// Its scenarios.
    pub scenarios: Vec<Scenario>,
}

/// A short conversation.
#[derive(Debug, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Why it is there.
    #[serde(default)]
    pub why: String,
    /// What is asked, in order.
    pub steps: Vec<Step>,
}

/// One request and what it should give.
#[derive(Debug, Deserialize)]
pub struct Step {
    /// `METHOD path`, or `SLEEP seconds`.
    #[serde(rename = "do")]
    pub ask: String,
    /// Headers of the request.
    #[serde(default)]
    pub headers: Option<BTreeMap<String, String>>,
    /// Body: JSON, text, or `{"base64": …}`.
    #[serde(default)]
    pub body: Option<Sent>,
    /// Values of the answer that later steps use as `${name}`.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    /// The request is repeated until the answer shows this.
    #[serde(default)]
    pub until: Option<Value>,
    /// Seconds that `until` may take.
    #[serde(default = "ten")]
    pub within: f64,
    /// How much of the answer counts.
    #[serde(default)]
    pub check: Option<Value>,
    /// Only these parts are compared.
    #[serde(default, deserialize_with = "or_default")]
    pub fields: Vec<String>,
    /// `managedFields` count too.
    #[serde(default)]
    pub managed: bool,
    /// The exact text counts.
    #[serde(default)]
    pub raw: bool,
    /// The body is JSON whatever its type says.
    #[serde(default)]
    pub json: bool,
    /// A protobuf answer is taken apart.
    #[serde(default)]
    pub proto: bool,
    /// Values that must be there but differ from run to run.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Headers compared besides the usual ones.
    #[serde(default)]
    pub keep: Vec<String>,
    /// The answer is a list of JSON lines.
    #[serde(default)]
    pub stream: Option<Value>,
    /// For text: the matches of this expression are compared.
    #[serde(default)]
    pub grep: Option<String>,
    /// Saved values that are masked in the answer.
    #[serde(default)]
    pub hide: Vec<String>,
    /// Masks applied last.
    #[serde(default)]
    pub mask: Vec<(String, String)>,
    /// The recorded answer.
    #[serde(default)]
    pub expect: Option<Value>,
}

/// The recordings write a member without a value in both ways: left out, or null.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn ten() -> f64 {
    10.0
}

/// What a server answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP status code; 0 when the connection was dropped.
    pub code: u16,
    /// Headers by lower-case name; several of one name are joined with `, `.
    pub headers: BTreeMap<String, String>,
    /// The whole body.
    pub body: Bytes,
}

/// Sends one request and gives the whole answer.
pub type Transport = Arc<dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What a replay found.
#[derive(Debug, Default)]
pub struct Report {
    /// Answers that were compared.
    pub compared: usize,
    /// Answers that agree.
    pub right: usize,
    /// Differences, each with its scenario and step.
    pub differences: Vec<String>,
}

impl Report {
    /// Agreeing answers in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        if self.compared == 0 {
            100.0
        } else {
            100.0 * count(self.right) / count(self.compared)
        }
    }
}

impl Transcript {
    /// Reads a recorded area from the repository's `golden` folder.
    ///
    /// # Errors
    /// When the file cannot be read or is not a transcript.
    pub fn load(area: &str) -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../golden")
            .join(format!("{area}.json"));
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}
