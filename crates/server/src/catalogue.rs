//! What is served: the rows of the resource table, found by group, version and plural.
//!
//! The table is given when the server is built; custom kinds stand beside it and come and go.
//! Everybody here asks the catalogue, nobody the table. A request for a built-in resource is found
//! in the fixed catalogue; only others, and the documents, ask the backend which custom kinds there
//! are now (`ServedApisCache::with`).

use std::collections::HashMap;

use kinds::facts::Resource;

/// What is served.
#[derive(Debug)]
pub(crate) struct Catalogue {
    rows: Vec<&'static Resource>,
    by_name: HashMap<(&'static str, &'static str, &'static str), &'static Resource>,
    versions: HashMap<&'static str, Vec<&'static str>>,
}

impl Catalogue {
    /// A catalogue of these rows.
    pub(crate) fn new(resources: &'static [Resource]) -> Self {
        Self::of(resources.iter().collect())
    }

    pub(crate) fn of(rows: Vec<&'static Resource>) -> Self {
        let mut versions: HashMap<&'static str, Vec<&'static str>> = HashMap::new();
        for resource in &rows {
            let versions = versions.entry(resource.group).or_default();
            if !versions.contains(&resource.version) {
                versions.push(resource.version);
            }
        }
        let by_name = rows
            .iter()
            .map(|row| ((row.group, row.version, row.plural), *row))
            .collect();
        Self {
            rows,
            by_name,
            versions,
        }
    }

    /// All rows, groups in discovery order.
    pub(crate) fn rows(&self) -> &[&'static Resource] {
        &self.rows
    }

    /// The row with this name.
    pub(crate) fn resource(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<&'static Resource> {
        self.by_name.get(&(group, version, plural)).copied()
    }

    /// Whether any version of this group is served.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.versions.contains_key(group)
    }

    /// Whether this version of this group is served.
    pub(crate) fn has_version(&self, group: &str, version: &str) -> bool {
        self.versions
            .get(group)
            .is_some_and(|versions| versions.contains(&version))
    }
}
