//! The socket of a connection: has a deadline for writes, and keeps its place among the open
//! connections until it is closed, also when the connection leaves HTTP for a WebSocket.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream whose writes fail if the other side takes nothing for `timeout`.
#[derive(Debug)]
pub(super) struct TimedStream<S, P> {
    inner: S,
    timeout: Duration,
    /// Runs while the other side takes nothing. Kept for the next time.
    stalled: Option<Pin<Box<Sleep>>>,
    is_stalled: bool,
    _place: P,
}

impl<S, P> TimedStream<S, P> {
    /// `place` is dropped with the stream.
    pub(super) fn new(inner: S, timeout: Duration, place: P) -> Self {
        Self {
            inner,
            timeout,
            stalled: None,
            is_stalled: false,
            _place: place,
        }
    }

    /// Returns the stream below.
    pub(super) fn socket(&self) -> &S {
        &self.inner
    }

    fn check<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.is_stalled = false;
            return polled;
        }
        let deadline = || Instant::now() + self.timeout;
        let sleep = match &mut self.stalled {
            Some(sleep) => {
                if !self.is_stalled {
                    sleep.as_mut().reset(deadline());
                }
                sleep
            }
            None => {
                let sleep = Box::pin(tokio::time::sleep_until(deadline()));
                self.stalled.insert(sleep)
            }
        };
        self.is_stalled = true;
        sleep
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for TimedStream<S, P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for TimedStream<S, P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.check(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.check(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.check(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.check(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_when_nothing_is_read_for_the_timeout() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut server = TimedStream::new(server, Duration::from_secs(60), ());
        let writing = tokio::spawn(async move {
            let started = Instant::now();
            let ended = server.write_all(&[0; 100]).await;
            (ended, started.elapsed())
        });
        // A slow reader is served: what counts is the time since it last took something.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            client.read_exact(&mut [0; 16]).await.expect("served");
        }
        let (ended, took) = writing.await.expect("no panic");
        assert_eq!(
            ended.expect_err("timed out").kind(),
            io::ErrorKind::TimedOut
        );
        assert_eq!(took.as_secs(), 260);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_the_other_side_to_write_has_no_deadline() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut server = TimedStream::new(server, Duration::from_secs(60), ());
        let reading = tokio::spawn(async move { server.read_u8().await });
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        client.write_u8(7).await.expect("open");
        assert_eq!(reading.await.expect("no panic").expect("read"), 7);
    }
}
