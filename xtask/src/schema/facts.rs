//! The files of `facts/`: names and numbers of one Kubernetes version.
//!
//! The order of fields in `protobuf.json` is that of the published definitions and carries
//! meaning (it is the order on the wire), so messages are read into lists, never into maps.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The contents of all files, before they are merged.
pub(crate) struct SchemaFacts {
    /// `fields.json`: definitions by OpenAPI name.
    pub(crate) definitions: BTreeMap<String, DefinitionFacts>,
    /// `protobuf.json`: messages by protobuf name.
    pub(crate) messages: BTreeMap<String, MessageFacts>,
    /// `paths.json`: operations by path and method.
    pub(crate) paths: BTreeMap<String, BTreeMap<String, OperationFacts>>,
    /// `tags.json`: Go declarations that differ from the rule, by type and field.
    pub(crate) tags: BTreeMap<String, BTreeMap<String, String>>,
    /// `resources.json`: what discovery says beyond the paths.
    pub(crate) resources: DiscoveryFacts,
}

#[derive(serde::Deserialize)]
pub(crate) struct DefinitionFacts {
    #[serde(default)]
    pub(crate) gvk: Vec<(String, String, String)>,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    pub(crate) fields: Option<BTreeMap<String, FieldFacts>>,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default, rename = "x-kubernetes-map-type")]
    pub(crate) map_type: Option<String>,
}

/// A field, or what an array or a map holds.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FieldFacts {
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) format: Option<String>,
    #[serde(default, rename = "ref")]
    pub(crate) reference: Option<String>,
    #[serde(default)]
    pub(crate) array: Option<Box<FieldFacts>>,
    #[serde(default)]
    pub(crate) map: Option<Box<FieldFacts>>,
    #[serde(default)]
    pub(crate) default: Option<Value>,
    #[serde(default)]
    pub(crate) list: Option<String>,
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    #[serde(default)]
    pub(crate) map_type: Option<String>,
    #[serde(default)]
    pub(crate) patch: Option<String>,
    #[serde(default)]
    pub(crate) merge_key: Option<String>,
}

/// Fields in the order of the definition.
pub(crate) struct MessageFacts(pub(crate) Vec<(String, ProtoField)>);

pub(crate) struct ProtoField {
    pub(crate) number: u32,
    pub(crate) kind: String,
    pub(crate) repeated: bool,
}

#[derive(serde::Deserialize)]
pub(crate) struct OperationFacts {
    pub(crate) action: Option<String>,
    pub(crate) gvk: Option<(String, String, String)>,
}

#[derive(serde::Deserialize)]
pub(crate) struct DiscoveryFacts {
    pub(crate) served: Vec<(String, Vec<String>)>,
    pub(crate) short_names: BTreeMap<String, Vec<String>>,
    pub(crate) categories: BTreeMap<String, Vec<String>>,
    pub(crate) stored_as: BTreeMap<String, (String, String)>,
    pub(crate) not_stored: Vec<String>,
    pub(crate) protobuf_only: Vec<String>,
    pub(crate) also: Vec<String>,
}

impl SchemaFacts {
    /// Reads the five files of `directory`.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Fields {
            definitions: BTreeMap<String, DefinitionFacts>,
        }
        #[derive(serde::Deserialize)]
        struct Protobuf {
            messages: BTreeMap<String, MessageFacts>,
        }
        #[derive(serde::Deserialize)]
        struct Paths {
            paths: BTreeMap<String, BTreeMap<String, OperationFacts>>,
        }
        #[derive(serde::Deserialize)]
        struct Tags {
            types: BTreeMap<String, BTreeMap<String, String>>,
        }
        Ok(Self {
            definitions: read::<Fields>(directory, "fields.json")?.definitions,
            messages: read::<Protobuf>(directory, "protobuf.json")?.messages,
            paths: read::<Paths>(directory, "paths.json")?.paths,
            tags: read::<Tags>(directory, "tags.json")?.types,
            resources: read(directory, "resources.json")?,
        })
    }
}

fn read<T: DeserializeOwned>(directory: &Path, name: &str) -> Result<T> {
    let path = directory.join(name);
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))
}

impl<'de> Deserialize<'de> for MessageFacts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = MessageFacts;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a message: field names with their numbers and types")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MessageFacts, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(MessageFacts(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl<'de> Deserialize<'de> for ProtoField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Vec::<Value>::deserialize(deserializer)?;
        let number = parts
            .first()
            .and_then(Value::as_u64)
            .and_then(|number| u32::try_from(number).ok());
        let kind = parts.get(1).and_then(Value::as_str);
        match (number, kind) {
            (Some(number), Some(kind)) => Ok(Self {
                number,
                kind: kind.to_owned(),
                repeated: parts.len() > 2,
            }),
            _ => Err(serde::de::Error::custom(
                "a protobuf field is [number, type, \"repeated\"?]",
            )),
        }
    }
}
