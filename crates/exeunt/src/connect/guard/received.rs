//! The bytes of answers, bounded in sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tower::BoxError;

use crate::connect::errors::{AnswerTooLarge, EndlessLists};

/// The largest sum of the answers, other than watches, that are being received at one moment. A
/// page of 500 objects has some MiB; without pages, this is a list of about 30,000 pods.
const MAX_PENDING_BYTES: usize = 256 * 1024 * 1024;

/// The largest sum of the pages of all lists of a command, which it holds decoded. This is a
/// cluster of about 200,000 pods.
const MAX_LISTED_BYTES: usize = 2 * 1024 * 1024 * 1024;

/// The largest number of pages, beyond the first of each list, that a command asks for. The largest
/// clusters have some thousand.
const MAX_PAGES: usize = 100_000;

/// Counts the bytes of all answers of a command. Clones are one count.
#[derive(Clone, Debug, Default)]
pub(super) struct ReceivedBytes {
    pending: Arc<AtomicUsize>,
    listed: Arc<AtomicUsize>,
    pages: Arc<AtomicUsize>,
}

/// The part of [`ReceivedBytes::pending`] that belongs to one answer.
struct PendingShare {
    pending: Arc<AtomicUsize>,
    bytes: usize,
}

impl ReceivedBytes {
    /// Counts a request for another page of a list.
    ///
    /// # Errors
    /// There were so many that the lists do not end.
    pub(super) fn count_page(&self) -> Result<(), EndlessLists> {
        match self.pages.fetch_add(1, Ordering::Relaxed) {
            0..MAX_PAGES => Ok(()),
            _ => Err(EndlessLists { pages: MAX_PAGES }),
        }
    }

    /// Receives a whole answer. `is_page` says that it is a page of a list.
    pub(super) async fn collect(&self, mut body: Body, is_page: bool) -> Result<Bytes, BoxError> {
        let mut share = PendingShare {
            pending: Arc::clone(&self.pending),
            bytes: 0,
        };
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame?.into_data() else {
                continue;
            };
            share.grow(chunk.len())?;
            if is_page {
                let listed = self.listed.fetch_add(chunk.len(), Ordering::Relaxed);
                check(listed + chunk.len(), MAX_LISTED_BYTES)?;
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}

impl PendingShare {
    fn grow(&mut self, bytes: usize) -> Result<(), AnswerTooLarge> {
        let before = self.pending.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        check(before + bytes, MAX_PENDING_BYTES)
    }
}

impl Drop for PendingShare {
    fn drop(&mut self) {
        self.pending.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn check(bytes: usize, limit: usize) -> Result<(), AnswerTooLarge> {
    if bytes > limit {
        return Err(AnswerTooLarge { limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_bounded_in_sum_and_free_their_share() {
        let received = ReceivedBytes::default();
        let body = || Body::from(vec![b'x'; 1024]);
        assert_eq!(
            received.collect(body(), true).await.expect("read").len(),
            1024
        );
        assert_eq!(received.pending.load(Ordering::Relaxed), 0);
        assert_eq!(received.listed.load(Ordering::Relaxed), 1024);
        received.pending.store(MAX_PENDING_BYTES, Ordering::Relaxed);
        received
            .collect(body(), false)
            .await
            .expect_err("too much at one moment");
        received.pending.store(0, Ordering::Relaxed);
        received.listed.store(MAX_LISTED_BYTES, Ordering::Relaxed);
        received
            .collect(body(), true)
            .await
            .expect_err("too much in lists");
        received
            .collect(body(), false)
            .await
            .expect("no page of a list");
        received.pages.store(MAX_PAGES - 1, Ordering::Relaxed);
        received.count_page().expect("the last page");
        received.count_page().expect_err("one more");
    }
}
