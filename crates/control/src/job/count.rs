//! Decides which terminated pods of a job count, and as what. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, JobStatus, PodFailurePolicyRule, UncountedTerminatedPods,
};
use k8s_openapi::api::core::v1::Pod;

use super::index;
use super::plan::{FAILURES, has, is_indexed, is_tracked, replaces_ended, set, to_i32};
use crate::meta::{annotation, uid};
use crate::pods::{is_active, is_finished, is_ready, is_terminating, phase};

/// The largest number of pods that are counted together.
const COUNTED_TOGETHER: usize = 500;

fn counts_as_failed(spec: &JobSpec, pod: &Pod) -> bool {
    phase(pod) == "Failed"
        || (is_terminating(pod) && phase(pod) != "Succeeded" && !replaces_ended(spec))
}

/// The first half of counting.
#[derive(Debug)]
pub(super) struct TerminatedPods {
    /// The status that holds the uids; none when it holds them already.
    pub(super) recorded: Option<JobStatus>,
    /// The uids of pods to release.
    pub(super) release: BTreeSet<String>,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
}

/// Collects the terminated pods that are not counted; none when all are.
pub(super) fn count(job: &Job, pods: &[Arc<Pod>]) -> Option<TerminatedPods> {
    let spec = job.spec.as_ref()?;
    let old = job.status.clone().unwrap_or_default();
    let mut waiting = old.uncounted_terminated_pods.clone().unwrap_or_default();
    let recorded_before: BTreeSet<String> = waiting
        .succeeded
        .iter()
        .flatten()
        .chain(waiting.failed.iter().flatten())
        .cloned()
        .collect();
    let mut counted = TerminatedPods {
        recorded: None,
        release: recorded_before.clone(),
        succeeded: 0,
        failed: 0,
    };
    let mut completed_indexes = index::parse(old.completed_indexes.as_deref().unwrap_or_default());
    let mut failed_indexes = index::parse(old.failed_indexes.as_deref().unwrap_or_default());
    for pod in pods
        .iter()
        .filter(|pod| is_tracked(pod) && !recorded_before.contains(uid(&pod.metadata)))
        .take(COUNTED_TOGETHER)
    {
        let id = uid(&pod.metadata).to_owned();
        if phase(pod) == "Succeeded" {
            let index = index::of(pod);
            let fits = !is_indexed(spec)
                || index.is_some_and(|index| {
                    index < spec.completions.unwrap_or_default() && completed_indexes.insert(index)
                });
            if fits {
                waiting.succeeded.get_or_insert_default().push(id.clone());
                counted.succeeded += 1;
            }
            counted.release.insert(id);
        } else if counts_as_failed(spec, pod) {
            match failure_action(spec, pod) {
                FailureAction::Ignore => {}
                // Whether the job fails is decided from the condition that is set below. The pod
                // counts in any case.
                FailureAction::Count | FailureAction::FailJob(_) | FailureAction::FailIndex => {
                    waiting.failed.get_or_insert_default().push(id.clone());
                    counted.failed += 1;
                }
            }
            if let (Some(limit), Some(index)) = (spec.backoff_limit_per_index, index::of(pod)) {
                let failures = annotation(&pod.metadata, FAILURES)
                    .and_then(|text| text.parse::<i32>().ok())
                    .unwrap_or_default();
                if failures >= limit || failure_action(spec, pod) == FailureAction::FailIndex {
                    failed_indexes.insert(index);
                }
            }
            counted.release.insert(id);
        }
    }
    if counted.release.is_empty() {
        return None;
    }
    let mut new = JobStatus {
        uncounted_terminated_pods: Some(waiting),
        ..old.clone()
    };
    if is_indexed(spec) {
        new.completed_indexes = Some(index::render(&completed_indexes));
        if spec.backoff_limit_per_index.is_some() {
            new.failed_indexes = Some(index::render(&failed_indexes));
        }
    }
    if let Some(message) = pods
        .iter()
        .filter(|pod| counts_as_failed(spec, pod))
        .find_map(|pod| match failure_action(spec, pod) {
            FailureAction::FailJob(message) => Some(message),
            _ => None,
        })
        && !has(job, "FailureTarget")
    {
        set(
            &mut new,
            "FailureTarget",
            "True",
            "PodFailurePolicy",
            &message,
            None,
        );
    }
    counted.recorded = (new != old).then_some(new);
    Some(counted)
}

