//! What each kind adds to the machinery: defaults, validation, what an update may change, field
//! selectors, scale paths. Pure functions over trees; no store, no clock, no HTTP.
//!
//! The machinery asks `of` for the [`Rules`] of a resource and calls them in this order:
//!
//! - create: decode → `default` → (admission) → `prepare_create` → name, uid, time →
//!   `validate_create`
//! - update, patch, also of a subresource: decode → `default` → (admission) → `prepare_update` →
//!   `validate_update`
//!
//! [`Rules`] hold what all kinds share (object metadata, generation, resets of spec and status);
//! a [`Strategy`] is one kind's own part. Most kinds need none: `generic::Generic` serves them.

use std::ops::Deref;
use std::sync::Arc;

use kinds::facts::Type;
use kinds::tree::Text;
use kinds::{Tree, names, status::FieldError};

use crate::resource::ResourceRef;
use crate::tree::{carry, put, take, text};

mod checks;
pub(crate) mod claim;
pub(crate) mod config;
pub(crate) mod definition;
pub(crate) mod deployment;
pub(crate) mod endpoints;
pub(crate) mod event;
pub(crate) mod generic;
pub(crate) mod job;
pub(crate) mod limits;
mod meta;
pub(crate) mod namespace;
pub(crate) mod network;
pub(crate) mod node;
mod path;
pub(crate) mod pdb;
pub(crate) mod pod;
mod podspec;
#[cfg(test)]
mod recorded;
pub(crate) mod role;
mod selector;
pub(crate) mod service;
pub(crate) mod signing;
pub(crate) mod small;
pub(crate) mod statefulset;
#[cfg(test)]
mod tests;
mod workload;

use generic::{same, same_part};

/// The feature gates that change what strategies do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// `PDBUnhealthyPodEvictionPolicy`: off drops `spec.unhealthyPodEvictionPolicy` unless it is in
    /// use.
    pub unhealthy_pod_eviction_policy: bool,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            unhealthy_pod_eviction_policy: true,
        }
    }
}

/// What a strategy may know about the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// The subresource that is written; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// Which features are on.
    pub(crate) gates: Gates,
    /// The time of the request.
    pub(crate) now: jiff::Timestamp,
}

impl Context<'_> {
    /// The time of the request as objects hold it: whole seconds.
    pub(crate) fn now_text(&self) -> String {
        self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// A path of member names from the root of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FieldPath {
    /// Of a built-in kind.
    BuiltIn(&'static [&'static str]),
    /// Of a custom kind.
    Custom(Arc<[Text]>),
}

impl FieldPath {
    /// The names, outermost first; empty for a path that a definition leaves out.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::BuiltIn(names) => names.to_vec(),
            Self::Custom(names) => names.iter().map(Text::as_str).collect(),
        }
    }
}

/// Names of field selectors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FieldNames<'a> {
    /// Of a built-in kind.
    BuiltIn(&'static [&'static str]),
    /// Of a custom kind.
    Custom(&'a [Text]),
}

impl<'a> FieldNames<'a> {
    /// The names, without an allocation for those of built-in kinds.
    pub(crate) fn iter(self) -> impl Iterator<Item = Text> + use<'a> {
        let (built_in, custom): (&[&str], &[Text]) = match self {
            Self::BuiltIn(names) => (names, &[]),
            Self::Custom(names) => (&[], names),
        };
        let built_in = built_in.iter().map(|name| Text::new_static(name));
        built_in.chain(custom.iter().cloned())
    }
}

/// Where the scale subresource finds its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    /// The wanted number.
    pub(crate) spec_replicas: FieldPath,
    /// The observed number.
    pub(crate) status_replicas: FieldPath,
    /// The selector: a `LabelSelector`, or a plain map of labels for replication controllers.
    pub(crate) selector: FieldPath,
    /// True when `selector` is a plain map.
    pub(crate) selector_is_map: bool,
}

/// What happens to dependents when the client says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultPropagation {
    /// Dependents go in the background.
    Background,
    /// Dependents are orphaned (jobs and replication controllers, for history's sake).
    Orphan,
}

/// One kind's own rules. All methods are pure; the defaults do nothing.
pub(crate) trait Strategy: Send + Sync {
    /// Fills in what the client left out. Also runs on updates and patches.
    fn default(&self, _object: &mut Tree) {}

