//! The behaviour of kinds: defaults, validation, what an update may change, field selectors, facts,
//! scale paths. Pure functions over trees; no store, no clock, no HTTP.
//!
//! The verbs get the `Rules` of a resource from the table in `kind.rs`, and call them in this
//! order:
//!
//! - create: decode → `default` → (admission) → `prepare_create` → name, uid, time →
//!   `validate_create`
//! - update, patch, also of a subresource: decode → `default` → (admission) → `prepare_update` →
//!   `validate_update`
//!
//! A [`Strategy`] is the part of one kind; `Rules` add what all kinds share (object metadata,
//! generation, resets of spec and status). Kinds without behaviour of their own get a strategy of
//! [`generic`].

use std::any::Any;
use std::sync::Arc;

use kinds::facts::Type;
use kinds::tree::Text;
use kinds::{Tree, names, status::FieldErrors};

use crate::tree::text;

pub(crate) mod autoscaler;
pub(crate) mod binding;
mod checks;
pub(crate) mod claim;
pub(crate) mod config;
mod defaults;
pub(crate) mod definition;
pub(crate) mod deployment;
pub(crate) mod endpoints;
pub(crate) mod event;
pub(crate) mod generic;
pub(crate) mod job;
pub(crate) mod limits;
pub(crate) mod meta;
pub(crate) mod namespace;
mod netip;
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
pub(crate) mod servicecidr;
pub(crate) mod signing;
pub(crate) mod small;
pub(crate) mod statefulset;
#[cfg(test)]
mod tests;
pub(crate) mod volume;
mod warnings;
mod workload;

pub(crate) use warnings::of as common_warnings;

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

/// The part of a request that a strategy may read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StrategyContext<'a> {
    /// The subresource that is written; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// The feature gates.
    pub(crate) gates: Gates,
    /// The time of the request.
    pub(crate) now: jiff::Timestamp,
}

impl StrategyContext<'_> {
    /// Returns the time of the request as objects hold it: in whole seconds.
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
    /// Returns the names, outermost first; empty for a path that a definition leaves out.
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
    /// Returns the names, without an allocation for those of built-in kinds.
    pub(crate) fn iter(self) -> impl Iterator<Item = Text> + use<'a> {
        let (built_in, custom): (&[&str], &[Text]) = match self {
            Self::BuiltIn(names) => (names, &[]),
            Self::Custom(names) => (&[], names),
        };
        let built_in = built_in.iter().map(|name| Text::new_static(name));
        built_in.chain(custom.iter().cloned())
    }
}

/// The paths at which the scale subresource finds its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    /// The desired number of replicas.
    pub(crate) spec_replicas: FieldPath,
    /// The observed number of replicas.
    pub(crate) status_replicas: FieldPath,
    /// The selector: a `LabelSelector`, or a plain map of labels for replication controllers.
    pub(crate) selector: FieldPath,
    /// True when `selector` is a plain map.
    pub(crate) selector_is_map: bool,
}

/// What happens to dependents when the client gives no propagation policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultPropagation {
    /// Dependents are deleted in the background.
    Background,
    /// Dependents are orphaned, as those of jobs and replication controllers always were.
    Orphan,
}

/// The facts of one kind. Their type is known to the kind's strategy and to those who read them.
pub(crate) type KindFacts = Box<dyn Any + Send + Sync>;

/// The rules of one kind. All methods are pure; the default implementations do nothing.
pub(crate) trait Strategy: Send + Sync {
    /// Fills in defaults. Also runs on updates and patches.
    fn default(&self, _object: &mut Tree) {}

    /// Changes a new object before it is validated: drops fields that only the system may set.
    fn prepare_create(&self, _context: &StrategyContext<'_>, _object: &mut Tree) {}

    /// Returns the faults of a new object, except those of its metadata.
    fn validate_create(&self, _context: &StrategyContext<'_>, _object: &Tree) -> FieldErrors {
        FieldErrors::default()
    }

    /// Changes an updated object before it is validated. The status of the main resource has been
    /// reset to the old one before, and for `status` everything except status and metadata.
    fn prepare_update(&self, _context: &StrategyContext<'_>, _new: &mut Tree, _old: &Tree) {}

    /// Returns the faults of an update of `context.subresource`, except those of its metadata.
    fn validate_update(
        &self,
        _context: &StrategyContext<'_>,
        _new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        FieldErrors::default()
    }

    /// Returns warnings for the client about a valid object.
    fn warnings(
        &self,
        _context: &StrategyContext<'_>,
        _new: &Tree,
        _old: Option<&Tree>,
    ) -> Vec<String> {
        Vec::new()
    }

    /// Returns the faults of a name, without a path.
    fn name_faults(&self, name: &str) -> Vec<String> {
        names::dns_subdomain(name)
    }

    /// Returns true when the kind validates metadata a second time, with its own rule for names and
    ///  the rule that finalizers are qualified. Faults of metadata in updates are then reported
    /// twice, as upstream does.
    fn has_own_metadata_rules(&self) -> bool {
        true
    }

    /// Returns true when finalizers must be qualified names or standard ones.
    fn needs_qualified_finalizers(&self) -> bool {
        true
    }

    /// Returns true when a client may set the status on creation although the kind has the
    /// subresource.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Returns true when objects of the kind have a generation.
    fn has_generation(&self) -> bool {
        false
    }

    /// Returns true when the difference between the two objects raises the generation. Called for
    /// the main resource only, and only when [`Strategy::has_generation`].
    fn raises_generation(&self, ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        !same_part(ty, &["spec"], new, old)
    }

    /// Returns the field selectors of the kind besides `metadata.name` and `metadata.namespace`, by
    /// the names that [`Strategy::selectable`] takes.
    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&[])
    }

    /// Returns the value of one of [`Strategy::fields`]; empty when it is not set.
    fn selectable(&self, _object: &Tree, _field: &str) -> String {
        String::new()
    }

    /// Returns the canonical name of a field selector that has an alias.
    fn field_alias(&self, field: &str) -> Option<&'static str> {
        let _ = field;
        None
    }

    /// Returns the message of the refusal of an unknown field selector. `None` stands for the
    /// common message, and for the common rule, which accepts `metadata.namespace` for every kind.
    fn field_refusal(&self, field: &str) -> Option<String> {
        let _ = field;
        None
    }

    /// Returns what the registry keeps beside the bytes of an object, so that readers do not parse
    /// it. Called for every write, and for the first read after a restart.
    fn facts(&self, _object: &Tree) -> Option<KindFacts> {
        None
    }

    /// Returns the paths of the scale subresource, for kinds that have one.
    fn scale_paths(&self) -> Option<ScalePaths> {
        None
    }

    /// Returns the grace period of a first delete in seconds; `requested` is the client's. `None`
    /// for kinds without a grace period, whose objects are removed at once.
    fn grace_seconds(&self, _object: &Tree, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Returns what happens to dependents when the client gives no propagation policy.
    fn default_propagation(&self) -> DefaultPropagation {
        DefaultPropagation::Background
    }

    /// Returns true when PUT creates an object that does not exist.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Returns true when PUT accepts an object without a resource version.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Returns true when a DELETE that removes the object answers with it instead of a `Status`.
    fn returns_deleted_object(&self) -> bool {
        false
    }
}

/// Returns the string at a dotted path, as most field selectors read it.
fn text_at(object: &Tree, field: &str) -> String {
    let parts: Vec<&str> = field.split('.').collect();
    text(object, &parts).to_owned()
}
