//! Lists a collection and then watches it, as client-go's reflector does.
//!
//! This does what `kube::runtime::watcher` does, over the same [`Client`], but is not generic over
//! the kind. The asynchronous code is compiled once instead of twenty times, and a watch event
//! reaches its [`WatchSink`] as bytes, so that the sink decodes what it needs. Half of an object is
//! often managed fields, and most events are about pods, of which controllers read little.
//!
//! Guarantees: a sink sees `list_started`, pages, `list_completed`, then changes in the order of
//! the server. A sink that asks for it does not see states that the next event supersedes. After
//! any failure (a broken stream, an expired resource version, a panic in the sink) the changes
//! either continue without a gap or a new list begins.

mod wire;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use clock::Entropy;
use futures::FutureExt;
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::api::{ListParams, Request, WatchParams};
use kube::client::Body;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{debug, error, warn};

pub(crate) use wire::without_managed_fields;
use wire::{LineSplitter, TooLong, WatchLine};

/// The number of objects on a page of a list.
const PAGE: u32 = 500;
/// A watch is renewed after this time, as client-go does.
const WATCH_SECONDS: u32 = 290;
/// A stream that is silent for this long is dead. Servers send bookmarks every minute.
const SILENCE: Duration = Duration::from_secs(295);
/// The largest page of a list: 500 objects of the largest size that an API server stores.
const MAX_PAGE_BYTES: usize = 1 << 30;
/// The largest body of an error. A Status has some hundred bytes, a page of a proxy some thousand.
const MAX_ERROR_BYTES: usize = 1 << 20;
/// The maximum number of pages of one list: fifty million objects.
const MAX_PAGES: usize = 100_000;
/// A watch that ends earlier than this is followed by a pause, whatever it delivered. Servers keep
/// watches for minutes, and one that ends each of them at once must not be asked without end.
const SHORT_WATCH: Duration = Duration::from_secs(5);
/// The first and the longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The collection to follow.
#[derive(Clone, Debug)]
pub(crate) struct WatchedCollection {
    /// The path, for example `/api/v1/pods`.
    pub(crate) path: String,
    /// A field selector.
    pub(crate) fields: Option<String>,
    /// Asks for `PartialObjectMetadata` instead of whole objects.
    pub(crate) metadata_only: bool,
}

/// Receives the contents of a collection and its changes.
pub(crate) trait WatchSink: Send {
    /// A new list begins. Objects that it does not contain no longer exist.
    fn list_started(&mut self);
    /// Takes a page of the list.
    fn list_page(&mut self, body: &[u8]) -> serde_json::Result<PageMeta>;
    /// The list is complete.
    fn list_completed(&mut self);
    /// True when a state may be skipped if the very next event shows a newer one of that object.
    fn skips_superseded(&self) -> bool {
        false
    }
    /// Takes an object that is new or has changed. Returns its resource version.
    fn applied(&mut self, object: &[u8]) -> serde_json::Result<String>;
    /// Takes the last state of a deleted object. Returns the resource version of the deletion.
    fn deleted(&mut self, object: &[u8]) -> serde_json::Result<String>;
}

/// The `metadata` of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageMeta {
    pub(crate) resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct ListPage<K> {
    #[serde(default)]
    pub(crate) metadata: PageMeta,
    /// API servers written in Go send null for an empty list.
    pub(crate) items: Option<Vec<K>>,
}

