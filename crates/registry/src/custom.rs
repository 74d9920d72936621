//! Custom resources. Each CustomResourceDefinition is compiled into rows of the resource table, and
//! the registry serves these rows like those of built-in kinds.
//!
//! A definition is compiled when its rows are first asked for, and the registry keeps the result
//! for as long as the definition stays as it is (`definition.rs`). Rows are shared handles
//! ([`ResourceRef`](crate::ResourceRef)); they are freed with the last request and cache entry that
//! holds them. Bodies are read without a type; `schema` prunes, defaults and validates them.
//!
//! Validation rules in CEL (`x-kubernetes-validations`) are stored but not evaluated.

mod replicas;
mod strategy;
mod types;

use std::borrow::Cow;
use std::sync::Arc;

use kinds::CUSTOM_OBJECT;
use kinds::Tree;
use kinds::apply::CustomType;
use kinds::facts::{Resource, Subresource};
use kinds::tree::Text;

pub use crate::schema::{Column, cell};

use crate::schema::{self, Schema};
use crate::strategy::{FieldPath, ScalePaths};
use crate::tree;

/// A compiled definition with one row for each version, served or not. It is cheap to clone.
#[derive(Clone)]
pub(crate) struct CompiledDefinition {
    versions: Arc<[Arc<CustomVersion>]>,
    stored: Arc<CustomVersion>,
}

/// One version of a custom kind.
pub struct CustomVersion {
    /// The row of the resource table.
    pub(crate) resource: Resource,
    /// The name in published schemas, for example `com.example.v1.Crate`.
    type_name: String,
    /// True when the version is served; the storage version may be unserved.
    pub(crate) served: bool,
    /// The schema by which objects are pruned, defaulted and validated.
    pub(crate) schema: Schema,
    /// The type for server-side apply.
    pub(crate) apply: CustomType,
    /// Paths of the replica counts and the selector, if the scale subresource is enabled.
    pub(crate) scale: Option<ScalePaths>,
    /// True when the schema has rules in CEL somewhere.
    pub(crate) has_rules: bool,
    /// Paths of the selectable fields, without the leading dot.
    pub(crate) fields: Vec<Text>,
    /// The warning that clients of a deprecated version get.
    deprecation: Option<String>,
    columns: Vec<Column>,
    published: Tree,
}

impl std::fmt::Debug for CustomVersion {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{}.{}/{}",
            self.resource.plural, self.resource.group, self.resource.version
        )
    }
}

impl CustomVersion {
    /// Returns the name in published schemas, for example `com.example.v1.Crate`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Returns the `openAPIV3Schema` of the definition, unchanged.
    #[must_use]
    pub fn schema(&self) -> &Tree {
        &self.published
    }

    /// Returns the columns of its tables, without the name column.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the paths of its selectable fields, without the leading dot.
    pub fn selectable_fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(Text::as_str)
    }

    /// Returns the warning for clients if the version is deprecated.
    #[must_use]
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }
}

fn texts<'a>(tree: &'a Tree, path: &[&str]) -> impl Iterator<Item = &'a str> {
    tree::list(tree, path).iter().filter_map(Tree::as_str)
}

const VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];
const PART_VERBS: &[&str] = &["get", "patch", "update"];

impl CompiledDefinition {
    /// Compiles a definition; `None` when it has no storage version.
    pub(crate) fn of(definition: &Tree) -> Option<Self> {
        compile(
            tree::at(definition, &["spec"]),
            tree::at(definition, &["status", "acceptedNames"]),
        )
    }

    /// Returns the versions that are served, in the order of the definition.
    pub(crate) fn served(&self) -> impl Iterator<Item = &Arc<CustomVersion>> {
        self.versions.iter().filter(|version| version.served)
    }

    /// Returns the version in whose form the objects are stored.
    pub(crate) fn stored(&self) -> &Arc<CustomVersion> {
        &self.stored
    }
}

