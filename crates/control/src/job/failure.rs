//! What becomes of failed pods: the failure policy of the job, and the failures of an index. Pure.

use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::Pod;

use crate::meta::annotation;
use crate::pods::{is_terminating, name, namespace, phase};

/// The failures of earlier pods of this index that count, on every pod of a job with a limit per
/// index.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The failures of earlier pods of this index that the failure policy ignores.
pub(super) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// True when a terminating pod is replaced only after it has ended.
pub(super) fn replaces_ended(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// True when the pod has failed, or is about to go and the job does not wait for its end.
pub(super) fn has_failed(spec: &JobSpec, pod: &Pod) -> bool {
    phase(pod) == "Failed"
        || (is_terminating(pod) && phase(pod) != "Succeeded" && !replaces_ended(spec))
}

/// What the failure policy makes of a failed pod, as `action` names it in a rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FailureAction {
    Count,
    Ignore,
    FailIndex,
    /// With the message for the job.
    FailJob(String),
}

impl FailureAction {
    /// Applies the failure policy to a failed pod. The first rule that fits decides.
    pub(super) fn of(spec: &JobSpec, pod: &Pod) -> Self {
        let rules = spec
            .pod_failure_policy
            .as_ref()
            .map(|policy| policy.rules.as_slice())
            .unwrap_or_default();
        let found = rules
            .iter()
            .enumerate()
            .find_map(|(number, rule)| Some((rule, number, matching(rule, pod)?)));
        let Some((rule, number, subject)) = found else {
            return Self::Count;
        };
        match rule.action.as_str() {
            "Ignore" => Self::Ignore,
            "FailIndex" => Self::FailIndex,
            "FailJob" => Self::FailJob(format!(
                "{subject} matching {} rule at index {number}",
                rule.action
            )),
            _ => Self::Count,
        }
    }
}

/// Returns why the rule fits to the pod; none when it does not.
fn matching(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let (namespace, name) = (namespace(pod), name(pod));
    let status = pod.status.as_ref()?;
    if let Some(wanted) = &rule.on_exit_codes {
        let containers = status.container_statuses.iter().flatten();
        let inits = status.init_container_statuses.iter().flatten();
        let mut exits = containers
            .chain(inits)
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
        let (container, code) =
            exits.find(|(_, code)| *code != 0 && listed(*code) == (wanted.operator == "In"))?;
        return Some(format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code}"
        ));
    }
    let wanted = rule.on_pod_conditions.as_ref()?;
    let known = status.conditions.iter().flatten().find(|known| {
        wanted.iter().any(|wanted| {
            known.type_ == wanted.type_
                && known.status == wanted.status.as_deref().unwrap_or("True")
        })
    })?;
    Some(format!(
        "Pod {namespace}/{name} has condition {}",
        known.type_
    ))
}

fn count_of(pod: &Pod, key: &str) -> i32 {
    annotation(&pod.metadata, key)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// True when this failed pod is the one too many for its index.
pub(super) fn fails_index(spec: &JobSpec, pod: &Pod) -> bool {
    let Some(limit) = spec.backoff_limit_per_index else {
        return false;
    };
    match FailureAction::of(spec, pod) {
        FailureAction::FailIndex => true,
        FailureAction::Ignore => false,
        FailureAction::Count | FailureAction::FailJob(_) => count_of(pod, FAILURES) >= limit,
    }
}

/// The failures of all earlier pods of this index, counted or ignored.
pub(super) fn earlier_failures(pod: &Pod) -> i32 {
    count_of(pod, FAILURES).saturating_add(count_of(pod, IGNORED))
}

/// The failures that the pod which replaces this one carries: those that count, and the ignored
/// ones.
pub(super) fn carried_failures(spec: &JobSpec, replaced: Option<&Pod>) -> (i32, i32) {
    let Some(pod) = replaced else {
        return (0, 0);
    };
    let (counted, ignored) = (count_of(pod, FAILURES), count_of(pod, IGNORED));
    if FailureAction::of(spec, pod) == FailureAction::Ignore {
        (counted, ignored.saturating_add(1))
    } else {
        (counted.saturating_add(1), ignored)
    }
}
