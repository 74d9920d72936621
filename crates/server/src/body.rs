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

/// Size of the chunks of lists and watches: large enough for full TLS records and HTTP/2 frames,
/// small enough that thousands of slow clients cost little memory.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// A response body.
pub struct Body {
    source: Source,
}

enum Source {
    Empty,
    Whole(Bytes),
    Joined(Joined),
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
    /// Returns a body without bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            source: Source::Empty,
        }
    }

    /// Returns a body of these bytes.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            source: Source::Whole(bytes.into()),
        }
    }

    /// Returns a body of frames as they come, of unknown length.
    pub(crate) fn stream(frames: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self {
            source: Source::Stream(Box::pin(frames)),
        }
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
        Self {
            source: Source::Joined(Joined {
                head,
                separator,
                items: items.into_iter(),
                first: true,
                tail,
                left,
            }),
        }
    }

    /// Returns this body compressed with gzip while it is sent.
    pub(crate) fn gzip(self) -> Self {
        let encoder = GzEncoder::new(Vec::with_capacity(CHUNK_BYTES / 4), Compression::fast());
        Self {
            source: Source::Gzip(Box::new(Gzip {
                source: self,
                encoder: Some(encoder),
            })),
        }
    }

    /// Returns the number of bytes that are left; `None` if it is unknown.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match &self.source {
            Source::Empty => Some(0),
            Source::Whole(bytes) => Some(bytes.len() as u64),
            Source::Joined(joined) => Some(joined.left),
            Source::Stream(_) | Source::Gzip(_) => None,
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Empty;
                Poll::Ready(if bytes.is_empty() { None } else { Some(bytes) })
            }
            Source::Joined(joined) => {
                let chunk = joined.next_chunk();
                if joined.left == 0 {
                    self.source = Source::Empty;
                }
                Poll::Ready(chunk)
            }
            Source::Stream(frames) => frames.as_mut().poll_next(context),
            Source::Gzip(gzip) => gzip.next(context),
        }
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
