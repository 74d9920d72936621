//! One collection, listed and then followed, for ever.
//!
//! This does what `kube::runtime::watcher` does, over the same [`Client`], but knows no kind: what
//! is asynchronous is compiled once and not for each of twenty kinds, and a line of a watch goes to
//! its [`Sink`] as the bytes that came, so that the sink decodes what it needs and skips the rest.
//! Half of an object is often managed fields, and most of what comes is pods, of which most is of
//! no interest here.
//!
//! Guarantees: `begin`, pages, `complete`, then changes in the order of the server, where a sink
//! wants that, without those changes of an object which its next line overtakes; after whatever
//! breaks (the stream, a history that is gone, a panic in the sink) either the changes go on
//! without a gap or a new list begins.

mod wire;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use clock::Entropy;
use futures::FutureExt;
use http_body_util::BodyExt;
use kube::Client;
use kube::api::{ListParams, Request, WatchParams};
use kube::client::Body;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::{debug, error, warn};

pub(crate) use wire::without_managed_fields;
use wire::{Line, Lines, TooLong};

/// How many objects a page of a list holds.
const PAGE: u32 = 500;
/// A watch is taken up anew after this time; upstream's clients wait as long.
const WATCH_SECONDS: u32 = 290;
/// A stream that says nothing for so long is dead. Bookmarks come every minute.
const SILENCE: Duration = Duration::from_secs(295);
/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is followed.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    /// For example `/api/v1/pods`.
    pub(crate) path: String,
    /// A field selector.
    pub(crate) fields: Option<String>,
    /// Only metadata are asked for.
    pub(crate) metadata_only: bool,
}

/// Takes what is told about a collection.
pub(crate) trait Sink: Send {
    /// A new list begins; what it does not show is gone.
    fn begin(&mut self);
    /// A page of the list.
    fn page(&mut self, body: &[u8]) -> serde_json::Result<ListEnd>;
    /// The list is complete.
    fn complete(&mut self);
    /// True when a change of an object need not be told if the very next line tells of it, too.
    fn wants_newest_only(&self) -> bool {
        false
    }
    /// An object is new or has changed. Returns its resource version.
    fn put(&mut self, object: &[u8]) -> serde_json::Result<String>;
    /// An object is gone. Returns the resource version of its end.
    fn gone(&mut self, object: &[u8]) -> serde_json::Result<String>;
}

/// What stands beside the items of a page.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListEnd {
    pub(crate) resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// A page of a list, its items decoded.
#[derive(Deserialize)]
pub(crate) struct Page<K> {
    #[serde(default)]
    pub(crate) metadata: ListEnd,
    /// A server written in Go says null for an empty list.
    pub(crate) items: Option<Vec<K>>,
}

