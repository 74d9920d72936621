//! One term of pod affinity or anti-affinity, compiled once and matched often.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::NamespaceLabels;
use crate::pods::namespace;
use crate::selector::Selector;

/// A term of `owner`.
#[derive(Clone, Debug)]
pub(super) struct CompiledTerm {
    pub(super) topology_key: String,
    /// `None` for a selector that does not compile, which selects nothing.
    selector: Option<Selector>,
    namespaces: BTreeSet<String>,
    /// Selects further namespaces by their labels.
    namespace_selector: Option<Selector>,
}

impl CompiledTerm {
    /// Compiles a term. Without namespaces it selects in the owner's namespace.
    pub(super) fn new(term: &PodAffinityTerm, owner: &Pod) -> Self {
        let listed = term.namespaces.iter().flatten().cloned();
        let mut namespaces: BTreeSet<String> = listed.collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace(owner).to_owned());
        }
        let by_label = term.namespace_selector.as_ref();
        let selector = narrowed(
            term.label_selector.as_ref(),
            owner,
            term.match_label_keys.as_deref(),
            term.mismatch_label_keys.as_deref(),
        );
        Self {
            topology_key: term.topology_key.clone(),
            selector,
            namespaces,
            namespace_selector: by_label.and_then(|found| Selector::compile(Some(found)).ok()),
        }
    }

    /// Returns whether the term selects a pod.
    pub(super) fn selects(&self, other: &Pod, labels_of: &NamespaceLabels<'_>) -> bool {
        let selector = self.selector.as_ref();
        selector.is_some_and(|selector| selector.matches(other.metadata.labels.as_ref()))
            && self.selects_namespace(namespace(other), labels_of)
    }

    fn selects_namespace(&self, name: &str, labels_of: &NamespaceLabels<'_>) -> bool {
        if self.namespaces.contains(name) {
            return true;
        }
        match &self.namespace_selector {
            None => false,
            // The empty selector needs no labels.
            Some(selector) if selector.is_empty() => true,
            Some(selector) => labels_of(name).is_some_and(|labels| selector.matches(Some(&labels))),
        }
    }
}

/// Compiles a selector with further demands: for each of the keys `same` that the pod has as a
/// label, the same value, and for each of `different` another one.
pub(super) fn narrowed(
    selector: Option<&LabelSelector>,
    pod: &Pod,
    same: Option<&[String]>,
    different: Option<&[String]>,
) -> Option<Selector> {
    let keys = |keys: Option<&[String]>| keys.unwrap_or_default().len();
    if keys(same) + keys(different) == 0 || selector.is_none() {
        return Selector::compile(selector).ok();
    }
    let labels: Option<&BTreeMap<String, String>> = pod.metadata.labels.as_ref();
    let mut selector = selector.cloned().unwrap_or_default();
    let expressions = selector.match_expressions.get_or_insert_default();
    for (keys, operator) in [(same, "In"), (different, "NotIn")] {
        for key in keys.into_iter().flatten() {
            if let Some(value) = labels.and_then(|labels| labels.get(key)) {
                expressions.push(LabelSelectorRequirement {
                    key: key.clone(),
                    operator: operator.to_owned(),
                    values: Some(vec![value.clone()]),
                });
            }
        }
    }
    Selector::compile(Some(&selector)).ok()
}
