//! The rules of one resource: its strategy, and what all kinds share around it.

use std::ops::Deref;
use std::sync::Arc;

use kinds::tree::Text;
use kinds::{Tree, names, status::FieldErrors};

use crate::resource::ResourceRef;
use crate::strategy::{
    DefaultPropagation, FieldNames, KindFacts, ScalePaths, Strategy, StrategyContext,
    common_warnings, meta,
};
use crate::tree::{carry, put, take, text};

/// A strategy: a static one of a built-in kind, or one that a definition made.
#[derive(Clone)]
pub(crate) enum StrategyRef {
    /// Of a built-in kind.
    BuiltIn(&'static dyn Strategy),
    /// Of a custom kind.
    Custom(Arc<dyn Strategy>),
}

impl Deref for StrategyRef {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::BuiltIn(strategy) => *strategy,
            Self::Custom(strategy) => &**strategy,
        }
    }
}

/// A resource with its strategy: everything that the verbs need to know of a kind. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rules {
    resource: ResourceRef,
    strategy: StrategyRef,
}

impl Rules {
    /// Returns the rules of a resource with this strategy.
    pub(crate) fn new(resource: ResourceRef, strategy: StrategyRef) -> Self {
        Self { resource, strategy }
    }

    /// Fills in defaults. Runs on create, update and patch, and again after admission, which may
    /// have added parts that have defaults.
    pub(crate) fn default(&self, object: &mut Tree) {
        self.strategy.default(object);
    }

    fn has_status(&self) -> bool {
        self.resource.subresource("status").is_some()
    }

    /// Changes a new object before it is validated: drops the status, sets generation 1. The caller
    /// sets name, namespace, uid and creation time.
    pub(crate) fn prepare_create(&self, context: &StrategyContext<'_>, object: &mut Tree) {
        if self.has_status() && !self.strategy.keeps_status_on_create() {
            take(object, &["status"]);
        }
        if self.strategy.has_generation() {
            put(object, &["metadata", "generation"], 1);
        }
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            take(object, &["metadata", field]);
        }
        self.strategy.prepare_create(context, object);
    }

    /// Returns the faults of a new object.
    pub(crate) fn validate_create(
        &self,
        context: &StrategyContext<'_>,
        object: &Tree,
    ) -> FieldErrors {
        let mut faults = if self.strategy.has_own_metadata_rules() {
            self.own_create_faults(object)
        } else {
            FieldErrors::default()
        };
        faults.extend(self.strategy.validate_create(context, object));
        if faults.is_empty() {
            let segment = |name: &str, prefix: bool| {
                if prefix {
                    names::path_segment_prefix(name)
                } else {
                    names::path_segment(name)
                }
            };
            faults = meta::create_faults(object, self.resource.namespaced, &segment);
        }
        faults
    }

    fn own_create_faults(&self, object: &Tree) -> FieldErrors {
        let own = |name: &str, prefix: bool| {
            if prefix {
                self.strategy
                    .name_faults(&meta::without_trailing_dash(name))
            } else {
                self.strategy.name_faults(name)
            }
        };
        let mut faults = meta::create_faults(object, self.resource.namespaced, &own);
        if self.strategy.needs_qualified_finalizers() {
            faults.extend(meta::kube_finalizers(object));
        }
        faults
    }

    /// Changes an updated object before it is validated: resets what this subresource may not
    /// change and the metadata that only the system sets, and raises the generation. `new` must
    /// have a resource version, in an unconditional update the old one.
    pub(crate) fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        meta::prepare_update(new, old);
        match context.subresource {
            "" if self.has_status() => carry(old, new, &["status"]),
            "status" => keep_all_but_status(new, old),
            _ => {}
        }
        self.strategy.prepare_update(context, new, old);
        if context.subresource != "status"
            && self.strategy.has_generation()
            && self.strategy.raises_generation(self.resource.ty, new, old)
        {
            meta::raise_generation(new, old);
        }
    }

    /// Returns the faults of an update of the main resource or of `context.subresource`.
    pub(crate) fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut faults = meta::update_faults(new, old);
        if self.strategy.has_own_metadata_rules() {
            faults.extend(meta::update_faults(new, old));
            if self.strategy.needs_qualified_finalizers() {
                faults.extend(meta::kube_finalizers(new));
            }
        }
        faults.extend(self.strategy.validate_update(context, new, old));
        faults
    }

    /// Returns warnings for the client about a valid object.
    pub(crate) fn warnings(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: Option<&Tree>,
    ) -> Vec<String> {
        let mut found = self.strategy.warnings(context, new, old);
        if context.subresource.is_empty() && !self.resource.is_custom() {
            found.extend(common_warnings(&self.resource, new, old));
        }
        found
    }

    /// Returns the canonical name of a field selector, or the message of its refusal (400).
    pub(crate) fn check_field(&self, field: &str) -> Result<Text, String> {
        let refusal = self.strategy.field_refusal(field);
        let common: &'static [&'static str] = if self.resource.namespaced || refusal.is_none() {
            &["metadata.name", "metadata.namespace"]
        } else {
            &["metadata.name"]
        };
        let known = FieldNames::BuiltIn(common)
            .iter()
            .chain(self.strategy.fields().iter())
            .find(|known| known == field);
        let refusal = || {
            refusal.unwrap_or_else(|| format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""))
        };
        known
            .or_else(|| self.strategy.field_alias(field).map(Text::new_static))
            .ok_or_else(refusal)
    }

    /// Returns the canonical names of all field selectors.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Text> {
        FieldNames::BuiltIn(&["metadata.name", "metadata.namespace"])
            .iter()
            .chain(self.strategy.fields().iter())
    }

    /// Returns the value of a field by its canonical name; empty when it is not set.
    pub(crate) fn selectable(&self, object: &Tree, field: &str) -> String {
        match field {
            "metadata.name" => text(object, &["metadata", "name"]).to_owned(),
            "metadata.namespace" => text(object, &["metadata", "namespace"]).to_owned(),
            other => self.strategy.selectable(object, other),
        }
    }

    /// See [`Strategy::facts`].
    pub(crate) fn facts(self, object: &Tree) -> Option<KindFacts> {
        self.strategy.facts(object)
    }

    /// See [`Strategy::scale_paths`].
    pub(crate) fn scale_paths(&self) -> Option<ScalePaths> {
        self.strategy.scale_paths()
    }

    /// See [`Strategy::grace_seconds`].
    pub(crate) fn grace_seconds(&self, object: &Tree, requested: Option<i64>) -> Option<i64> {
        self.strategy.grace_seconds(object, requested)
    }

    /// See [`Strategy::default_propagation`].
    pub(crate) fn default_propagation(&self) -> DefaultPropagation {
        self.strategy.default_propagation()
    }

    /// See [`Strategy::allow_create_on_update`].
    pub(crate) fn allow_create_on_update(&self) -> bool {
        self.strategy.allow_create_on_update()
    }

    /// See [`Strategy::allow_unconditional_update`].
    pub(crate) fn allow_unconditional_update(&self) -> bool {
        self.strategy.allow_unconditional_update()
    }

    /// See [`Strategy::returns_deleted_object`].
    pub(crate) fn returns_deleted_object(&self) -> bool {
        self.strategy.returns_deleted_object()
    }
}

/// Resets everything except metadata and status, which a write of the status may change.
fn keep_all_but_status(new: &mut Tree, old: &Tree) {
    let stays = |name: &str| !matches!(name, "apiVersion" | "kind" | "metadata" | "status");
    if let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) {
        new.retain(|name, _| !stays(name));
        new.extend(
            old.iter()
                .filter(|(name, _)| stays(name))
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
}
