//! How many requests are worked on at once.
//!
//! InFlightLimit are plenty, for requests here take micro- or milliseconds: the limit is there so that a
//! stampede costs answers of 429 and not all of the memory. Watches and other long-running
//! requests take no seat, administrators are never turned away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use registry::request::User;

use crate::body::Body;
use crate::respond;

/// The seats of a server.
#[derive(Clone, Debug)]
pub(crate) struct InFlightLimit {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// A seat, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    taken: Arc<AtomicUsize>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlightLimit {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            taken: Arc::default(),
            limit,
        }
    }

    /// Takes every seat, for good.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        self.taken.store(self.limit, Ordering::Relaxed);
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes a seat; none when all are taken and the user has to wait like everybody else.
    pub(crate) fn take(&self, user: &User) -> Option<InFlightGuard> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let seat = InFlightGuard {
            taken: self.taken.clone(),
        };
        let exempt = || user.groups.iter().any(|group| group == "system:masters");
        (before < self.limit || exempt()).then_some(seat)
    }
}

/// 429 in plain text, which clients repeat after a second.
pub(crate) fn too_many_requests() -> Response<Body> {
    let mut response = respond::text(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many requests, please try again later.\n",
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_seat_is_turned_away_unless_exempt() {
        let (nobody, admin) = (
            User::default(),
            User {
                groups: vec!["system:masters".to_owned()],
                ..User::default()
            },
        );
        let seats = InFlightLimit::new(1);
        let first = seats.take(&nobody);
        assert!(first.is_some() && seats.take(&nobody).is_none() && seats.take(&admin).is_some());
        drop(first);
        assert_eq!(seats.taken(), 0);
        assert!(seats.take(&nobody).is_some());
    }
}
