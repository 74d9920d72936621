//! A watch on the wire: one JSON object a line, or frames of protobuf, as the events come.
//!
//! Events that are ready together leave together, so that a burst costs one write and not a
//! thousand. The stream ends with the registry's, and when the server stops.

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kinds::facts::Resource;
use kinds::status::ListMeta;
use registry::request::WatchEvent;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::negotiate::{Media, Transform};
use crate::respond;
use crate::socket::Message;
use crate::table;

/// How many events that are ready are put into one frame at most.
const EVENTS_IN_A_FRAME: usize = 128;

/// How events are shown.
pub(crate) struct Form {
    /// Media type of the stream.
    pub(crate) media: Media,
    /// What objects are turned into.
    pub(crate) transform: Option<Transform>,
    /// Whose events they are.
    pub(crate) resource: &'static Resource,
    /// What rows of tables carry.
    pub(crate) include: table::Include,
    /// Tells the time for ages in tables.
    pub(crate) clock: clock::Clock,
}

/// The body of a watch. `guard` is dropped when it ends.
pub(crate) fn body(events: BoxStream<'static, WatchEvent>, form: Form, stop: CancellationToken, guard: impl Send + 'static) -> Body {
    let mut columns = true;
    let frames = events.take_until(stop.cancelled_owned()).ready_chunks(EVENTS_IN_A_FRAME).map(move |events| {
        let _held = &guard;
        let mut frame = BytesMut::with_capacity(events.iter().map(|event| event.json.len() + 40).sum());
        for event in events {
            let object = form.shown(&event, &mut columns);
            match form.media {
                Media::Protobuf => frame.put_slice(&form.protobuf_frame(&event, &object)),
                _ => put_event(&mut frame, event.kind, &object),
            }
        }
        frame.freeze()
    });
    Body::stream(frames)
}

/// The lines of a watch as messages.
pub(crate) fn messages(body: Body) -> impl Stream<Item = Message> + Send + 'static {
    let frames = http_body_util::BodyStream::new(body).filter_map(async |frame| frame.ok()?.into_data().ok());
    frames.flat_map(|chunk| {
        let lines: Vec<Message> = chunk.split_inclusive(|byte| *byte == b'\n').map(|line| Message::Text(chunk.slice_ref(line))).collect();
        futures::stream::iter(lines)
    })
}

impl Form {
    fn shown(&self, event: &WatchEvent, columns: &mut bool) -> Bytes {
        match self.transform {
            // An error is a Status, and a Status is shown as it is.
            _ if event.kind == "ERROR" => event.json.clone(),
            None | Some(Transform::MetadataList { .. }) => event.json.clone(),
            Some(Transform::Metadata { beta }) => respond::metadata_only(&event.json, beta),
            Some(Transform::Table { beta }) => self.table(event, beta, std::mem::take(columns), self.clock.now()),
        }
    }

    fn protobuf_frame(&self, event: &WatchEvent, object: &[u8]) -> Vec<u8> {
        let ty = match self.transform {
            _ if event.kind == "ERROR" => respond::status_type(),
            Some(Transform::Metadata { .. }) => respond::metadata_type(),
            _ => Some(self.resource.ty),
        };
        kinds::protobuf::watch_frame(event.kind, &respond::protobuf(object, ty))
    }

    fn table(&self, event: &WatchEvent, beta: bool, columns: bool, now: Timestamp) -> Bytes {
        let metadata: ListMeta = respond::list_meta_of(&event.json);
        let objects = std::slice::from_ref(&event.json);
        let shown = table::Shown { resource: self.resource, beta, metadata: &metadata, objects, columns, include: self.include, now };
        table::render(&shown).into()
    }
}

fn put_event(frame: &mut BytesMut, kind: &str, object: &[u8]) {
    frame.put_slice(br#"{"type":""#);
    frame.put_slice(kind.as_bytes());
    frame.put_slice(br#"","object":"#);
    frame.put_slice(object);
    frame.put_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::testing;

    fn form(transform: Option<Transform>) -> Form {
        let clock = clock::Clock::starting_at(Timestamp::UNIX_EPOCH);
        Form { media: Media::Json, transform, resource: &testing::RESOURCES[0], include: table::Include::Nothing, clock }
    }

    fn event(kind: &'static str) -> WatchEvent {
        WatchEvent { kind, json: Bytes::from_static(br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7"}}"#) }
    }

    #[tokio::test]
    async fn events_are_lines_and_those_that_are_ready_leave_together() {
        let events = stream::iter([event("ADDED"), event("DELETED")]).boxed();
        let mut body = body(events, form(None), CancellationToken::new(), ());
        let frame = body.frame().await.expect("a frame").expect("cannot fail").into_data().expect("data");
        let object = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7"}}"#;
        let expected = format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n{{\"type\":\"DELETED\",\"object\":{object}}}\n");
        assert_eq!(frame, expected.as_bytes());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn columns_come_with_the_first_table_only() {
        let events = stream::iter([event("ADDED"), event("MODIFIED")]).boxed();
        let body = body(events, form(Some(Transform::Table { beta: false })), CancellationToken::new(), ());
        let text = body.collect().await.expect("cannot fail").to_bytes();
        let lines: Vec<kinds::Tree> = text.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert!(lines[0]["object"]["columnDefinitions"].is_array());
        assert!(lines[1]["object"]["columnDefinitions"].is_null());
        assert_eq!(lines[1]["object"]["metadata"]["resourceVersion"], "7");
    }

    #[tokio::test]
    async fn a_watch_ends_when_the_server_stops() {
        let stop = CancellationToken::new();
        let mut body = body(stream::pending().boxed(), form(None), stop.clone(), ());
        stop.cancel();
        assert!(body.frame().await.is_none());
    }
}
