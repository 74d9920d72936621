//! Returns the body of a watch. `guard` is dropped when the watch ends.
//!
//! Events that are ready together are sent in one frame, so that a burst costs one write instead of
//! a thousand. The stream ends with the registry's, or when the server stops.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use kinds::facts::Type;
use kinds::protobuf::watch_frame;
use kinds::status::ListMeta;
use registry::ResourceRef;
use registry::request::WatchEvent;
use tokio_util::sync::CancellationToken;

use crate::body::{Body, CHUNK_BYTES};
use crate::encode;
use crate::encodings::{Encodings, FrameKey};
use crate::negotiate::{MediaType, Transform};

use crate::table;
use crate::websocket::{Message, text_message};

/// Events in one frame at most.
const EVENTS_IN_A_FRAME: usize = 128;

/// The negotiated format of events.
pub(crate) struct EventFormat {
    /// Media type of the stream.
    pub(crate) media: MediaType,
    /// Transformation of objects.
    pub(crate) transform: Option<Transform>,
    /// Resource of the objects.
    pub(crate) resource: ResourceRef,
    /// What rows of tables include beside the cells.
    pub(crate) include: table::IncludeObject,
    /// Clock for ages in tables.
    pub(crate) clock: clock::Clock,
    /// Cache of encodings.
    pub(crate) encodings: Arc<Encodings>,
}

/// Returns the body of a watch. `guard` is dropped when the watch ends.
pub(crate) fn body(
    events: BoxStream<'static, WatchEvent>,
    format: EventFormat,
    stop: CancellationToken,
    guard: impl Send + Unpin + 'static,
) -> Body {
    Body::stream(WatchFrames {
        events: events.take_until(stop.cancelled_owned()).fuse().boxed(),
        format,
        columns: true,
        _guard: guard,
    })
}

/// The frames of a watch: events that are ready together share one, up to its size.
struct WatchFrames<G> {
    events: BoxStream<'static, WatchEvent>,
    format: EventFormat,
    /// Whether the next table describes its columns.
    columns: bool,
    _guard: G,
}

impl<G: Unpin> Stream for WatchFrames<G> {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        // A single event is sent without a copy, because watches share its frame.
        let (mut single, mut together) = (Bytes::new(), BytesMut::new());
        for _ in 0..EVENTS_IN_A_FRAME {
            let event = match this.events.poll_next_unpin(context) {
                Poll::Ready(Some(event)) => event,
                Poll::Ready(None) if single.is_empty() && together.is_empty() => {
                    return Poll::Ready(None);
                }
                Poll::Pending if single.is_empty() && together.is_empty() => return Poll::Pending,
                // The stream is polled again after this frame, and says so again.
                Poll::Ready(None) | Poll::Pending => break,
            };
            let frame = this.format.frame(&event, &mut this.columns);
            if single.is_empty() && together.is_empty() {
                single = frame;
            } else {
                together.put(std::mem::take(&mut single));
                together.put(frame);
            }
            if single.len() + together.len() >= CHUNK_BYTES {
                break;
            }
        }
        Poll::Ready(Some(if together.is_empty() {
            single
        } else {
            together.freeze()
        }))
    }
}

/// Splits the lines of a watch into WebSocket messages.
pub(crate) fn messages(body: Body) -> impl Stream<Item = Message> + Send + 'static {
    let frames = http_body_util::BodyStream::new(body)
        .filter_map(async |frame| frame.ok()?.into_data().ok());
    frames.flat_map(|chunk| {
        let lines: Vec<Message> = chunk
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| text_message(chunk.slice_ref(line)))
            .collect();
        futures::stream::iter(lines)
    })
}

impl EventFormat {
    /// Returns the frame of an event, made once for all watches with the same format.
    fn frame(&self, event: &WatchEvent, columns: &mut bool) -> Bytes {
        let metadata = match self.transform {
            // An error is a Status, which is sent as it is. Errors and bookmarks differ between
            // watches, so they are not cached.
            _ if event.kind == "ERROR" => {
                return self.wrapped(event, &event.json, encode::status_type());
            }
            Some(Transform::Table { beta }) => {
                return line(
                    event.kind,
                    &self.table(event, beta, std::mem::take(columns)),
                )
                .into();
            }
            Some(Transform::Metadata { beta }) => Some(beta),
            None | Some(Transform::MetadataList { .. }) => None,
        };
        if event.kind == "BOOKMARK" {
            return match metadata {
                Some(beta) => self.wrapped(
                    event,
                    &encode::metadata_only(&event.json, beta),
                    encode::metadata_type(),
                ),
                None => self.wrapped(event, &event.json, Some(self.resource.ty)),
            };
        }
        let frame = FrameKey {
            kind: event.kind,
            media: self.media,
            metadata,
        };
        self.encodings
            .frame(&event.json, frame, || match (self.media, metadata) {
                (MediaType::Protobuf, Some(beta)) => watch_frame(
                    event.kind,
                    &encode::metadata_sealed(&self.encodings.metadata(&event.json), beta),
                ),
                (MediaType::Protobuf, None) => watch_frame(
                    event.kind,
                    &encode::sealed(
                        &event.json,
                        &self.encodings.message(&event.json, self.resource.ty),
                    ),
                ),
                (_, Some(beta)) => line(event.kind, &encode::metadata_only(&event.json, beta)),
                (_, None) => line(event.kind, &event.json),
            })
    }

