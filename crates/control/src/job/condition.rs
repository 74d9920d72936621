//! The conditions of a job. Pure.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};

use crate::meta::{after_seconds, on_wire};

/// How a job ends. The interim condition is written before pods are released, the final one when
/// all pods are counted and gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobOutcome {
    pub(super) failed: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

impl JobOutcome {
    pub(super) fn failure(reason: &str, message: impl Into<String>) -> Self {
        Self {
            failed: true,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    pub(super) fn success(reason: &str, message: impl Into<String>) -> Self {
        Self {
            failed: false,
            ..Self::failure(reason, message)
        }
    }

    /// The outcome that an interim condition of the status announces.
    pub(super) fn announced(status: &JobStatus) -> Option<Self> {
        let known = |ty: &str, failed: bool| {
            let condition = find(status, ty).filter(|condition| condition.status == "True")?;
            Some(Self {
                failed,
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
            })
        };
        known("SuccessCriteriaMet", false).or_else(|| known("FailureTarget", true))
    }

    /// Sets the interim condition.
    pub(super) fn announce(&self, status: &mut JobStatus, now: Timestamp) {
        let ty = if self.failed {
            "FailureTarget"
        } else {
            "SuccessCriteriaMet"
        };
        set(status, ty, "True", &self.reason, &self.message, now);
    }

    /// Sets the final condition.
    pub(super) fn declare(&self, status: &mut JobStatus, now: Timestamp) {
        let ty = if self.failed { "Failed" } else { "Complete" };
        set(status, ty, "True", &self.reason, &self.message, now);
        if !self.failed {
            status.completion_time = Some(on_wire(now));
        }
    }
}

fn find<'a>(status: &'a JobStatus, ty: &str) -> Option<&'a JobCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == ty)
}

fn end(job: &Job) -> Option<&JobCondition> {
    let status = job.status.as_ref()?;
    ["Complete", "Failed"]
        .into_iter()
        .filter_map(|ty| find(status, ty))
        .find(|condition| condition.status == "True")
}

/// True when the job has completed or failed.
pub(super) fn is_over(job: &Job) -> bool {
    end(job).is_some()
}

/// When a finished job is to be deleted; none when it is kept.
pub(super) fn expires(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let ended = end(job)?.last_transition_time.as_ref()?.0;
    Some(after_seconds(ended, i64::from(seconds)))
}

/// Sets a condition. Returns true when its status changes.
pub(super) fn set(
    status: &mut JobStatus,
    ty: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let known = find(status, ty).map(|condition| condition.status == value);
    // What was never true need not be denied.
    if known == Some(true) || (known.is_none() && value == "False") {
        return false;
    }
    let condition = JobCondition {
        type_: ty.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(on_wire(now)),
        last_transition_time: Some(on_wire(now)),
    };
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|known| known.type_ == ty) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    true
}
