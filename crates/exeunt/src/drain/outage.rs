//! A server that no longer answers: says so, and ends the drain after a while.
//!
//! A drain that only waits for pods to terminate sends no requests, so a silent server is asked for
//! its version from time to time.

use std::time::Duration;

use kube::Client;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::connect::{Connection, ServerContact};
use crate::error::CliError;

/// An outage is reported when it has lasted this long. Shorter ones, as when an API server is
/// replaced, concern nobody.
const REPORT_AFTER: Duration = Duration::from_secs(3);
/// A server that was silent for this long is asked whether it is there.
const PROBE_AFTER: Duration = Duration::from_secs(5);
/// How long it may take to answer. It is asked again after a failure.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Watches the contact to the server of a drain.
pub(super) struct OutageWatch {
    client: Client,
    contact: ServerContact,
    server: String,
    /// Zero for no limit.
    gone_after: Duration,
    reported: bool,
    probe: Option<JoinHandle<()>>,
}

/// What there is to say.
pub(super) enum OutageState {
    /// Nothing.
    None,
    /// A message to print once.
    Report(String),
    /// The server is given up.
    Gone(CliError),
}

impl OutageWatch {
    pub(super) fn new(connection: &Connection, gone_after: Duration) -> Self {
        Self {
            client: connection.client.clone(),
            contact: connection.contact.clone(),
            server: connection.server().to_owned(),
            gone_after,
            reported: false,
            probe: None,
        }
    }

    /// Looks at the contact, and asks the server if it was silent. To be called several times a
    /// second.
    pub(super) fn check(&mut self) -> OutageState {
        let Some(outage) = self.contact.outage() else {
            if self.contact.silence() >= PROBE_AFTER {
                self.probe();
            }
            if std::mem::take(&mut self.reported) {
                return OutageState::Report(format!("{} answers again", self.server));
            }
            return OutageState::None;
        };
        self.probe();
        let limit = self.gone_after.as_secs();
        if !self.gone_after.is_zero() && outage.lasts >= self.gone_after {
            return OutageState::Gone(
                CliError::new(format!(
                    "{} has not answered for {limit} s: {}",
                    self.server, outage.why
                ))
                .hint(
                    "accepted evictions continue; run the same command again when the server is \
                     back, or wait longer with --server-gone-after",
                ),
            );
        }
        if outage.lasts >= REPORT_AFTER && !self.reported {
            self.reported = true;
            let end = match limit {
                0 => String::new(),
                _ => format!(", giving up after {limit} s"),
            };
            return OutageState::Report(format!(
                "{} does not answer{end}: {}",
                self.server, outage.why
            ));
        }
        OutageState::None
    }

    /// Asks the server for its version, unless a question is open. Any answer counts, also a
    /// refusal.
    fn probe(&mut self) {
        if self
            .probe
            .as_ref()
            .is_some_and(|probe| !probe.is_finished())
        {
            return;
        }
        let (client, contact) = (self.client.clone(), self.contact.clone());
        self.probe = Some(tokio::spawn(async move {
            let began = Instant::now();
            let version = async {
                match http::Request::get("/version").body(Vec::new()) {
                    Ok(request) => drop(client.request_text(request).await),
                    Err(error) => tracing::debug!(%error, "cannot build the request"),
                }
            };
            if tokio::time::timeout(PROBE_TIMEOUT, version).await.is_err() {
                let seconds = PROBE_TIMEOUT.as_secs();
                contact.failed(began, &format!("no response within {seconds} s"));
            }
            // A refused connection fails at once: the next question waits a moment.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }));
    }
}

impl Drop for OutageWatch {
    fn drop(&mut self) {
        if let Some(probe) = &self.probe {
            probe.abort();
        }
    }
}
