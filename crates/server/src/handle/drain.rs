//! Reads the rest of a request body that was answered early, for example with a refusal.
//!
//! HTTP/2 resets a stream whose response comes before the end of the request, and some clients
//! (curl) then report a broken stream instead of the response. So the rest of a short body is read
//! in the background. A long body is cut off.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// Bytes after which the rest of a body is cut off.
const MAX_DRAINED_BYTES: usize = 256 * 1024;
/// Time after which the rest of a body is cut off.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A body that is read to its end if it is dropped earlier.
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
        // After the end or an error, nothing is left to read.
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
        runtime.spawn(tokio::time::timeout(DRAIN_TIMEOUT, async move {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > MAX_DRAINED_BYTES {
                    break;
                }
            }
        }));
    }
}
