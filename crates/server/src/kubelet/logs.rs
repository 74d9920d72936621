//! `pods/log`: its options, and where the logs come from.

use jiff::{SignedDuration, Timestamp};
use kinds::Tree;
use kinds::status::{FieldError, GroupResource, Status};
use kinds::tree::json;

use crate::query::Query;

/// Options of a request for a log (upstream's `PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLogOptions {
    /// Name of a container of the pod.
    pub container: String,
    /// Read the log of the container's previous instance.
    pub previous: bool,
    /// Begin each line with the time at which it was written.
    pub timestamps: bool,
    /// Leave out lines that were written before this time.
    pub since: Option<Timestamp>,
    /// Number of lines at the end of the log to return; `None` returns all.
    pub tail_lines: Option<usize>,
    /// Number of bytes after which the log is cut; `None` returns all.
    pub limit_bytes: Option<usize>,
}

/// A source of container logs.
pub trait PodLogs: Send + Sync + 'static {
    /// Returns the lines of a container, each with a newline at its end.
    ///
    /// # Errors
    /// The reason why there is no log, which the client gets as a 400.
    fn read(&self, pod: &Tree, options: &PodLogOptions) -> Result<String, String>;
}

/// Reads the options of a log from a query, except for the container.
///
/// # Errors
/// 400 for values that do not parse, 422 for values out of range and for both `sinceTime` and
/// `sinceSeconds`.
pub(super) fn options(
    pod: &Tree,
    query: &Query<'_>,
    now: Timestamp,
) -> Result<PodLogOptions, Status> {
    let mut faults = Vec::new();
    let mut number = |field: &str, least: i64, fault: &str| -> Result<Option<i64>, Status> {
        let Some(given) = query.get(field).filter(|given| !given.is_empty()) else {
            return Ok(None);
        };
        let value: i64 = given
            .parse()
            .map_err(|_| Status::bad_request(format!("invalid {field}: {given:?}")))?;
        if value < least {
            faults.push(FieldError::invalid(field, &json!(value), fault));
        }
        Ok(Some(value))
    };
    let tail = number("tailLines", 0, "must be greater than or equal to 0")?;
    let limit = number("limitBytes", 1, "must be greater than 0")?;
    let seconds = number("sinceSeconds", 1, "must be greater than 0")?;
    let time = query.get("sinceTime").filter(|given| !given.is_empty());
    if seconds.is_some() && time.is_some() {
        faults.push(FieldError::forbidden(
            "[]",
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    if !faults.is_empty() {
        return Err(Status::invalid(
            GroupResource {
                group: "",
                resource: "PodLogOptions",
            },
            super::name(pod),
            &faults,
        ));
    }
    let time = time
        .map(|given| {
            given
                .parse()
                .map_err(|_| Status::bad_request(format!("invalid sinceTime: {given:?}")))
        })
        .transpose()?;
    let ago = seconds.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
    let size = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
    Ok(PodLogOptions {
        container: String::new(),
        previous: query.flag("previous").unwrap_or_default(),
        timestamps: query.flag("timestamps").unwrap_or_default(),
        since: time.or(ago),
        tail_lines: size(tail),
        limit_bytes: size(limit),
    })
}
