//! Response bodies: empty, whole, a list that is joined while it is sent, or a stream.
//!
//! All responses share one type, so the listener and callers in this process use the same service.
//! The items of a list are copied into chunks, because thousands of small frames would cost more.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use futures::Stream;
use http_body::{Frame, SizeHint};

use crate::connection::{HeldBytes, RequestGuard};

/// Size of the chunks of lists and watches: large enough for full TLS records and HTTP/2 frames,
/// small enough that thousands of slow clients cost little memory.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// What a gzip stream takes: its window, its tables and the bytes that wait for a block.
const GZIP_BYTES: usize = 256 * 1024;

/// A response body.
pub struct Body {
    source: Source,
    /// Counts the response until it has been handed over; `None` before the service has.
    counted: Option<RequestGuard>,
    /// Counts what the source holds beside the bytes of stored objects.
    held: Option<HeldBytes>,
}

enum Source {
    Empty,
    /// Bytes that are sent in pieces of [`CHUNK_BYTES`]: what is handed over at once is out of the
    /// hands of this module, however slowly the client reads.
    Whole(Bytes),
    Joined(Joined),
    Rendered(Rendered),
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
    Gzip(Box<Gzip>),
}

/// A head, items, and a tail.
struct Joined {
    head: Bytes,
    separator: Separator,
    items: std::vec::IntoIter<Bytes>,
    first: bool,
    tail: &'static [u8],
    left: u64,
}

/// A head, items that are rendered when they are sent, and a tail.
struct Rendered {
    head: Bytes,
    items: std::vec::IntoIter<Bytes>,
    render: RenderItem,
    first: bool,
    tail: Bytes,
    is_over: bool,
}

/// Appends an item to a chunk. The last argument is true for the first item.
pub(crate) type RenderItem = Box<dyn FnMut(&Bytes, &mut Vec<u8>, bool) + Send>;

/// What precedes each item of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Separator {
    /// A comma, except before the first item, then the brace that removing the kind from an item
    /// took away.
    Comma(&'static str),
    /// The length of the item, as in a protobuf list.
    Length,
}

impl Separator {
    fn put(self, chunk: &mut BytesMut, item: &[u8], first: bool) {
        match self {
            Self::Comma(open) => {
                if !first {
                    chunk.put_u8(b',');
                }
                chunk.put_slice(open.as_bytes());
            }
            Self::Length => chunk.put_slice(&kinds::protobuf::item_head(item.len())),
        }
    }

    /// Returns the number of bytes that it adds to these items.
    fn length(self, items: &[Bytes]) -> usize {
        match self {
            Self::Comma(open) => items.len().saturating_sub(1) + items.len() * open.len(),
            Self::Length => items
                .iter()
                .map(|item| kinds::protobuf::item_head(item.len()).len())
                .sum(),
        }
    }
}

struct Gzip {
    source: Body,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Body {
    fn of(source: Source) -> Self {
        Self {
            source,
            counted: None,
            held: None,
        }
    }

    /// Counts the response, and what it holds, until it is handed over.
    pub(crate) fn counted(mut self, request: RequestGuard) -> Self {
        if let Source::Whole(bytes) = &mut self.source {
            *bytes = request.count(std::mem::take(bytes));
        }
        self.held = request.hold(self.source.own_bytes());
        self.counted = Some(request);
        self
    }

    /// Returns a body without bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(Source::Empty)
    }