    /// Makes a frame without caching it.
    fn wrapped(&self, event: &WatchEvent, object: &[u8], ty: Option<&'static Type>) -> Bytes {
        match self.media {
            MediaType::Protobuf => watch_frame(event.kind, &encode::protobuf(object, ty)).into(),
            _ => line(event.kind, object).into(),
        }
    }

    fn table(&self, event: &WatchEvent, beta: bool, columns: bool) -> Vec<u8> {
        let metadata: ListMeta = encode::list_meta_of(&event.json);
        let objects = std::slice::from_ref(&event.json);
        let (include, now) = (self.include, self.clock.now());
        let shown = table::TableInput {
            resource: &self.resource,
            beta,
            metadata: &metadata,
            objects,
            columns,
            include,
            now,
        };
        table::render(&shown, &self.encodings)
    }
}

/// Encodes an event as a line of JSON.
fn line(kind: &str, object: &[u8]) -> Vec<u8> {
    [
        br#"{"type":""#.as_slice(),
        kind.as_bytes(),
        br#"","object":"#,
        object,
        b"}\n",
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt as _;
    use jiff::Timestamp;

    use super::*;
    use crate::testing;

    fn format(transform: Option<Transform>) -> EventFormat {
        let clock = clock::Clock::starting_at(Timestamp::UNIX_EPOCH);
        EventFormat {
            media: MediaType::Json,
            transform,
            resource: (&testing::RESOURCES[0]).into(),
            include: table::IncludeObject::Nothing,
            clock,
            encodings: Arc::default(),
        }
    }

    fn event(kind: &'static str) -> WatchEvent {
        WatchEvent { kind,
            json: Bytes::from_static(
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7"}}"#) }
    }

    #[tokio::test]
    async fn events_are_lines_and_ready_events_share_a_frame() {
        let events = stream::iter([event("ADDED"), event("DELETED")]).boxed();
        let mut body = body(events, format(None), CancellationToken::new(), ());
        let frame = body
            .frame()
            .await
            .expect("a frame")
            .expect("cannot fail")
            .into_data()
            .expect("data");
        let object =
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7"}}"#;
        let expected = format!(
            "{{\"type\":\"ADDED\",\"object\":{object}}}\n{{\"type\":\"DELETED\",\"object\":{object}}}\n"
        );
        assert_eq!(frame, expected.as_bytes());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn large_events_do_not_share_a_frame() {
        let large = |at: u8| WatchEvent {
            kind: "ADDED",
            json: format!(
                "{{\"kind\":\"{}\"}}",
                char::from(at).to_string().repeat(50_000)
            )
            .into(),
        };
        let events = stream::iter((b'a'..b'e').map(large)).boxed();
        let mut body = body(events, format(None), CancellationToken::new(), ());
        let mut lengths = Vec::new();
        while let Some(frame) = body.frame().await {
            lengths.push(frame.expect("cannot fail").into_data().expect("data").len() / 50_000);
        }
        assert_eq!(lengths, [2, 2]);
    }

    #[tokio::test]
    async fn only_the_first_table_describes_the_columns() {
        let events = stream::iter([event("ADDED"), event("MODIFIED")]).boxed();
        let body = body(
            events,
            format(Some(Transform::Table { beta: false })),
            CancellationToken::new(),
            (),
        );
        let text = body.collect().await.expect("cannot fail").to_bytes();
        let lines: Vec<kinds::Tree> = text
            .split(|&byte| byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        assert!(lines[0]["object"]["columnDefinitions"].is_array());
        assert!(lines[1]["object"]["columnDefinitions"].is_null());
        assert_eq!(lines[1]["object"]["metadata"]["resourceVersion"], "7");
    }

    #[tokio::test]
    async fn a_watch_ends_when_the_server_stops() {
        let stop = CancellationToken::new();
        let mut body = body(stream::pending().boxed(), format(None), stop.clone(), ());
        stop.cancel();
        assert!(body.frame().await.is_none());
    }
}
