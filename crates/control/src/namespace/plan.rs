//! The five conditions of a namespace that is being deleted. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};

use crate::meta::on_wire;

/// The result of an attempt to delete the content of a namespace.
#[derive(Debug, Default)]
pub(super) struct ContentDeletion {
    /// Why discovery failed; none when it succeeded.
    pub(super) discovery: Option<String>,
    pub(super) failures: Vec<String>,
    /// The number of objects left, by resource.
    pub(super) remaining: BTreeMap<String, usize>,
    /// The number of objects left, by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
    pub(super) pods_left: bool,
    /// When to reconcile again.
    pub(super) wait: Option<Duration>,
}

impl ContentDeletion {
    pub(super) fn wait_for(&mut self, wait: Duration) {
        self.wait = Some(self.wait.map_or(wait, |known| known.max(wait)));
    }

    /// True when nothing is left and nothing failed.
    pub(super) fn is_empty(&self) -> bool {
        self.discovery.is_none()
            && self.failures.is_empty()
            && self.remaining.is_empty()
            && !self.pods_left
    }

    fn conditions(&self) -> [(&'static str, bool, &'static str, String); 5] {
        let discovery = match &self.discovery {
            None => (
                false,
                "ResourcesDiscovered",
                "All resources successfully discovered".to_owned(),
            ),
            Some(error) => (
                true,
                "DiscoveryFailed",
                format!("Discovery failed for some groups, 1 failing: {error}"),
            ),
        };
        let parsing = (
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        );
        let content = if self.failures.is_empty() {
            (
                false,
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization".to_owned(),
            )
        } else {
            let texts = if let [one] = self.failures.as_slice() {
                one.clone()
            } else {
                format!("[{}]", self.failures.join(", "))
            };
            (
                true,
                "ContentDeletionFailed",
                format!(
                    "Failed to delete all resource types, {} remaining: {texts}",
                    self.failures.len()
                ),
            )
        };
        let remaining = if self.remaining.is_empty() {
            (
                false,
                "ContentRemoved",
                "All content successfully removed".to_owned(),
            )
        } else {
            let parts: Vec<_> = self
                .remaining
                .iter()
                .map(|(resource, count)| format!("{resource} has {count} resource instances"))
                .collect();
            (
                true,
                "SomeResourcesRemain",
                format!("Some resources are remaining: {}", parts.join(", ")),
            )
        };
        let finalizers = if self.finalizers.is_empty() {
            (
                false,
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
            )
        } else {
            let parts: Vec<_> = self
                .finalizers
                .iter()
                .map(|(name, count)| format!("{name} in {count} resource instances"))
                .collect();
            (
                true,
                "SomeFinalizersRemain",
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    parts.join(", ")
                ),
            )
        };
        let named = |ty, (status, reason, message)| (ty, status, reason, message);
        [
            named("NamespaceDeletionDiscoveryFailure", discovery),
            named("NamespaceDeletionGroupVersionParsingFailure", parsing),
            named("NamespaceDeletionContentFailure", content),
            named("NamespaceContentRemaining", remaining),
            named("NamespaceFinalizersRemaining", finalizers),
        ]
    }
}

/// The namespace with its new conditions; none when it has them, or when nothing is left.
pub(super) fn with_conditions(
    namespace: &Namespace,
    progress: &ContentDeletion,
    now: Timestamp,
) -> Option<Namespace> {
    if progress.is_empty() {
        return None;
    }
    let mut updated = namespace.clone();
    let status = updated.status.get_or_insert_default();
    status.phase = Some("Terminating".to_owned());
    let conditions = status.conditions.get_or_insert_default();
    for (ty, status, reason, message) in progress.conditions() {
        let status = if status { "True" } else { "False" };
        let condition = NamespaceCondition {
            type_: ty.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(on_wire(now)),
        };
        rules::conditions::set(conditions, condition);
    }
    (updated != *namespace).then_some(updated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_content_is_reported_in_upstreams_words() {
        let progress = ContentDeletion {
            remaining: BTreeMap::from([("configmaps.".to_owned(), 1)]),
            finalizers: BTreeMap::from([("a.b/c".to_owned(), 1)]),
            ..ContentDeletion::default()
        };
        let updated = with_conditions(&Namespace::default(), &progress, Timestamp::UNIX_EPOCH)
            .expect("written");
        let conditions = updated
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref())
            .expect("conditions");
        let reported: Vec<_> = conditions
            .iter()
            .map(|condition| {
                (
                    condition.status.as_str(),
                    condition.message.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        assert_eq!(
            reported,
            [
                ("False", "All resources successfully discovered"),
                ("False", "All legacy kube types successfully parsed"),
                (
                    "False",
                    "All content successfully deleted, may be waiting on finalization"
                ),
                (
                    "True",
                    "Some resources are remaining: configmaps. has 1 resource instances"
                ),
                (
                    "True",
                    "Some content in the namespace has finalizers remaining: a.b/c in 1 resource instances"
                ),
            ]
        );
        assert_eq!(
            with_conditions(&updated, &progress, Timestamp::UNIX_EPOCH),
            None,
            "the second time there is nothing new"
        );
        assert_eq!(
            with_conditions(&updated, &ContentDeletion::default(), Timestamp::UNIX_EPOCH),
            None
        );
    }
}
