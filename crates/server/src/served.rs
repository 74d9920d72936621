//! The APIs that a server serves at one moment, with the documents that describe them.
//!
//! The built-in kinds never change. Custom kinds come and go, so a request for one of them, and
//! every request for a document, asks the backend which custom kinds exist now.

use std::sync::{Arc, Mutex, PoisonError};

use kinds::facts::Resource;
use registry::ResourceRef;

use crate::catalogue::Catalogue;
use crate::documents::DocumentCache;

/// The resources that are served at one moment, and the documents about them.
#[derive(Debug)]
pub(crate) struct ServedApis {
    custom: Vec<ResourceRef>,
    pub(crate) catalogue: Catalogue,
    pub(crate) documents: DocumentCache,
}

/// The built-in APIs, and the newest combination of them with custom kinds.
#[derive(Debug)]
pub(crate) struct ServedApisCache {
    pub(crate) built_in: Arc<ServedApis>,
    newest: Mutex<Arc<ServedApis>>,
}

impl ServedApisCache {
    /// Starts with the built-in resources alone.
    pub(crate) fn new(resources: &'static [Resource]) -> Self {
        let built_in = Arc::new(ServedApis {
            custom: Vec::new(),
            catalogue: Catalogue::new(resources),
            documents: DocumentCache::default(),
        });
        Self {
            newest: Mutex::new(built_in.clone()),
            built_in,
        }
    }

    /// Returns the newest APIs if this row of a custom kind is among them.
    pub(crate) fn newest_with(&self, row: &ResourceRef) -> Option<Arc<ServedApis>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let found = newest
            .catalogue
            .resource(&row.group, &row.version, &row.plural);
        (found == Some(row)).then(|| newest.clone())
    }

    /// Returns the APIs with these custom kinds. Makes new ones if the custom kinds have changed
    /// since the last call, so that documents are made again only then.
    pub(crate) fn with(&self, custom: Vec<ResourceRef>) -> Arc<ServedApis> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.custom != custom {
            let rows = self
                .built_in
                .catalogue
                .rows()
                .iter()
                .chain(&custom)
                .cloned()
                .collect();
            *newest = Arc::new(ServedApis {
                custom,
                catalogue: Catalogue::of(rows),
                documents: DocumentCache::default(),
            });
        }
        newest.clone()
    }
}
