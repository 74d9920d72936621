//! The success policy: which succeeded indexes are enough. Pure.

use k8s_openapi::api::batch::v1::JobSpec;

use super::index::IndexSet;

/// Returns the message for the job when a rule of its success policy is met.
pub(super) fn met(spec: &JobSpec, completed: &IndexSet) -> Option<String> {
    if completed.is_empty() {
        return None;
    }
    let limit = spec.completions.unwrap_or_default();
    let rules = &spec.success_policy.as_ref()?.rules;
    let number = rules
        .iter()
        .position(|rule| match &rule.succeeded_indexes {
            Some(indexes) => {
                let wanted = IndexSet::parse(indexes, limit);
                let reached = wanted.common(completed);
                !wanted.is_empty()
                    && (reached == wanted.total()
                        || rule.succeeded_count.is_some_and(|count| reached >= count))
            }
            None => rule
                .succeeded_count
                .is_some_and(|count| completed.total() >= count),
        })?;
    Some(format!("Matched rules at index {number}"))
}
