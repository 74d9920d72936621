//! Replays recorded conversations (`golden/*.json`) against a server and reports the differences.
//!
//! A transcript holds scenarios, and a scenario holds steps: a request, a condition to wait for,
//! and the response of a real Kubernetes, in which parts that vary are masked (`<uid>`, `<rv>`,
//! `<time>`…). Every scenario has its own namespace. The server is reached through a [`Transport`].
//! On a paused runtime waits take no real time.
//!
//! Read next: `path` for the language that selects parts of a response, `mask` for what varies.

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

pub use body::RecordedBody;
pub use run::replay;

/// A recorded area.
#[derive(Debug, Deserialize)]
pub struct Transcript {
    /// Name of the area.
    pub area: String,
    /// Its scenarios.
    pub scenarios: Vec<RecordedScenario>,
}

/// A short conversation.
#[derive(Debug, Deserialize)]
pub struct RecordedScenario {
    /// Its name.
    pub name: String,
    /// What it shows.
    #[serde(default)]
    pub why: String,
    /// The requests, in order.
    pub steps: Vec<TranscriptStep>,
}

/// A request and the expected response.
#[derive(Debug, Deserialize)]
pub struct TranscriptStep {
    /// `METHOD path`, or `SLEEP seconds`.
    #[serde(rename = "do")]
    pub ask: String,
    /// Headers of the request.
    #[serde(default)]
    pub headers: Option<BTreeMap<String, String>>,
    /// Body: JSON, text, or `{"base64": …}`.
    #[serde(default)]
    pub body: Option<RecordedBody>,
    /// Values of the response that later steps use as `${name}`.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    /// The request is repeated until the response contains this.
    #[serde(default)]
    pub until: Option<Value>,
    /// Limit of `until` in seconds.
    #[serde(default = "ten")]
    pub within: f64,
    /// Which parts of the response are compared.
    #[serde(default)]
    pub check: Option<Value>,
    /// Only these parts are compared.
    #[serde(default, deserialize_with = "or_default")]
    pub fields: Vec<String>,
    /// Whether `managedFields` are compared.
    #[serde(default)]
    pub managed: bool,
    /// Whether the exact bytes are compared.
    #[serde(default)]
    pub raw: bool,
    /// Whether the body is JSON in spite of its content type.
    #[serde(default)]
    pub json: bool,
    /// Whether a protobuf response is decoded.
    #[serde(default)]
    pub proto: bool,
    /// Values that must exist but vary between runs.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Headers compared besides the usual ones.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Whether the response consists of JSON lines.
    #[serde(default)]
    pub stream: Option<Value>,
    /// For text: the matches of this expression are compared.
    #[serde(default)]
    pub grep: Option<String>,
    /// Saved values that are masked in the response.
    #[serde(default)]
    pub hide: Vec<String>,
    /// Masks applied last.
    #[serde(default)]
    pub mask: Vec<(String, String)>,
    /// The recorded response.
    #[serde(default)]
    pub expect: Option<Value>,
}

/// In the recordings, a member without a value is missing or null.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn ten() -> f64 {
    10.0
}

/// The response of a server.
#[derive(Clone, Debug, Default)]
pub struct HttpResponse {
    /// HTTP status code; 0 when the connection was dropped.
    pub code: u16,
    /// Headers by lower-case name; several of one name are joined with `, `.
    pub headers: BTreeMap<String, String>,
    /// The whole body.
    pub body: Bytes,
}

/// Sends one request and returns the whole response.
pub type Transport =
    Arc<dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, HttpResponse> + Send + Sync>;

/// The result of a replay.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of responses that were compared.
    pub compared: usize,
    /// Number of responses that agree.
    pub right: usize,
    /// Differences, each with its scenario and step.
    pub differences: Vec<String>,
}

impl Report {
    /// Returns the share of responses that agree, in percent.
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
    /// Reads a recorded area from the directory `golden` of the repository.
    ///
    /// # Errors
    /// The file cannot be read or is not a transcript.
    pub fn load(area: &str) -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../golden")
            .join(format!("{area}.json"));
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}