/// The second half of counting: turns the uids into numbers and counts the pods that still run.
pub(super) fn settle(status: Option<&JobStatus>, pods: &[Arc<Pod>]) -> JobStatus {
    let mut status = status.cloned().unwrap_or_default();
    let count =
        |wanted: &dyn Fn(&Pod) -> bool| to_i32(pods.iter().filter(|pod| wanted(pod)).count());
    status.active = Some(count(&is_active)).filter(|active| *active > 0);
    status.ready = Some(count(&|pod| is_active(pod) && is_ready(pod)));
    status.terminating = Some(count(&|pod| is_terminating(pod) && !is_finished(pod)));
    let waiting = status.uncounted_terminated_pods.take().unwrap_or_default();
    let add = |count: Option<i32>, uids: Option<Vec<String>>| {
        let sum = count.unwrap_or_default()
            + i32::try_from(uids.map_or(0, |uids| uids.len())).unwrap_or_default();
        Some(sum).filter(|sum| *sum != 0)
    };
    status.succeeded = add(status.succeeded, waiting.succeeded);
    status.failed = add(status.failed, waiting.failed);
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods::default());
    status
}

/// What the failure policy makes of a failed pod, as `action` names it in a rule.
#[derive(Debug, PartialEq, Eq)]
enum FailureAction {
    Count,
    Ignore,
    FailIndex,
    /// With the message for the job.
    FailJob(String),
}

/// Applies the failure policy to a failed pod.
fn failure_action(spec: &JobSpec, pod: &Pod) -> FailureAction {
    let rules = spec
        .pod_failure_policy
        .as_ref()
        .map(|policy| policy.rules.as_slice())
        .unwrap_or_default();
    for (number, rule) in rules.iter().enumerate() {
        if phase(pod) == "Failed"
            && let Some(message) = matching(rule, number, pod)
        {
            return match rule.action.as_str() {
                "Ignore" => FailureAction::Ignore,
                "FailIndex" => FailureAction::FailIndex,
                "FailJob" => FailureAction::FailJob(message),
                _ => FailureAction::Count,
            };
        }
    }
    FailureAction::Count
}

/// Returns the message for the job when the rule applies to the pod.
fn matching(rule: &PodFailurePolicyRule, number: usize, pod: &Pod) -> Option<String> {
    let pod_name = format!("{}/{}", crate::pods::namespace(pod), crate::pods::name(pod));
    let end = format!("matching {} rule at index {number}", rule.action);
    if let Some(wanted) = &rule.on_exit_codes {
        let statuses = pod.status.iter().flat_map(|status| {
            status
                .container_statuses
                .iter()
                .flatten()
                .chain(status.init_container_statuses.iter().flatten())
        });
        let mut exits = statuses
            .filter(|status| {
                wanted
                    .container_name
                    .as_ref()
                    .is_none_or(|name| *name == status.name)
            })
            .filter_map(|status| {
                let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
                Some((status.name.as_str(), code))
            });
        let listed = |code: i32| wanted.values.contains(&code);
        let (name, code) =
            exits.find(|(_, code)| *code != 0 && listed(*code) == (wanted.operator == "In"))?;
        return Some(format!(
            "Container {name} for pod {pod_name} failed with exit code {code} {end}"
        ));
    }
    let wanted = rule.on_pod_conditions.iter().flatten();
    let conditions = || {
        pod.status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
    };
    wanted
        .filter(|wanted| {
            conditions().any(|known| {
                known.type_ == wanted.type_
                    && known.status == wanted.status.as_deref().unwrap_or("True")
            })
        })
        .map(|wanted| format!("Pod {pod_name} has condition {} {end}", wanted.type_))
        .next()
}
