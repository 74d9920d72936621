//! Kinds with few rules: storage classes, webhook configurations, runtime classes, ingress classes
//! and API services.
//!
//! A kind moves to a file of its own when its rules grow.

use kinds::facts::Type;
use kinds::{
    Tree,
    status::{FieldError, FieldErrors},
};

use super::checks::nonnegative;
use super::meta::invalid_text;
use super::path::{Path, SPEC};
use super::{Strategy, StrategyContext, same, same_part};
use crate::tree::{at, ensure, fill, int, list, list_mut, text};

pub(crate) struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, object: &mut Tree) {
        fill(object, &["reclaimPolicy"], "Delete");
        fill(object, &["volumeBindingMode"], "Immediate");
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        if text(object, &["provisioner"]).is_empty() {
            FieldErrors::from(FieldError::required("provisioner", ""))
        } else {
            FieldErrors::default()
        }
    }

    fn validate_update(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        for field in [
            "parameters",
            "provisioner",
            "reclaimPolicy",
            "volumeBindingMode",
        ] {
            if !same("io.k8s.api.storage.v1.StorageClass", &[field], new, old) {
                out.push(FieldError::forbidden(
                    field,
                    format!("updates to {field} are forbidden."),
                ));
            }
        }
        out
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

pub(crate) struct WebhookConfiguration;

impl Strategy for WebhookConfiguration {
    fn default(&self, object: &mut Tree) {
        let mutates = text(object, &["kind"]) == "MutatingWebhookConfiguration";
        for hook in list_mut(object, &["webhooks"]) {
            fill(hook, &["failurePolicy"], "Fail");
            fill(hook, &["matchPolicy"], "Equivalent");
            ensure(hook, &["namespaceSelector"]);
            ensure(hook, &["objectSelector"]);
            fill(hook, &["timeoutSeconds"], 10);
            if mutates {
                fill(hook, &["reinvocationPolicy"], "Never");
            }
            if at(hook, &["clientConfig", "service"]).is_object() {
                fill(hook, &["clientConfig", "service", "port"], 443);
            }
            for rule in list_mut(hook, &["rules"]) {
                fill(rule, &["scope"], "*");
            }
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn raises_generation(&self, ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        !same_part(ty, &["webhooks"], new, old)
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let hooks = Path::root("webhooks");
        for (index, hook) in list(object, &["webhooks"]).iter().enumerate() {
            let path = hooks.index(index);
            let name = text(hook, &["name"]);
            if name.split('.').count() < 3 {
                out.push(invalid_text(
                    path.child("name"),
                    name,
                    "should be a domain with at least three segments separated by dots",
                ));
            }
            if !matches!(text(hook, &["sideEffects"]), "None" | "NoneOnDryRun") {
                let shown = Tree::from(text(hook, &["sideEffects"]));
                out.push(FieldError::not_supported(
                    path.child("sideEffects"),
                    &shown,
                    &["None", "NoneOnDryRun"],
                ));
            }
            let seconds = int(hook, &["timeoutSeconds"]).unwrap_or(10);
            if !(1..=30).contains(&seconds) {
                let detail = "the timeout value must be between 1 and 30 seconds";
                out.push(FieldError::invalid(
                    path.child("timeoutSeconds"),
                    &Tree::from(seconds),
                    detail,
                ));
            }
            if list(hook, &["admissionReviewVersions"]).is_empty() {
                out.push(FieldError::required(
                    path.child("admissionReviewVersions"),
                    "must specify one of v1, v1beta1",
                ));
            }
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        self.validate_create(context, new)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

pub(crate) struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let handler = text(object, &["handler"]);
        kinds::names::dns_label(handler)
            .into_iter()
            .map(|fault| invalid_text("handler", handler, fault))
            .collect()
    }

    fn validate_update(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let (now, before) = (text(new, &["handler"]), text(old, &["handler"]));
        if now == before {
            FieldErrors::default()
        } else {
            FieldErrors::from(invalid_text("handler", now, "field is immutable"))
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

pub(crate) struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, object: &mut Tree) {
        if at(object, &["spec", "parameters"]).is_object() {
            fill(object, &["spec", "parameters", "scope"], "Cluster");
        }
    }

    fn has_generation(&self) -> bool {
        true
    }
}

pub(crate) struct ApiService;

impl Strategy for ApiService {
    fn default(&self, object: &mut Tree) {
        if at(object, &["spec", "service"]).is_object() {
            fill(object, &["spec", "service", "port"], 443);
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let spec = at(object, &["spec"]);
        let expected = format!("{}.{}", text(spec, &["version"]), text(spec, &["group"]));
        let name = text(object, &["metadata", "name"]);
        if name != expected {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
            out.push(invalid_text("metadata.name", name, detail));
        }
        for field in ["groupPriorityMinimum", "versionPriority"] {
            nonnegative(spec, field, &SPEC, &mut out);
        }
        out
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
