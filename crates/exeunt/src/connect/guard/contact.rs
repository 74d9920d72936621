//! When the server was last heard.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Records answers and failures of all requests of a command. Clones are one record.
#[derive(Clone, Debug)]
pub(crate) struct ServerContact {
    state: Arc<Mutex<ContactState>>,
}

#[derive(Debug)]
struct ContactState {
    /// When the last answer, or the last part of a watch, arrived.
    heard: Instant,
    /// Since when requests fail, and why the last one did; `None` while they succeed.
    failing: Option<(Instant, String)>,
}

/// A time in which no request has been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) lasts: Duration,
    /// Why the last request failed.
    pub(crate) why: String,
}

impl ServerContact {
    /// Begins with a server that was heard just now.
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(ContactState {
                heard: Instant::now(),
                failing: None,
            })),
        }
    }

    /// Records a sign of life.
    pub(crate) fn heard(&self) {
        let mut state = self.state();
        state.heard = Instant::now();
        state.failing = None;
    }

    /// Records that a request failed without an answer. Ignored if the server was heard since the
    /// request began: then only this request was lost.
    pub(crate) fn failed(&self, began: Instant, why: &str) {
        let mut state = self.state();
        if state.heard > began {
            return;
        }
        match &mut state.failing {
            Some((_, reason)) => why.clone_into(reason),
            failing => *failing = Some((began, why.to_owned())),
        }
    }

    /// Returns the outage if requests fail now.
    pub(crate) fn outage(&self) -> Option<Outage> {
        let state = self.state();
        state.failing.as_ref().map(|(since, why)| Outage {
            lasts: since.elapsed(),
            why: why.clone(),
        })
    }

    /// Returns the time since the server was heard.
    pub(crate) fn silence(&self) -> Duration {
        self.state().heard.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, ContactState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_begins_with_the_first_failure_and_ends_with_an_answer() {
        let contact = ServerContact::new();
        tokio::time::advance(Duration::from_secs(5)).await;
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        contact.failed(began, "refused");
        contact.failed(Instant::now(), "still refused");
        let outage = contact.outage().expect("requests fail");
        assert_eq!(
            (outage.lasts.as_secs(), outage.why.as_str()),
            (2, "still refused")
        );
        assert_eq!(contact.silence().as_secs(), 7);
        contact.heard();
        contact.failed(began, "a request from before");
        assert_eq!(contact.outage(), None);
    }
}