    /// Returns a body of these bytes.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::of(Source::Whole(bytes.into()))
    }

    /// Returns a body of frames as they come, of unknown length.
    pub(crate) fn stream(frames: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::of(Source::Stream(Box::pin(frames)))
    }

    /// Returns a body of `head`, the items, each preceded by `separator`, and `tail`.
    pub(crate) fn joined(
        head: Bytes,
        separator: Separator,
        items: Vec<Bytes>,
        tail: &'static [u8],
    ) -> Self {
        let bytes: usize = items.iter().map(Bytes::len).sum();
        let left = (head.len() + bytes + separator.length(&items) + tail.len()) as u64;
        Self::of(Source::Joined(Joined {
            head,
            separator,
            items: items.into_iter(),
            first: true,
            tail,
            left,
        }))
    }

    /// Returns a body of `head`, the items as `render` appends them, and `tail`. A short list is
    /// rendered at once, so that its length is announced.
    pub(crate) fn rendered(
        head: Bytes,
        items: Vec<Bytes>,
        render: RenderItem,
        tail: impl Into<Bytes>,
    ) -> Self {
        let is_short = items.iter().map(Bytes::len).sum::<usize>() <= CHUNK_BYTES;
        let mut rendered = Rendered {
            head,
            items: items.into_iter(),
            render,
            first: true,
            tail: tail.into(),
            is_over: false,
        };
        if is_short {
            return Self::whole(rendered.next_chunk(usize::MAX).unwrap_or_default());
        }
        Self::of(Source::Rendered(rendered))
    }

    /// Returns this body compressed with gzip while it is sent.
    pub(crate) fn gzip(self) -> Self {
        let encoder = GzEncoder::new(Vec::with_capacity(CHUNK_BYTES / 4), Compression::fast());
        Self::of(Source::Gzip(Box::new(Gzip {
            source: self,
            encoder: Some(encoder),
        })))
    }

    /// Returns the number of bytes that are left; `None` if it is unknown.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match &self.source {
            Source::Empty => Some(0),
            Source::Whole(bytes) => Some(bytes.len() as u64),
            Source::Joined(joined) => Some(joined.left),
            Source::Rendered(_) | Source::Stream(_) | Source::Gzip(_) => None,
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.source {
            Source::Empty => return Poll::Ready(None),
            Source::Whole(bytes) if bytes.len() > CHUNK_BYTES => {
                // A piece keeps all bytes alive, and they are counted together.
                return Poll::Ready(Some(bytes.split_to(CHUNK_BYTES)));
            }
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Empty;
                return Poll::Ready(if bytes.is_empty() { None } else { Some(bytes) });
            }
            Source::Joined(joined) => {
                let chunk = joined.next_chunk();
                if joined.left == 0 {
                    self.source = Source::Empty;
                }
                Poll::Ready(chunk)
            }
            Source::Rendered(rendered) => Poll::Ready(rendered.next_chunk(CHUNK_BYTES)),
            Source::Stream(frames) => frames.as_mut().poll_next(context),
            Source::Gzip(gzip) => gzip.next(context),
        }
        .map(|chunk| {
            let request = self.counted.as_ref();
            chunk.map(|chunk| match request {
                Some(request) => request.count(chunk),
                None => chunk,
            })
        })
    }
}

impl Source {
    /// Returns the bytes that it holds beside what is counted with each chunk.
    fn own_bytes(&self) -> usize {
        match self {
            Self::Empty | Self::Whole(_) | Self::Stream(_) => 0,
            Self::Joined(joined) => own_bytes(joined.items.as_slice()),
            Self::Rendered(rendered) => own_bytes(rendered.items.as_slice()),
            Self::Gzip(gzip) => gzip.source.source.own_bytes() + GZIP_BYTES,
        }
    }
}

/// Returns what a list of items takes: the references, and the items that are not stored objects.
fn own_bytes(items: &[Bytes]) -> usize {
    let own = items.iter().filter(|item| item.is_unique());
    size_of_val(items) + own.map(Bytes::len).sum::<usize>()
}

impl Rendered {
    /// Returns the next chunk of at least so many bytes, if so many are left.
    fn next_chunk(&mut self, bytes: usize) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let mut chunk = Vec::with_capacity(bytes.min(CHUNK_BYTES + CHUNK_BYTES / 4));
        chunk.extend_from_slice(&std::mem::take(&mut self.head));
        while chunk.len() < bytes {
            let Some(item) = self.items.next() else {
                chunk.extend_from_slice(&self.tail);
                self.is_over = true;
                break;
            };
            (self.render)(&item, &mut chunk, std::mem::take(&mut self.first));
        }
        Some(chunk.into())
    }
}

impl Joined {
    fn next_chunk(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        // The last item of a chunk can reach beyond its size.
        let room = usize::try_from(self.left)
            .unwrap_or(CHUNK_BYTES)
            .min(CHUNK_BYTES * 2);
        let mut chunk = BytesMut::with_capacity(room);
        chunk.put(std::mem::take(&mut self.head));
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else {
                chunk.put_slice(self.tail);
                self.left = 0;
                return Some(chunk.freeze());
            };
            self.separator
                .put(&mut chunk, &item, std::mem::take(&mut self.first));
            chunk.put(item);
        }
        self.left -= chunk.len() as u64;
        Some(chunk.freeze())
    }
}

