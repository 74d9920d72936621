//! Maps objects to their locations in files.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::ObjectRef;
use crate::cluster::{documents, is_clusterwide, items};

/// The location of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceLocation {
    /// The file name as the user passed it.
    pub file: String,
    /// The first line of the YAML document that contains the object, from 1.
    pub line: usize,
}

/// The locations of the objects of some files. Empty for a cluster.
#[derive(Clone, Debug, Default)]
pub struct SourceMap(HashMap<ObjectRef, SourceLocation>);

impl SourceMap {
    /// Adds the objects of a file. Documents that cannot be parsed are skipped, since parsing the
    /// snapshot reports them.
    pub fn add(&mut self, file: &str, text: &str) {
        for (line, document) in documents(text) {
            let Ok((json, _)) = kinds::yaml::to_json(document.as_bytes()) else {
                continue;
            };
            let value: Value = serde_json::from_slice(&json).unwrap_or_default();
            let source = SourceLocation {
                file: file.to_owned(),
                line,
            };
            for object in items(value) {
                self.add_one(&object, &source);
            }
        }
    }

    fn add_one(&mut self, value: &Value, source: &SourceLocation) {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").unwrap_or_default();
        let namespace = if is_clusterwide(kind) {
            ""
        } else {
            text("/metadata/namespace").unwrap_or("default")
        };
        let name = text("/metadata/name").unwrap_or_default();
        let object = ObjectRef {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        self.0.entry(object).or_insert_with(|| source.clone());
    }

    pub(super) fn of(&self, object: &ObjectRef) -> Option<SourceLocation> {
        self.0.get(object).cloned()
    }
}