    /// Changes a new object before it is validated: drops what only the system may set.
    fn prepare_create(&self, _context: &Context<'_>, _object: &mut Tree) {}

    /// Faults of a new object, object metadata excepted.
    fn validate_create(&self, _context: &Context<'_>, _object: &Tree) -> Vec<FieldError> {
        Vec::new()
    }

    /// Changes an updated object before it is validated. For the main resource the status is the
    /// old one already; for `status` everything but status and metadata is.
    fn prepare_update(&self, _context: &Context<'_>, _new: &mut Tree, _old: &Tree) {}

    /// Faults of an update, object metadata excepted. `context.subresource` says of which part.
    fn validate_update(&self, _context: &Context<'_>, _new: &Tree, _old: &Tree) -> Vec<FieldError> {
        Vec::new()
    }

    /// Things that the client should know and that are no faults.
    fn warnings(&self, _context: &Context<'_>, _new: &Tree, _old: Option<&Tree>) -> Vec<String> {
        Vec::new()
    }

    /// Faults of a name, as texts without a path.
    fn name_faults(&self, name: &str) -> Vec<String> {
        names::dns_subdomain(name)
    }

    /// True when the kind judges metadata once more, with its own name rule and the rule that
    /// finalizers are qualified. Then faults of metadata on updates are reported twice.
    fn has_own_metadata_rules(&self) -> bool {
        true
    }

    /// True when a client may give a status on creation although the kind has the subresource.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// True when the kind counts its generation.
    fn has_generation(&self) -> bool {
        false
    }

    /// True when the difference between the two objects raises the generation. Asked of the main
    /// resource only, and only when [`Strategy::has_generation`].
    fn raises_generation(&self, ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        !same_part(ty, &["spec"], new, old)
    }

    /// The field selectors that the kind knows besides `metadata.name` and `metadata.namespace`,
    /// by the name under which [`Strategy::selectable`] answers them.
    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&[])
    }

    /// The value of one of [`Strategy::fields`]; empty text when it is not set.
    fn selectable(&self, _object: &Tree, _field: &str) -> String {
        String::new()
    }

    /// The canonical name of a field selector that the kind also knows by another one.
    fn field_alias(&self, field: &str) -> Option<&'static str> {
        let _ = field;
        None
    }

    /// The text with which an unknown field selector is refused by a kind that judges all of them.
    /// None: the common rule judges, which knows name and namespace whatever the scope of the kind.
    fn field_refusal(&self, field: &str) -> Option<String> {
        let _ = field;
        None
    }

    /// Where the scale subresource finds its figures.
    fn scale_paths(&self) -> Option<ScalePaths> {
        None
    }

    /// How many seconds of grace a first delete gives; `requested` is what the client asked for.
    /// None: the kind does not know grace and goes at once.
    fn grace_seconds(&self, _object: &Tree, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// What happens to dependents when the client says nothing.
    fn default_propagation(&self) -> DefaultPropagation {
        DefaultPropagation::Background
    }

    /// True when PUT makes an object that does not exist.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// True when PUT works without a resource version.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// True when a finished DELETE answers the object and not a `Status`.
    fn returns_deleted_object(&self) -> bool {
        false
    }
}

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

/// Everything that the machinery needs to know about one resource. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rules {
    resource: ResourceRef,
    strategy: StrategyRef,
}

/// The text at a dotted path, as most field selectors read it.
fn text_at(object: &Tree, field: &str) -> String {
    let parts: Vec<&str> = field.split('.').collect();
    text(object, &parts).to_owned()
}

impl Rules {
    /// The rules of a resource that has this strategy.
    pub(crate) fn new(resource: ResourceRef, strategy: StrategyRef) -> Self {
        Self { resource, strategy }
    }

    /// Fills in what the client left out. Runs on create, update and patch, and once more after
    /// admission, which may have added parts that have defaults of their own.
    pub(crate) fn default(&self, object: &mut Tree) {
        self.strategy.default(object);
    }

    fn has_status(&self) -> bool {
        self.resource.subresource("status").is_some()
    }

