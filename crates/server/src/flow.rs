//! Limits the number of requests that are worked on at the same time.
//!
//! The limit is generous: it bounds memory in a stampede. Watches and other long-running requests
//! do not count, nor do health checks, which must answer when everything else is busy. A request
//! counts from the moment its body has arrived, so that clients that send none keep nobody out.
//! Members of `system:masters` are never refused. [`bodies`] limits what bodies hold.

mod bodies;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use registry::request::User;

use crate::body::Body;
use crate::respond;

pub(crate) use bodies::{BodyLimits, WorkedGuard};

/// The limit of a server, and how many requests count against it now.
#[derive(Clone, Debug)]
pub(crate) struct InFlightLimit {
    count: Arc<AtomicUsize>,
    limit: usize,
}

/// Counts a request until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    count: Arc<AtomicUsize>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlightLimit {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            count: Arc::default(),
            limit,
        }
    }

    /// Fills the limit for good.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        self.count.store(self.limit, Ordering::Relaxed);
    }

    /// Returns the number of requests in flight.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts a request; `None` if the limit is reached and the user is not exempt.
    pub(crate) fn acquire(&self, user: &User) -> Option<InFlightGuard> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        let guard = InFlightGuard {
            count: self.count.clone(),
        };
        (before < self.limit || is_exempt(user)).then_some(guard)
    }

    /// Returns whether a request of this user would be refused now.
    pub(crate) fn refuses(&self, user: &User) -> bool {
        self.count() >= self.limit && !is_exempt(user)
    }
}

fn is_exempt(user: &User) -> bool {
    user.groups.iter().any(|group| group == "system:masters")
}

/// Returns a 429 in plain text. Clients retry after a second.
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
    fn requests_over_the_limit_are_refused_unless_exempt() {
        let (user, admin) = (
            User::default(),
            User {
                groups: vec!["system:masters".to_owned()],
                ..User::default()
            },
        );
        let limit = InFlightLimit::new(1);
        let first = limit.acquire(&user);
        assert!(
            first.is_some() && limit.acquire(&user).is_none() && limit.acquire(&admin).is_some()
        );
        drop(first);
        assert_eq!(limit.count(), 0);
        assert!(limit.acquire(&user).is_some());
    }
}
