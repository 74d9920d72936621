//! The merged facts: types with their fields in wire order, and the served resources.
//!
//! It contains what a server with the default configuration serves, and the types reachable from
//! there.

mod resources;
mod types;

use anyhow::Result;

use super::facts::SchemaFacts;

pub(crate) struct Model {
    /// Sorted by name.
    pub(crate) types: Vec<TypeModel>,
    /// In discovery order.
    pub(crate) resources: Vec<ResourceModel>,
    /// Groups in discovery order with their versions by preference.
    pub(crate) groups: Vec<(String, Vec<String>)>,
}

pub(crate) struct TypeModel {
    pub(crate) name: String,
    pub(crate) fields: Vec<FieldModel>,
    pub(crate) atomic: bool,
}

pub(crate) struct FieldModel {
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) within: Vec<u32>,
    pub(crate) shape: ShapeModel,
    pub(crate) required: bool,
    pub(crate) always: bool,
    pub(crate) optional: bool,
    pub(crate) list: Option<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) atomic: bool,
    pub(crate) patch: Vec<String>,
    pub(crate) merge_key: String,
    pub(crate) default: String,
}

pub(crate) enum ShapeModel {
    /// A shape without parts, by the name of its variant.
    Plain(&'static str),
    /// A variant of `Shape` that holds a type, and the type's name.
    Of(&'static str, String),
    List(Box<ShapeModel>),
    Map(Box<ShapeModel>),
}

pub(crate) struct ResourceModel {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    pub(crate) subresources: Vec<SubresourceModel>,
    pub(crate) type_name: String,
    pub(crate) stored: bool,
    pub(crate) storage: (String, String),
}

pub(crate) struct SubresourceModel {
    pub(crate) name: String,
    pub(crate) gvk: (String, String, String),
    pub(crate) verbs: Vec<String>,
    pub(crate) type_name: String,
}

impl Model {
    pub(crate) fn build(facts: &SchemaFacts) -> Result<Self> {
        let resources = resources::build(facts)?;
        let mut roots: Vec<String> = Vec::new();
        for resource in &resources {
            roots.push(resource.type_name.clone());
            let list = format!("{}List", resource.type_name);
            if facts.definitions.contains_key(&list) {
                roots.push(list);
            }
            roots.extend(
                resource
                    .subresources
                    .iter()
                    .map(|sub| sub.type_name.clone()),
            );
        }
        roots.extend(facts.resources.also.iter().cloned());
        roots.extend(facts.resources.protobuf_only.iter().cloned());
        Ok(Self {
            types: types::build(facts, roots)?,
            resources,
            groups: facts.resources.served.clone(),
        })
    }
}