    /// Changes a new object before it is validated: drops the status, sets generation 1.
    /// Name, namespace, uid and creation time are the caller's.
    pub(crate) fn prepare_create(&self, context: &Context<'_>, object: &mut Tree) {
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

    /// Faults of a new object.
    pub(crate) fn validate_create(&self, context: &Context<'_>, object: &Tree) -> Vec<FieldError> {
        let mut faults = if self.strategy.has_own_metadata_rules() {
            self.own_create_faults(object)
        } else {
            Vec::new()
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

    fn own_create_faults(&self, object: &Tree) -> Vec<FieldError> {
        let own = |name: &str, prefix: bool| {
            if prefix {
                self.strategy
                    .name_faults(&meta::without_trailing_dash(name))
            } else {
                self.strategy.name_faults(name)
            }
        };
        let mut faults = meta::create_faults(object, self.resource.namespaced, &own);
        faults.extend(meta::kube_finalizers(object));
        faults
    }

    /// Changes an updated object before it is validated: takes back what this subresource may not
    /// change, carries metadata that only the system sets over, raises the generation.
    /// `new` must carry a resource version by then (the old one for unconditional updates).
    pub(crate) fn prepare_update(&self, context: &Context<'_>, new: &mut Tree, old: &Tree) {
        meta::prepare_update(new, old);
        match context.subresource {
            "" if self.has_status() => carry(old, new, &["status"]),
            "status" => keep_all_but_status(new, old),
            _ => {}
        }
        self.strategy.prepare_update(context, new, old);
        if context.subresource != "status"
            && self.strategy.has_generation()
            && self.strategy.raises_generation(&self.resource.ty, new, old)
        {
            meta::raise_generation(new, old);
        }
    }

    /// Faults of an update of the main resource or of `context.subresource`.
    pub(crate) fn validate_update(
        &self,
        context: &Context<'_>,
        new: &Tree,
        old: &Tree,
    ) -> Vec<FieldError> {
        let mut faults = meta::update_faults(new, old);
        if self.strategy.has_own_metadata_rules() {
            faults.extend(meta::update_faults(new, old));
            faults.extend(meta::kube_finalizers(new));
        }
        faults.extend(self.strategy.validate_update(context, new, old));
        faults
    }

    /// Things that the client should know and that are no faults.
    pub(crate) fn warnings(
        &self,
        context: &Context<'_>,
        new: &Tree,
        old: Option<&Tree>,
    ) -> Vec<String> {
        self.strategy.warnings(context, new, old)
    }

    /// The canonical name of a field selector, or the text with which it is refused (400).
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

    /// The canonical names of all field selectors.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Text> {
        FieldNames::BuiltIn(&["metadata.name", "metadata.namespace"])
            .iter()
            .chain(self.strategy.fields().iter())
    }

    /// The value of a field by its canonical name; empty text when it is not set.
    pub(crate) fn selectable(&self, object: &Tree, field: &str) -> String {
        match field {
            "metadata.name" => text(object, &["metadata", "name"]).to_owned(),
            "metadata.namespace" => text(object, &["metadata", "namespace"]).to_owned(),
            other => self.strategy.selectable(object, other),
        }
    }

    /// Where the scale subresource finds its figures.
    pub(crate) fn scale_paths(&self) -> Option<ScalePaths> {
        self.strategy.scale_paths()
    }

    /// How many seconds of grace a first delete gives; none: the object goes at once.
    pub(crate) fn grace_seconds(&self, object: &Tree, requested: Option<i64>) -> Option<i64> {
        self.strategy.grace_seconds(object, requested)
    }

    /// What happens to dependents when the client says nothing.
    pub(crate) fn default_propagation(&self) -> DefaultPropagation {
        self.strategy.default_propagation()
    }

    /// True when PUT makes an object that does not exist.
    pub(crate) fn allow_create_on_update(&self) -> bool {
        self.strategy.allow_create_on_update()
    }

    /// True when PUT works without a resource version.
    pub(crate) fn allow_unconditional_update(&self) -> bool {
        self.strategy.allow_unconditional_update()
    }

    /// True when a finished DELETE answers the object and not a `Status`.
    pub(crate) fn returns_deleted_object(&self) -> bool {
        self.strategy.returns_deleted_object()
    }
}

/// A write of the status leaves everything alone but metadata and status.
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
