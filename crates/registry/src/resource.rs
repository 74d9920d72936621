//! Handles to rows of the resource table.
//!
//! Rows of built-in kinds are statics. Rows of custom kinds are made from their definitions, belong
//! to the server that made them, and are freed when the last request or cache entry that holds one
//! is done. A [`ResourceRef`] is either, and dereferences to the row.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use kinds::apply::ApplySchema;
use kinds::facts::Resource;

use crate::custom::CustomVersion;

/// A row of the resource table. Cheap to clone.
///
/// Two handles are equal when they lead to the same row in memory; the row that a changed
/// definition gives is another one. A handle keeps its row alive, so that a map may use it as a
/// key.
#[derive(Clone)]
pub struct ResourceRef(HandleRow);

#[derive(Clone)]
enum HandleRow {
    BuiltIn(&'static Resource),
    Custom {
        version: Arc<CustomVersion>,
        /// The version in whose form the objects are stored.
        stored: Arc<CustomVersion>,
    },
}

impl ResourceRef {
    pub(crate) fn custom_row(version: &Arc<CustomVersion>, stored: &Arc<CustomVersion>) -> Self {
        Self(HandleRow::Custom {
            version: Arc::clone(version),
            stored: Arc::clone(stored),
        })
    }

    /// Returns the row of a built-in kind, for example `built_in("", "v1", "pods")`.
    pub(crate) fn built_in(group: &str, version: &str, plural: &str) -> Option<Self> {
        kinds::resource(group, version, plural).map(Self::from)
    }

    /// Returns what the definition of a custom kind says about this version; `None` for built-in
    /// kinds.
    #[must_use]
    pub fn custom(&self) -> Option<&Arc<CustomVersion>> {
        match &self.0 {
            HandleRow::BuiltIn(_) => None,
            HandleRow::Custom { version, .. } => Some(version),
        }
    }

    /// Returns true for rows that were made from a definition.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        matches!(self.0, HandleRow::Custom { .. })
    }

    /// Returns the row in whose form the objects are stored; mostly this one.
    pub(crate) fn stored(&self) -> Self {
        match &self.0 {
            HandleRow::Custom { stored, .. } => Self::custom_row(stored, stored),
            HandleRow::BuiltIn(_) if self.is_stored() => self.clone(),
            HandleRow::BuiltIn(row) => {
                kinds::resource(&row.storage_group, &row.storage_version, &row.plural)
                    .map_or_else(|| self.clone(), Self::from)
            }
        }
    }

    /// Returns true when objects are stored in the form of this very version.
    pub(crate) fn is_stored(&self) -> bool {
        self.group == self.storage_group && self.version == self.storage_version
    }

    /// Returns the schema by which fields are owned under apply.
    pub(crate) fn apply_schema(&self) -> ApplySchema<'_> {
        match &self.0 {
            HandleRow::BuiltIn(row) => ApplySchema::BuiltIn(row.ty),
            HandleRow::Custom { version, .. } => ApplySchema::Custom(&version.apply),
        }
    }
}

impl From<&'static Resource> for ResourceRef {
    fn from(row: &'static Resource) -> Self {
        Self(HandleRow::BuiltIn(row))
    }
}

impl Deref for ResourceRef {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        match &self.0 {
            HandleRow::BuiltIn(row) => row,
            HandleRow::Custom { version, .. } => &version.resource,
        }
    }
}

impl PartialEq for ResourceRef {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq::<Resource>(&**self, &**other)
    }
}

impl Eq for ResourceRef {}

impl Hash for ResourceRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref::<Resource>(self).addr().hash(state);
    }
}

impl std::fmt::Debug for ResourceRef {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}/{}", self.plural, self.group, self.version)
    }
}
