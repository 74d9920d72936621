//! Maps objects to their locations in files.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::ObjectRef;
use crate::cluster::documents;

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
            let value = serde_json::from_slice(&json).unwrap_or_default();
            self.add_all(
                &value,
                &SourceLocation {
                    file: file.to_owned(),
                    line,
                },
            );
        }
    }

    fn add_all(&mut self, value: &Value, source: &SourceLocation) {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").unwrap_or_default();
        if let (true, Some(items)) = (kind.ends_with("List"), value["items"].as_array()) {
            return items.iter().for_each(|item| self.add_all(item, source));
        }
        let clusterwide = kind.ends_with("WebhookConfiguration");
        let namespace = if clusterwide {
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
        self.0.insert(object, source.clone());
    }

    pub(super) fn of(&self, object: &ObjectRef) -> Option<SourceLocation> {
        self.0.get(object).cloned()
    }
}
