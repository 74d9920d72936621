//! Where objects were written: file and line, for those who must find them.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::Object;
use crate::cluster::documents;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// As the user named it.
    pub file: String,
    /// The first line of the document that holds the object, counted from 1.
    pub line: usize,
}

/// Places of the objects of some files; empty for a cluster.
#[derive(Clone, Debug, Default)]
pub struct Sources(HashMap<Object, Source>);

impl Sources {
    /// Learns what a file holds. What cannot be read is left out: reading the snapshot reports it.
    pub fn learn(&mut self, file: &str, text: &str) {
        for (line, document) in documents(text) {
            let Ok((json, _)) = kinds::yaml::to_json(document.as_bytes()) else {
                continue;
            };
            let value = serde_json::from_slice(&json).unwrap_or_default();
            self.learn_all(
                &value,
                &Source {
                    file: file.to_owned(),
                    line,
                },
            );
        }
    }

    fn learn_all(&mut self, value: &Value, source: &Source) {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").unwrap_or_default();
        if let (true, Some(items)) = (kind.ends_with("List"), value["items"].as_array()) {
            return items.iter().for_each(|item| self.learn_all(item, source));
        }
        let clusterwide = kind.ends_with("WebhookConfiguration");
        let namespace = if clusterwide {
            ""
        } else {
            text("/metadata/namespace").unwrap_or("default")
        };
        let name = text("/metadata/name").unwrap_or_default();
        let object = Object {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        self.0.insert(object, source.clone());
    }

    pub(super) fn of(&self, object: &Object) -> Option<Source> {
        self.0.get(object).cloned()
    }
}