/// Decodes an object, or a page of them, without what nobody reads.
pub(crate) fn decode<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let json = without_managed_fields(json);
    // As text, as the answers of requests are decoded: for another kind of input all types would be
    // compiled once more.
    serde_json::from_str(std::str::from_utf8(&json).map_err(serde::de::Error::custom)?)
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("a request cannot be built: {0}")]
    Request(#[from] kube::core::request::Error),
    #[error("what came is not understood: {0}")]
    Decode(#[from] serde_json::Error),
    #[error("a line is longer than any object can be")]
    TooLong,
    #[error("the watch tells of an error: {0}")]
    Told(String),
    #[error("the list has no resourceVersion")]
    NoVersion,
}

impl From<TooLong> for Failure {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

/// Follows a collection until it is dropped.
pub(crate) async fn follow(
    client: Client,
    collection: Collection,
    entropy: Entropy,
    mut sink: Box<dyn Sink>,
) {
    let mut follower = Follower {
        client,
        collection,
        from: None,
        heard: false,
    };
    let mut attempts = 0;
    loop {
        follower.heard = false;
        let path = follower.collection.path.clone();
        match AssertUnwindSafe(follower.run(&mut *sink))
            .catch_unwind()
            .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(path, %error, "watch interrupted; taking it up again"),
            Err(_) => {
                error!(path, "the watch panicked; listing anew");
                follower.from = None;
            }
        }
        attempts = if follower.heard { 0 } else { attempts + 1 };
        // Many watches break together; they need not all come back at once.
        let pause = FIRST_PAUSE
            .saturating_mul(1 << attempts.min(10))
            .min(LONGEST_PAUSE);
        if attempts > 0 {
            tokio::time::sleep(entropy.jitter(pause, 0.2)).await;
        }
    }
}

struct Follower {
    client: Client,
    collection: Collection,
    /// The revision up to which the sink knows everything; none before the first list and after a
    /// gap.
    from: Option<String>,
    /// Something was understood since the last attempt began.
    heard: bool,
}

impl Follower {
    /// Lists if that is necessary, then watches until the stream ends.
    async fn run(&mut self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let from = match self.from.take() {
            Some(from) => from,
            None => self.list(sink).await?,
        };
        self.from = Some(from.clone());
        let params = WatchParams {
            field_selector: self.collection.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(&self.collection.path);
        let request = if self.collection.metadata_only {
            request.watch_metadata(&params, &from)?
        } else {
            request.watch(&params, &from)?
        };
        let mut body = match open(&self.client, request).await {
            Err(error) if crate::error::code(&error) == 410 => {
                self.from = None;
                return Err(error.into());
            }
            opened => opened?,
        };
        let mut lines = Lines::default();
        while let Ok(Some(frame)) = tokio::time::timeout(SILENCE, body.frame()).await {
            let Ok(chunk) = frame?.into_data() else {
                continue;
            };
            let mut lines = lines.feed(chunk)?;
            if sink.wants_newest_only() {
                lines = wire::newest(lines);
            }
            for line in lines {
                self.take(&line, sink)?;
            }
        }
        Ok(())
    }

    async fn list(&mut self, sink: &mut dyn Sink) -> Result<String, Failure> {
        sink.begin();
        let mut next = String::new();
        loop {
            let params = ListParams {
                field_selector: self.collection.fields.clone(),
                limit: Some(PAGE),
                continue_token: Some(next).filter(|next| !next.is_empty()),
                ..ListParams::default()
            };
            let request = Request::new(&self.collection.path);
            let request = if self.collection.metadata_only {
                request.list_metadata(&params)?
            } else {
                request.list(&params)?
            };
            let body = open(&self.client, request)
                .await?
                .collect()
                .await?
                .to_bytes();
            let end = sink.page(&body)?;
            self.heard = true;
            if end.next.is_empty() {
                if end.resource_version.is_empty() {
                    return Err(Failure::NoVersion);
                }
                sink.complete();
                return Ok(end.resource_version);
            }
            next = end.next;
        }
    }

    fn take(&mut self, line: &[u8], sink: &mut dyn Sink) -> Result<(), Failure> {
        let version = match wire::line(line)? {
            Line::Put(object) => sink.put(&object),
            Line::Gone(object) => sink.gone(&object),
            Line::Bookmark(object) => {
                serde_json::from_slice::<Mark>(&object).map(|mark| mark.metadata.resource_version)
            }
            Line::Error(object) => {
                let status: Status = serde_json::from_slice(&object)?;
                if status.code == 410 {
                    self.from = None;
                }
                return Err(Failure::Told(status.message));
            }
        };
        self.heard = true;
        match version {
            Ok(version) => self.from = Some(version),
            // One object that cannot be read must not keep all others from being seen.
            Err(error) => {
                warn!(path = self.collection.path, %error, "an object is not understood; it is left out")
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Mark {
    metadata: ListEnd,
}

/// The body of a successful answer.
async fn open(client: &Client, request: http::Request<Vec<u8>>) -> Result<Body, kube::Error> {
    let mut request = request.map(Body::from);
    // Packing saves nothing inside a machine, and packed watches cannot be read line by line.
    request.headers_mut().insert(
        http::header::ACCEPT_ENCODING,
        http::HeaderValue::from_static("identity"),
    );
    let answer = client.send(request).await?;
    let code = answer.status();
    if !code.is_client_error() && !code.is_server_error() {
        return Ok(answer.into_body());
    }
    let body = answer.into_body().collect().await?.to_bytes();
    let status = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&body).into_owned();
        Status::failure(&text, code.canonical_reason().unwrap_or_default()).with_code(code.as_u16())
    });
    Err(kube::Error::Api(status.boxed()))
}

#[cfg(test)]
mod tests;
