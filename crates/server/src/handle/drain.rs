//! The body of a request that is answered before it was read (a refusal).
//!
//! Over HTTP/2 a stream whose answer comes first is reset, and some clients (curl) then report a
//! broken stream instead of the answer. So what is left of a short body is read after all, in the
//! background; a long one is cut off.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// More than this is not read for courtesy.
const BYTES_AT_MOST: usize = 256 * 1024;
/// Nor is a client waited for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A body that is read to its end when it is dropped before.
pub(super) struct DrainOnDrop<B>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    body: Option<Pin<Box<B>>>,
}

impl<B> DrainOnDrop<B>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    pub(super) fn new(body: B) -> Self {
        Self {
            body: (!body.is_end_stream()).then(|| Box::pin(body)),
        }
    }
}

impl<B> Body for DrainOnDrop<B>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = body.as_mut().poll_frame(context);
        // After its end, or after an error, there is nothing left to read.
        if !matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

impl<B> Drop for DrainOnDrop<B>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(tokio::time::timeout(PATIENCE, async move {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > BYTES_AT_MOST {
                    break;
                }
            }
        }));
    }
}