fn compile(spec: &Tree, names: &Tree) -> Option<CompiledDefinition> {
    let listed = tree::list(spec, &["versions"]);
    let storage = listed
        .iter()
        .position(|version| tree::flag(version, &["storage"]))?;
    let group = Text::from(tree::text(spec, &["group"]));
    let name = |member: &str| {
        let accepted = tree::text(names, &[member]);
        Text::from(if accepted.is_empty() {
            tree::text(spec, &["names", member])
        } else {
            accepted
        })
    };
    let row = Resource {
        version: Text::default(),
        kind: name("kind"),
        plural: name("plural"),
        singular: name("singular"),
        short_names: texts(names, &["shortNames"]).map(Text::from).collect(),
        categories: texts(names, &["categories"]).map(Text::from).collect(),
        namespaced: tree::text(spec, &["scope"]) == "Namespaced",
        verbs: VERBS,
        subresources: Cow::Borrowed(&[]),
        ty: &CUSTOM_OBJECT,
        stored: true,
        storage_group: group.clone(),
        storage_version: tree::text(&listed[storage], &["name"]).into(),
        group,
    };
    let versions: Arc<[Arc<CustomVersion>]> = listed
        .iter()
        .map(|version| Arc::new(compile_version(version, &row)))
        .collect();
    let stored = Arc::clone(&versions[storage]);
    Some(CompiledDefinition { versions, stored })
}

/// Compiles one version; `row` holds the values that all versions share.
fn compile_version(version: &Tree, row: &Resource) -> CustomVersion {
    let raw = tree::at(version, &["schema", "openAPIV3Schema"]);
    let schema = Schema::parse(raw);
    let mut resource = Resource {
        version: tree::text(version, &["name"]).into(),
        ..row.clone()
    };
    resource.subresources = subresources(version, &resource);
    let selectable = tree::list(version, &["selectableFields"]).iter();
    CustomVersion {
        type_name: type_name(&resource),
        served: tree::flag(version, &["served"]),
        apply: types::owned(&schema),
        scale: scale_paths(version),
        has_rules: has_rules(raw),
        fields: selectable
            .map(|field| trimmed(tree::text(field, &["jsonPath"])).into())
            .collect(),
        deprecation: deprecation(version, &resource),
        columns: schema::columns(version),
        published: raw.clone(),
        schema,
        resource,
    }
}

/// Returns true when a schema, or one of those below it, has rules in CEL.
fn has_rules(schema: &Tree) -> bool {
    if !schema.is_object() {
        return false;
    }
    !tree::list(schema, &["x-kubernetes-validations"]).is_empty()
        || tree::entries(schema, &["properties"])
            .into_iter()
            .any(|(_, inner)| has_rules(inner))
        || ["items", "additionalProperties"]
            .into_iter()
            .any(|member| has_rules(tree::at(schema, &[member])))
}

/// Returns the name in published schemas, with the parts of the group in reverse order:
/// `com.example.v1.Crate`.
fn type_name(row: &Resource) -> String {
    let mut parts: Vec<&str> = row.group.split('.').rev().collect();
    parts.extend([row.version.as_str(), row.kind.as_str()]);
    parts.join(".")
}

fn trimmed(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}

fn subresources(version: &Tree, row: &Resource) -> Cow<'static, [Subresource]> {
    let mut found = Vec::new();
    if !tree::at(version, &["subresources", "scale"]).is_null()
        && let Some(scale) = kinds::type_named("io.k8s.api.autoscaling.v1.Scale")
    {
        found.push(Subresource {
            name: "scale",
            group: Text::new_static("autoscaling"),
            version: Text::new_static("v1"),
            kind: Text::new_static("Scale"),
            verbs: PART_VERBS,
            ty: scale,
        });
    }
    if !tree::at(version, &["subresources", "status"]).is_null() {
        found.push(Subresource {
            name: "status",
            group: row.group.clone(),
            version: row.version.clone(),
            kind: row.kind.clone(),
            verbs: PART_VERBS,
            ty: row.ty,
        });
    }
    found.into()
}

fn scale_paths(version: &Tree) -> Option<ScalePaths> {
    let scale = tree::at(version, &["subresources", "scale"]).as_object()?;
    let path = |member: &str| {
        let path = scale.get(member).and_then(Tree::as_str).unwrap_or_default();
        let names = trimmed(path).split('.').filter(|name| !name.is_empty());
        FieldPath::Custom(names.map(Text::from).collect())
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath"),
        status_replicas: path("statusReplicasPath"),
        selector: path("labelSelectorPath"),
        selector_is_map: false,
    })
}

fn deprecation(version: &Tree, row: &Resource) -> Option<String> {
    let given = tree::text(version, &["deprecationWarning"]);
    tree::flag(version, &["deprecated"]).then(|| {
        if given.is_empty() {
            format!("{}/{} {} is deprecated", row.group, row.version, row.kind)
        } else {
            given.to_owned()
        }
    })
}