/// Decodes an object or a page of them, without managed fields.
pub(crate) fn decode<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let json = without_managed_fields(json);
    // From a string, as responses to requests are decoded. With another kind of input, every type
    // would be compiled a second time.
    serde_json::from_str(std::str::from_utf8(&json).map_err(serde::de::Error::custom)?)
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("cannot build request: {0}")]
    Request(#[from] kube::core::request::Error),
    #[error("cannot decode watch event: {0}")]
    Decode(#[from] serde_json::Error),
    #[error("watch event exceeds the size limit")]
    TooLong,
    #[error("cannot read page: {0}")]
    Page(Box<dyn std::error::Error + Send + Sync>),
    #[error("list does not end")]
    Endless,
    #[error("watch failed: {0}")]
    Status(String),
    #[error("list without resourceVersion")]
    NoVersion,
}

impl From<TooLong> for WatchError {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

/// Follows a collection until the future is dropped.
pub(crate) async fn reflect(
    client: Client,
    collection: WatchedCollection,
    entropy: Entropy,
    mut sink: Box<dyn WatchSink>,
) {
    let mut reflector = Reflector {
        client,
        collection,
        from: None,
        progressed: false,
    };
    let mut attempts = 0;
    loop {
        reflector.progressed = false;
        let started = Instant::now();
        let path = reflector.collection.path.clone();
        match AssertUnwindSafe(reflector.run(&mut *sink))
            .catch_unwind()
            .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(path, %error, "watch interrupted"),
            Err(_) => {
                error!(path, "watch panicked");
                reflector.from = None;
            }
        }
        attempts = if reflector.progressed && started.elapsed() >= SHORT_WATCH {
            0
        } else {
            attempts + 1
        };
        // Many watches break together. The jitter keeps them from reconnecting together.
        let pause = FIRST_PAUSE
            .saturating_mul(1 << attempts.min(10))
            .min(LONGEST_PAUSE);
        if attempts > 0 {
            tokio::time::sleep(entropy.jitter(pause, 0.2)).await;
        }
    }
}

struct Reflector {
    client: Client,
    collection: WatchedCollection,
    /// The resource version that the sink has reached; none before the first list and after a gap.
    from: Option<String>,
    /// Whether an event or a page was decoded since the last attempt began.
    progressed: bool,
}

impl Reflector {
    /// Lists if necessary, then watches until the stream ends.
    async fn run(&mut self, sink: &mut dyn WatchSink) -> Result<(), WatchError> {
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
        let mut lines = LineSplitter::default();
        while let Ok(Some(frame)) = tokio::time::timeout(SILENCE, body.frame()).await {
            let Ok(chunk) = frame?.into_data() else {
                continue;
            };
            let mut lines = lines.feed(chunk)?;
            if sink.skips_superseded() {
                lines = wire::without_superseded(lines);
            }
            for line in lines {
                self.take(&line, sink)?;
            }
        }
        Ok(())
    }

    async fn list(&mut self, sink: &mut dyn WatchSink) -> Result<String, WatchError> {
        sink.list_started();
        let mut next = String::new();
        for _ in 0..MAX_PAGES {
            let params = ListParams {
                field_selector: self.collection.fields.clone(),
                limit: Some(PAGE),
                continue_token: Some(next.clone()).filter(|next| !next.is_empty()),
                ..ListParams::default()
            };
            let request = Request::new(&self.collection.path);
            let request = if self.collection.metadata_only {
                request.list_metadata(&params)?
            } else {
                request.list(&params)?
            };
            let body = open(&self.client, request).await?;
            let body = Limited::new(body, MAX_PAGE_BYTES).collect().await;
            let body = body.map_err(WatchError::Page)?.to_bytes();
            let end = sink.list_page(&body)?;
            self.progressed = true;
            if end.next.is_empty() {
                if end.resource_version.is_empty() {
                    return Err(WatchError::NoVersion);
                }
                sink.list_completed();
                return Ok(end.resource_version);
            }
            if end.next == next {
                break;
            }
            next = end.next;
        }
        Err(WatchError::Endless)
    }

    fn take(&mut self, line: &[u8], sink: &mut dyn WatchSink) -> Result<(), WatchError> {
        let version = match wire::line(line)? {
            WatchLine::Applied(object) => sink.applied(&object),
            WatchLine::Deleted(object) => sink.deleted(&object),
            WatchLine::Bookmark(object) => serde_json::from_slice::<Bookmark>(&object)
                .map(|mark| mark.metadata.resource_version),
            WatchLine::Error(object) => {
                let status: Status = serde_json::from_slice(&object)?;
                if status.code == 410 {
                    self.from = None;
                }
                return Err(WatchError::Status(status.message));
            }
        };
        self.progressed = true;
        match version {
            Ok(version) => self.from = Some(version),
            // An object that cannot be decoded must not hide all others.
            Err(error) => {
                warn!(path = self.collection.path, %error, "object skipped: cannot decode")
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: PageMeta,
}

/// Returns the body of a successful response.
async fn open(client: &Client, request: http::Request<Vec<u8>>) -> Result<Body, kube::Error> {
    let mut request = request.map(Body::from);
    // Compression gains nothing inside one machine, and a compressed watch cannot be read line by
    // line.
    request.headers_mut().insert(
        http::header::ACCEPT_ENCODING,
        http::HeaderValue::from_static("identity"),
    );
    let answer = client.send(request).await?;
    let code = answer.status();
    if !code.is_client_error() && !code.is_server_error() {
        return Ok(answer.into_body());
    }
    let body = Limited::new(answer.into_body(), MAX_ERROR_BYTES);
    let body = body
        .collect()
        .await
        .map_err(kube::Error::Service)?
        .to_bytes();
    let status = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&body).into_owned();
        Status::failure(&text, code.canonical_reason().unwrap_or_default()).with_code(code.as_u16())
    });
    Err(kube::Error::Api(status.boxed()))
}

#[cfg(test)]
mod tests;
