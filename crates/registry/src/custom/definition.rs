//! The facts that the registry caches beside the bytes of a definition: its compiled form, and
//! whether its kinds are served.

use kinds::Tree;

use super::{CompiledDefinition, compile};
use crate::resource::ResourceRef;
use crate::{object, tree};

impl CompiledDefinition {
    /// Compiles a definition. Returns `None` when it has no storage version.
    pub(crate) fn of(definition: &Tree) -> Option<Self> {
        compile(
            tree::at(definition, &["spec"]),
            tree::at(definition, &["status", "acceptedNames"]),
        )
    }

    /// Returns the rows of the served versions, in the order of the definition.
    pub(crate) fn served(&self) -> impl Iterator<Item = ResourceRef> {
        self.versions
            .iter()
            .filter(|version| version.served)
            .map(|version| ResourceRef::custom_row(version, &self.stored))
    }

    /// Returns the row of the storage version.
    pub(crate) fn stored(&self) -> ResourceRef {
        ResourceRef::custom_row(&self.stored, &self.stored)
    }
}

/// The cached facts of a definition.
#[derive(Clone)]
pub(crate) struct DefinitionFacts {
    /// The compiled definition.
    compiled: CompiledDefinition,
    established: bool,
    /// True when the definition is being deleted.
    pub(crate) terminating: bool,
}

impl std::fmt::Debug for DefinitionFacts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("DefinitionFacts")
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}

impl DefinitionFacts {
    /// Reads the facts of a definition. Returns `None` when it has no storage version.
    pub(crate) fn of(tree: &Tree) -> Option<Self> {
        let established = object::condition(tree, "Established")
            .is_some_and(|found| tree::text(found, &["status"]) == "True");
        Some(Self {
            compiled: CompiledDefinition::of(tree)?,
            established,
            terminating: object::terminating(tree),
        })
    }

    /// Returns the rows of the served versions. Before the definition is established, the iterator
    /// is empty.
    pub(crate) fn rows(&self) -> impl Iterator<Item = ResourceRef> {
        let served = self.established.then(|| self.compiled.served());
        served.into_iter().flatten()
    }
}
