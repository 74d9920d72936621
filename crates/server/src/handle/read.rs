//! Reads the body of a request, within limits of size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt as _;
use kinds::status::Status;

use super::call::ResourceCall;

/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// A body over the limit is read up to this size. Clients that write their whole body before they
/// read then see the refusal and not a broken connection.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
/// Time in which the next piece of a body must arrive. A lost packet is repeated much earlier.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds after which a client repeats a request whose body found no room.
const RETRY_SECONDS: u32 = 1;

impl ResourceCall<'_> {
    /// Reads a body up to the limit. A body in one piece is not copied.
    ///
    /// A refusal is 413 for a body that is too large, 408 for one that stops arriving, 429 if
    /// bodies take too much memory, and 400 for a connection that breaks.
    pub(super) async fn read<B>(&self, body: B) -> Result<Bytes, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let mut body = std::pin::pin!(body);
        let (mut first, mut rest, mut seen) = (Bytes::new(), BytesMut::new(), 0_usize);
        let mut arriving = None;
        loop {
            // What is there already needs neither a timer nor a place among the arriving bodies.
            let frame = match body.frame().map(readable::<B>).now_or_never() {
                Some(frame) => frame,
                None => {
                    let arriving = arriving.get_or_insert_with(|| {
                        let guard = self
                            .state
                            .bodies
                            .expect(self.connection, head_bytes(self.headers));
                        guard.grow(seen.min(MAX_BODY_BYTES));
                        guard
                    });
                    let next = body.frame().map(readable::<B>);
                    tokio::select! {
                        frame = tokio::time::timeout(PIECE_TIMEOUT, next) => {
                            frame.map_err(|_| Status::body_timeout(PIECE_TIMEOUT))?
                        }
                        () = arriving.given_up() => return Err(no_room()),
                    }
                }
            };
            let Some(frame) = frame else { break };
            let Ok(piece) = frame?.into_data() else {
                continue;
            };
            seen = seen.saturating_add(piece.len());
            if seen > MAX_DISCARDED_BYTES {
                break;
            }
            if seen > MAX_BODY_BYTES {
                (first, rest) = (Bytes::new(), BytesMut::new());
                continue;
            }
            if let Some(arriving) = &arriving
                && !arriving.grow(piece.len())
            {
                return Err(no_room());
            }
            if first.is_empty() && rest.is_empty() {
                first = piece;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                rest.extend_from_slice(&piece);
            }
        }
        drop(arriving);
        if seen > MAX_BODY_BYTES {
            return Err(Status::request_too_large(MAX_BODY_BYTES));
        }
        let guard = self.state.bodies.work_on(seen).ok_or_else(no_room)?;
        // A request has one body, so this is the first guard.
        let _ = self.worked_on.set(guard);
        Ok(if rest.is_empty() {
            first
        } else {
            rest.freeze()
        })
    }
}

/// Returns a frame, or the 400 of a connection that breaks.
fn readable<B: http_body::Body<Data = Bytes>>(
    frame: Option<Result<Frame<Bytes>, B::Error>>,
) -> Option<Result<Frame<Bytes>, Status>>
where
    B::Error: std::fmt::Display,
{
    frame.map(|frame| {
        frame.map_err(|error| {
            Status::bad_request(format!(
                "the body of the request could not be read: {error}"
            ))
        })
    })
}

/// Returns the 429 of a body that found no room, in upstream's words.
fn no_room() -> Status {
    Status::too_many_requests(
        "Too many requests, please try again later.",
        Vec::new(),
        RETRY_SECONDS,
    )
}

/// Returns the bytes of all headers.
fn head_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}