impl Gzip {
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(encoder) = self.encoder.as_mut() else {
                return Poll::Ready(None);
            };
            let written = match std::task::ready!(self.source.next(context)) {
                Some(bytes) => encoder
                    .write_all(&bytes)
                    .map(|()| std::mem::take(encoder.get_mut())),
                None => self
                    .encoder
                    .take()
                    .map_or_else(|| Ok(Vec::new()), GzEncoder::finish),
            };
            match written {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(out.into())),
                // Writing into memory cannot fail. If it did, the client would see the body end.
                Err(_) => return Poll::Ready(None),
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut()
            .next(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.bytes_left(), Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes_left()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Body")
            .field("bytes_left", &self.bytes_left())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(body: Body) -> String {
        String::from_utf8(text_bytes(body).await).expect("text")
    }

    async fn text_bytes(body: Body) -> Vec<u8> {
        let expected = body.bytes_left();
        let bytes = body.collect().await.expect("cannot fail").to_bytes();
        if let Some(expected) = expected {
            assert_eq!(
                bytes.len() as u64,
                expected,
                "the announced length is the real one"
            );
        }
        bytes.to_vec()
    }

    #[tokio::test]
    async fn a_list_is_joined_with_commas() {
        let items = vec![Bytes::from_static(b"1}"), Bytes::from_static(b"2}")];
        assert_eq!(
            text(Body::joined(
                Bytes::from_static(b"["),
                Separator::Comma("{"),
                items,
                b"]\n"
            ))
            .await,
            "[{1},{2}]\n"
        );
        assert_eq!(
            text(Body::joined(
                Bytes::from_static(b"["),
                Separator::Comma("{"),
                Vec::new(),
                b"]\n"
            ))
            .await,
            "[]\n"
        );
    }

    #[tokio::test]
    async fn a_large_list_is_complete_over_several_chunks() {
        let item = Bytes::from(vec![b'x'; 40_000]);
        let body = Body::joined(
            Bytes::from_static(b"["),
            Separator::Comma(""),
            vec![item; 5],
            b"]",
        );
        assert_eq!(text(body).await.len(), 5 * 40_000 + 4 + 2);
    }

    #[tokio::test]
    async fn lengths_precede_the_items_of_a_protobuf_list() {
        let items = vec![Bytes::from_static(b"ab"), Bytes::from(vec![b'x'; 200])];
        let found = text_bytes(Body::joined(
            Bytes::from_static(b"head"),
            Separator::Length,
            items,
            &kinds::protobuf::TAIL,
        ))
        .await;
        assert_eq!(
            found,
            [
                b"head\x12\x02ab\x12\xc8\x01".as_slice(),
                &[b'x'; 200],
                &kinds::protobuf::TAIL
            ]
            .concat()
        );
    }

    #[tokio::test]
    async fn large_bodies_are_handed_over_in_pieces() {
        let mut body = Body::whole(vec![b'x'; 3 * CHUNK_BYTES + 1]);
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.expect("cannot fail").into_data().expect("data").len());
        }
        assert_eq!(pieces, [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, 1]);
    }

    #[tokio::test]
    async fn what_the_client_has_not_read_is_counted() {
        use crate::connection::{COUNTED_FROM_BYTES, ResponseLimit, ServedConnection};
        let limit = ResponseLimit::new(usize::MAX);
        let connection = ServedConnection::new(1, Some(&limit));
        let shared = Bytes::from(vec![b'x'; 20_000]);
        let joined = || {
            let head = Bytes::from_static(b"[");
            Body::joined(
                head,
                Separator::Comma(""),
                vec![shared.clone(); 1_000],
                b"]",
            )
        };
        let bodies: [(Body, usize); 5] = [
            (Body::whole(vec![b'x'; 300_000]), 300_000),
            (Body::whole(shared.clone()), 0),
            (joined(), 32_000),
            (joined().gzip(), 32_000 + GZIP_BYTES),
            (
                Body::stream(futures::stream::iter([Bytes::from(vec![b'x'; 50_000])])),
                0,
            ),
        ];
        for (at, (body, expected)) in bodies.into_iter().enumerate() {
            let is_shared = at == 1;
            let mut body = body.counted(connection.begin());
            assert_eq!(limit.held_bytes(), expected, "{body:?}");
            let mut frames = Vec::new();
            while let Some(frame) = body.frame().await {
                frames.push(frame);
            }
            drop(body);
            // Whole bodies are sent in slices, which are counted together.
            let unread: usize = frames
                .iter()
                .filter_map(|frame| frame.as_ref().ok()?.data_ref())
                .filter(|data| !is_shared && data.len() >= COUNTED_FROM_BYTES)
                .map(Bytes::len)
                .sum();
            assert!(limit.held_bytes() >= unread, "handed over and not written");
            drop(frames);
            assert_eq!(limit.held_bytes(), 0);
        }
        assert!(connection.progress().is_idle());
    }

    #[tokio::test]
    async fn gzip_round_trips() {
        let body = Body::joined(
            Bytes::from_static(b"["),
            Separator::Comma(""),
            vec![Bytes::from(vec![b'x'; 100_000]); 3],
            b"]",
        )
        .gzip();
        let packed = body.collect().await.expect("cannot fail").to_bytes();
        assert!(packed.len() < 10_000);
        let mut plain = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain)
            .expect("valid gzip");
        assert_eq!(plain.len(), 300_000 + 2 + 2);
    }
}
