//! The rows of the resource table, found by group, version and plural.
//!
//! A catalogue does not change. `served` makes a new one when the custom kinds change.

use std::collections::HashMap;

use kinds::facts::Resource;
use kinds::tree::Text;
use registry::ResourceRef;

/// The resources of one moment.
#[derive(Debug)]
pub(crate) struct Catalogue {
    rows: Vec<ResourceRef>,
    by_name: RowsByName,
}

/// Indexes of rows by group, version and plural.
type RowsByName = HashMap<Text, HashMap<Text, HashMap<Text, usize>>>;

impl Catalogue {
    /// A catalogue of built-in rows.
    pub(crate) fn new(resources: &'static [Resource]) -> Self {
        Self::of(resources.iter().map(ResourceRef::from).collect())
    }

    pub(crate) fn of(rows: Vec<ResourceRef>) -> Self {
        let mut by_name: RowsByName = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            by_name
                .entry(row.group.clone())
                .or_default()
                .entry(row.version.clone())
                .or_default()
                .insert(row.plural.clone(), index);
        }
        Self { rows, by_name }
    }

    /// Returns all rows, groups in discovery order.
    pub(crate) fn rows(&self) -> &[ResourceRef] {
        &self.rows
    }

    /// Returns the row with this name.
    pub(crate) fn resource(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<&ResourceRef> {
        let index = self.by_name.get(group)?.get(version)?.get(plural)?;
        self.rows.get(*index)
    }

    /// Returns whether any version of this group is served.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.by_name.contains_key(group)
    }

    /// Returns whether this version of this group is served.
    pub(crate) fn has_version(&self, group: &str, version: &str) -> bool {
        self.by_name
            .get(group)
            .is_some_and(|versions| versions.contains_key(version))
    }
}
