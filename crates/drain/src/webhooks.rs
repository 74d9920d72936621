//! Admission webhooks that the server calls for evictions: which they are, and whether the service
//! behind one exists.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{RuleWithOperations, WebhookClientConfig};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use rules::selector::Selector;

use crate::cluster::ClusterSnapshot;

/// The timeout in seconds of a webhook that does not set `timeoutSeconds`.
const DEFAULT_TIMEOUT_SECONDS: i32 = 10;

/// A validating or mutating webhook that is called for evictions.
pub(crate) struct EvictionWebhook<'a> {
    /// Metadata of the configuration that contains the webhook.
    pub(crate) meta: &'a ObjectMeta,
    /// Kind of that configuration.
    pub(crate) kind: &'static str,
    /// Name of the webhook.
    pub(crate) name: &'a str,
    /// False for `failurePolicy: Ignore`: the server then ignores errors of the webhook.
    pub(crate) fails_closed: bool,
    pub(crate) timeout_seconds: i32,
    rules: &'a [RuleWithOperations],
    namespaces: Option<&'a LabelSelector>,
    client: &'a WebhookClientConfig,
}

/// Builds an [`EvictionWebhook`] from a webhook of either kind: the generated types share all these
/// fields and no trait.
macro_rules! eviction_webhook {
    ($kind:literal, $configuration:expr, $hook:expr) => {
        EvictionWebhook {
            meta: &$configuration.metadata,
            kind: $kind,
            name: &$hook.name,
            fails_closed: $hook.failure_policy.as_deref() != Some("Ignore"),
            timeout_seconds: $hook.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS),
            rules: $hook.rules.as_deref().unwrap_or_default(),
            namespaces: $hook.namespace_selector.as_ref(),
            client: &$hook.client_config,
        }
    };
}

/// Returns the webhooks that are called for evictions in any namespace.
pub(crate) fn of_evictions(
    snapshot: &ClusterSnapshot,
) -> impl Iterator<Item = EvictionWebhook<'_>> {
    let validating = snapshot.validating_webhooks.iter().flat_map(|found| {
        let hooks = found.webhooks.iter().flatten();
        hooks.map(|hook| eviction_webhook!("ValidatingWebhookConfiguration", found, hook))
    });
    let mutating = snapshot.mutating_webhooks.iter().flat_map(|found| {
        let hooks = found.webhooks.iter().flatten();
        hooks.map(|hook| eviction_webhook!("MutatingWebhookConfiguration", found, hook))
    });
    validating
        .chain(mutating)
        .filter(|hook| hook.rules.iter().any(covers_evictions))
}

/// Returns the webhooks that are called for evictions in this namespace.
pub(crate) fn of_evictions_in<'a>(
    snapshot: &'a ClusterSnapshot,
    namespace: &str,
) -> impl Iterator<Item = EvictionWebhook<'a>> {
    let labels = labels(snapshot, namespace);
    of_evictions(snapshot).filter(move |hook| hook.selects(labels))
}

fn covers_evictions(rule: &RuleWithOperations) -> bool {
    let has = |list: &Option<Vec<String>>, wanted: &[&str]| {
        list.iter()
            .flatten()
            .any(|one| wanted.contains(&one.as_str()))
    };
    // The subresource is matched under the group of its parent: pods are in the core group.
    has(&rule.operations, &["CREATE", "*"])
        && has(&rule.api_groups, &["", "*"])
        && has(
            &rule.resources,
            &["pods/eviction", "pods/*", "*/eviction", "*/*"],
        )
}

fn labels<'a>(
    snapshot: &'a ClusterSnapshot,
    namespace: &str,
) -> Option<&'a BTreeMap<String, String>> {
    snapshot.namespace(namespace)?.metadata.labels.as_ref()
}

impl<'a> EvictionWebhook<'a> {
    /// Returns the name of the configuration that contains the webhook.
    pub(crate) fn configuration(&self) -> &'a str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Returns true when the webhook is called for evictions in this namespace.
    pub(crate) fn is_called_in(&self, snapshot: &ClusterSnapshot, namespace: &str) -> bool {
        self.selects(labels(snapshot, namespace))
    }

    /// Returns the Service behind the webhook, `None` when it is missing or the webhook has a URL.
    pub(crate) fn service(&self, snapshot: &'a ClusterSnapshot) -> Option<&'a Service> {
        let wanted = self.client.service.as_ref()?;
        snapshot.services.iter().find(|found| {
            found.metadata.name.as_deref() == Some(&wanted.name)
                && found.metadata.namespace.as_deref() == Some(&wanted.namespace)
        })
    }

    /// Returns `NAMESPACE/NAME` of the Service behind the webhook when the snapshot proves that it
    /// does not exist.
    pub(crate) fn missing_service(&self, snapshot: &'a ClusterSnapshot) -> Option<String> {
        let service = self.client.service.as_ref()?;
        let was_read = snapshot.unread("services").is_none();
        (was_read && self.service(snapshot).is_none())
            .then(|| format!("{}/{}", service.namespace, service.name))
    }

    fn selects(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.namespaces.is_none_or(|selector| {
            Selector::compile(Some(selector)).is_ok_and(|selector| selector.matches(labels))
        })
    }
}
