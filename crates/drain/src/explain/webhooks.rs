//! Webhooks that the server asks about evictions: they may refuse, and break drains when they are
//! down.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{RuleWithOperations, WebhookClientConfig};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use rules::selector::Selector;

use super::{Problem, Risk, Way};
use crate::cluster::Snapshot;

/// Seconds that the server waits for a webhook that says nothing about it.
const DEFAULT_TIMEOUT_SECONDS: i32 = 10;

/// What both sorts of webhooks have in common.
pub(crate) struct Hook<'a> {
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    rules: &'a [RuleWithOperations],
    namespaces: Option<&'a LabelSelector>,
    client: &'a WebhookClientConfig,
    pub(crate) fails: bool,
    timeout_seconds: i32,
}

/// The webhooks that are asked about evictions.
pub(crate) fn of_evictions(snapshot: &Snapshot) -> impl Iterator<Item = Hook<'_>> {
    let validating = snapshot
        .validating_webhooks
        .iter()
        .flat_map(|configuration| {
            configuration.webhooks.iter().flatten().map(|hook| Hook {
                meta: &configuration.metadata,
                kind: "ValidatingWebhookConfiguration",
                name: &hook.name,
                rules: hook.rules.as_deref().unwrap_or_default(),
                namespaces: hook.namespace_selector.as_ref(),
                client: &hook.client_config,
                fails: hook.failure_policy.as_deref() != Some("Ignore"),
                timeout_seconds: hook.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS),
            })
        });
    let mutating = snapshot.mutating_webhooks.iter().flat_map(|configuration| {
        configuration.webhooks.iter().flatten().map(|hook| Hook {
            meta: &configuration.metadata,
            kind: "MutatingWebhookConfiguration",
            name: &hook.name,
            rules: hook.rules.as_deref().unwrap_or_default(),
            namespaces: hook.namespace_selector.as_ref(),
            client: &hook.client_config,
            fails: hook.failure_policy.as_deref() != Some("Ignore"),
            timeout_seconds: hook.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS),
        })
    });
    validating
        .chain(mutating)
        .filter(|hook| hook.rules.iter().any(covers_evictions))
}

fn covers_evictions(rule: &RuleWithOperations) -> bool {
    let has = |list: &Option<Vec<String>>, wanted: &[&str]| {
        list.iter()
            .flatten()
            .any(|one| wanted.contains(&one.as_str()))
    };
    has(&rule.operations, &["CREATE", "*"])
        && has(&rule.api_groups, &["", "*"])
        && has(
            &rule.resources,
            &["pods/eviction", "pods/*", "*/eviction", "*/*"],
        )
}

/// Those that are asked about evictions in this namespace, as problems.
pub(super) fn problems(snapshot: &Snapshot, namespace: &str) -> Vec<Problem> {
    let labels = labels(snapshot, namespace);
    of_evictions(snapshot)
        .filter(|hook| hook.looks_at(labels))
        .map(|hook| hook.problem(snapshot))
        .collect()
}

/// What to do about those that cannot answer.
pub(super) fn ways(snapshot: &Snapshot, namespace: &str) -> Vec<Way> {
    let labels = labels(snapshot, namespace);
    let down = of_evictions(snapshot).filter(|hook| {
        hook.fails && hook.looks_at(labels) && hook.lost_service(snapshot).is_some()
    });
    let ways = down.flat_map(|hook| {
        let (kind, configuration) = (hook.kind.to_lowercase(), hook.configuration());
        let look = format!("kubectl get {kind} {configuration} -o yaml");
        let drop = format!("kubectl delete {kind} {configuration}");
        [
            Way {
                risk: Risk::Safe,
                text: "Bring back the service behind the webhook".into(),
                commands: vec![look],
            },
            Way {
                risk: Risk::Protection,
                text: "If what installed it is gone, remove the webhook".into(),
                commands: vec![drop],
            },
        ]
    });
    ways.collect()
}

fn labels<'a>(snapshot: &'a Snapshot, namespace: &str) -> Option<&'a BTreeMap<String, String>> {
    let space = snapshot
        .namespaces
        .iter()
        .find(|space| space.metadata.name.as_deref() == Some(namespace));
    space.and_then(|space| space.metadata.labels.as_ref())
}

impl<'a> Hook<'a> {
    fn configuration(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Whether it is asked about the evictions of this namespace.
    pub(crate) fn is_asked_in(&self, snapshot: &Snapshot, namespace: &str) -> bool {
        self.looks_at(labels(snapshot, namespace))
    }

    /// The service behind it, when it is there.
    pub(crate) fn service(&self, snapshot: &'a Snapshot) -> Option<&'a Service> {
        let wanted = self.client.service.as_ref()?;
        snapshot.services.iter().find(|found| {
            found.metadata.name.as_deref() == Some(&wanted.name)
                && found.metadata.namespace.as_deref() == Some(&wanted.namespace)
        })
    }

    fn looks_at(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.namespaces.is_none_or(|selector| {
            Selector::compile(Some(selector)).is_ok_and(|selector| selector.matches(labels))
        })
    }

    /// The service behind it, when the snapshot shows that there is none.
    fn lost_service(&self, snapshot: &'a Snapshot) -> Option<String> {
        let service = self.client.service.as_ref()?;
        let read = !snapshot
            .unread
            .iter()
            .any(|unread| unread.resource == "services");
        (read && self.service(snapshot).is_none())
            .then(|| format!("{}/{}", service.namespace, service.name))
    }

    fn problem(&self, snapshot: &'a Snapshot) -> Problem {
        let then = match self.fails {
            true => format!(
                "evictions are refused when it refuses, fails or does not answer within {} s",
                self.timeout_seconds
            ),
            false => "evictions are refused when it refuses (its failures are ignored)".to_owned(),
        };
        let (Self { kind, name, .. }, configuration) = (self, self.configuration());
        match self.lost_service(snapshot).filter(|_| self.fails) {
            Some(service) => Problem::blocking(
                "webhook-down",
                format!(
                    "webhook {name} ({kind} {configuration}) is asked about every eviction and its service {service} does not exist: every eviction fails"
                ),
            ),
            None => Problem::new(
                "webhook",
                format!("webhook {name} ({kind} {configuration}) is asked about evictions: {then}"),
            ),
        }
    }
}
