//! GET of one object, directly or through a subresource whose body is the whole object.

use std::time::Duration;

use kinds::status::{Details, Status, StatusCause};
use store::Revision;

use crate::Registry;
use crate::request::{Refusal, Reply};
use crate::target::Target;

/// How long a read waits for a revision that is newer than the store's.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

impl Registry {
    /// Reads one object.
    pub(crate) async fn get(
        &self,
        target: &Target,
        resource_version: &str,
    ) -> Result<Reply, Refusal> {
        if let Some(revision) = parse_version(resource_version)? {
            self.wait_for(revision).await?;
        }
        let record = self
            .store()
            .get(&target.key())
            .ok_or_else(|| target.not_found())?;
        Ok(Reply::Object {
            code: 200,
            json: self.present(target, &record.value),
            warnings: Vec::new(),
        })
    }

    /// Waits until the store has reached a revision; 504 after three seconds.
    pub(crate) async fn wait_for(&self, revision: Revision) -> Result<(), Refusal> {
        if self.store().revision() >= revision {
            return Ok(());
        }
        match tokio::time::timeout(FUTURE_WAIT, self.store().reached(revision)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(closed)) => Err(Status::unavailable(closed.to_string()).into()),
            Err(_) => Err(self.too_large(revision)),
        }
    }

    /// Returns the 504 for a revision that the store has not reached.
    fn too_large(&self, revision: Revision) -> Refusal {
        let message = format!(
            "Timeout: Too large resource version: {}, current: {}",
            revision.0,
            self.store().revision().0
        );
        let cause = StatusCause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        };
        let details = Details {
            causes: vec![cause],
            retry_after_seconds: 1,
            ..Details::default()
        };
        Status::failure(504, "Timeout", message, Some(details)).into()
    }
}

/// Parses a resource version of a get or watch; `None` for "" and "0", which accept any revision.
pub(crate) fn parse_version(text: &str) -> Result<Option<Revision>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(revision) => Ok(Some(Revision(revision))),
        Err(_) => Err(Status::untyped(format!(
            "resourceVersion: Invalid value: {text:?}: {}",
            number_fault(text)
        ))
        .into()),
    }
}

/// Returns Go's error for a string that is not an unsigned number.
pub(crate) fn number_fault(text: &str) -> String {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = if digits {
        "value out of range"
    } else {
        "invalid syntax"
    };
    format!(
        "strconv.ParseUint: parsing {}: {why}",
        kinds::status::quoted(text)
    )
}
