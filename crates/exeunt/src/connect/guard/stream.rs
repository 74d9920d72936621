//! The body of a watch: lines are bounded, each part is a sign of life, and an early end counts.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::time::Instant;
use tower::BoxError;

use super::contact::ServerContact;
use super::pace::WatchPaces;
use crate::connect::errors::AnswerTooLarge;

/// The longest line of a watch. API servers store no objects beyond some MiB.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// The stream of a watch. It ends with an error when a line is too long.
pub(super) struct WatchBody<B> {
    inner: B,
    /// Bytes since the last line feed.
    line: usize,
    started: Instant,
    paces: WatchPaces,
    collection: String,
    contact: ServerContact,
}

impl<B> WatchBody<B> {
    pub(super) fn new(
        inner: B,
        paces: WatchPaces,
        collection: String,
        contact: ServerContact,
    ) -> Self {
        Self {
            inner,
            line: 0,
            started: Instant::now(),
            paces,
            collection,
            contact,
        }
    }

    /// Counts the bytes of the line that this chunk ends in.
    fn count(&mut self, chunk: &[u8]) -> Result<(), AnswerTooLarge> {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.line += part.len();
            if self.line > MAX_LINE_BYTES {
                return Err(AnswerTooLarge {
                    limit: MAX_LINE_BYTES,
                });
            }
            if part.ends_with(b"\n") {
                self.line = 0;
            }
        }
        Ok(())
    }
}

impl<B> HttpBody for WatchBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = &mut *self;
        let frame = ready!(Pin::new(&mut body.inner).poll_frame(context));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                body.contact.heard();
                match frame.data_ref().map_or(Ok(()), |chunk| body.count(chunk)) {
                    Ok(()) => Some(Ok(frame)),
                    Err(error) => Some(Err(error.into())),
                }
            }
            ended => {
                body.paces.ended(&body.collection, body.started.elapsed());
                ended.map(|frame| frame.map_err(Into::into))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    async fn read(chunks: Vec<Vec<u8>>) -> Result<usize, BoxError> {
        let frames = chunks
            .into_iter()
            .map(|chunk| Ok::<_, BoxError>(Frame::data(chunk.into())));
        let body = StreamBody::new(futures::stream::iter(frames));
        let (paces, contact) = (WatchPaces::default(), ServerContact::new());
        let watch = WatchBody::new(body, paces, "pods".to_owned(), contact);
        watch.collect().await.map(|all| all.to_bytes().len())
    }

    #[tokio::test]
    async fn a_line_without_end_is_an_error_and_many_lines_are_not() {
        let half = MAX_LINE_BYTES / 2;
        let line = [vec![b'x'; half], vec![b'\n']].concat();
        assert_eq!(
            read(vec![line.clone(); 5]).await.expect("read"),
            5 * (half + 1)
        );
        let endless = read(vec![vec![b'x'; half]; 3]).await.expect_err("too long");
        assert!(endless.to_string().contains("16 MiB"), "{endless}");
    }
}
