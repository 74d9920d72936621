//! Custom resources: what a CustomResourceDefinition says, made into rows of the resource table, so
//! that the machinery serves them as it serves built-in kinds.
//!
//! A definition is compiled when its record is written, or the first time somebody asks for it, and
//! lies beside the record's bytes (`record`): whoever finds the definition finds the rows,
//! and nothing has to be told when it changes. Bodies are read without a type; `schema` prunes,
//! defaults and validates them.
//!
//! Rows live as long as the process, because everything holds them by `&'static`. They are interned
//! by content, so that identical definitions share one compilation: what is leaked is bounded by
//! the distinct specifications (and accepted names) of definitions that were stored while it ran.
//! Schemas are limited by the size of a request body.
//!
//! Validation rules in CEL (`x-kubernetes-validations`) are stored and not evaluated.

mod columns;
pub(crate) mod definition;
mod prune;
mod schema;
mod strategy;
mod types;
mod validate;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use kinds::Tree;
use kinds::facts::{Resource, Subresource, Type};

pub(crate) use columns::is_path;
pub use columns::{Column, cell};
pub(crate) use prune::{default, prune};
pub(crate) use schema::Schema;
pub(crate) use validate::validate;

use crate::strategy::ScalePaths;
use crate::tree;

/// A compiled definition: one row for each version, served or not.
pub(crate) struct Custom {
    pub(crate) versions: Vec<Version>,
    storage: usize,
}

/// One version of a custom kind.
pub struct Version {
    /// Its row of the resource table.
    pub(crate) resource: Resource,
    /// Whether it is served; the storage version need not be.
    pub(crate) served: bool,
    /// How its objects are pruned, defaulted and validated.
    pub(crate) schema: Schema,
    /// How its fields are owned under apply; none: member by member.
    pub(crate) owned: Option<&'static Type>,
    /// Where its scale subresource finds its figures.
    pub(crate) scale: Option<ScalePaths>,
    /// Field selectors, without the leading dot of their paths.
    pub(crate) fields: &'static [&'static str],
    /// What clients of a version on its way out are told.
    deprecation: Option<String>,
    columns: Vec<Column>,
    published: Tree,
}

impl std::fmt::Debug for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{}.{}/{}",
            self.resource.plural, self.resource.group, self.resource.version
        )
    }
}

impl Version {
    /// The schema as OpenAPI shows it (version 3), `metadata` excepted.
    #[must_use]
    pub fn schema(&self) -> &Tree {
        &self.published
    }

    /// The columns of its tables after the name.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// What clients of a version on its way out are told.
    #[must_use]
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }
}

/// Where rows lead back to what they were made from: the address of a row, its definition and its
/// version.
type Rows = HashMap<usize, (&'static Custom, usize)>;
static ROWS: RwLock<Option<Rows>> = RwLock::new(None);
static COMPILED: OnceLock<Mutex<HashMap<String, &'static Custom>>> = OnceLock::new();

fn address(resource: &'static Resource) -> usize {
    std::ptr::from_ref(resource).addr()
}

fn found(resource: &'static Resource) -> Option<(&'static Custom, usize)> {
    // Built-in rows lie in one slice, so that nearly all requests end here.
    if kinds::resources()
        .as_ptr_range()
        .contains(&std::ptr::from_ref(resource))
    {
        return None;
    }
    ROWS.read()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()?
        .get(&address(resource))
        .copied()
}

/// What is known of a row that belongs to a custom kind; none for built-in ones.
#[must_use]
pub fn of(resource: &'static Resource) -> Option<&'static Version> {
    found(resource).map(|(custom, index)| &custom.versions[index])
}

/// The row in whose form the objects of a custom kind are kept; none for built-in ones.
pub(crate) fn stored(resource: &'static Resource) -> Option<&'static Resource> {
    found(resource).map(|(custom, _)| &custom.versions[custom.storage].resource)
}

/// The type by which fields are owned under apply.
pub(crate) fn owned_type(resource: &'static Resource) -> Option<&'static Type> {
    of(resource).map_or(Some(resource.ty), |version| version.owned)
}

/// The compiled form of a definition; none when it has no storage version.
pub(crate) fn compiled(definition: &Tree) -> Option<&'static Custom> {
    let (spec, names) = (
        tree::at(definition, &["spec"]),
        tree::at(definition, &["status", "acceptedNames"]),
    );
    let content = format!("{spec}{names}");
    let known = COMPILED.get_or_init(Mutex::default);
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(custom) = known.get(&content) {
        return Some(custom);
    }
    let custom: &'static Custom = Box::leak(Box::new(compile(spec, names)?));
    known.insert(content, custom);
    let mut rows = ROWS.write().unwrap_or_else(PoisonError::into_inner);
    let rows = rows.get_or_insert_default();
    rows.extend(
        custom
            .versions
            .iter()
            .enumerate()
            .map(|(index, version)| (address(&version.resource), (custom, index))),
    );
    Some(custom)
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn leak_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> &'static [&'static str] {
    Box::leak(texts.into_iter().map(leak).collect())
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

fn compile(spec: &Tree, names: &Tree) -> Option<Custom> {
    let listed = tree::list(spec, &["versions"]);
    let storage = listed
        .iter()
        .position(|version| tree::flag(version, &["storage"]))?;
    let storage_version = leak(tree::text(&listed[storage], &["name"]));
    let group = leak(tree::text(spec, &["group"]));
    let name = |member: &str| {
        let accepted = tree::text(names, &[member]);
        leak(if accepted.is_empty() {
            tree::text(spec, &["names", member])
        } else {
            accepted
        })
    };
    let (kind, plural, singular) = (name("kind"), name("plural"), name("singular"));
    let short_names = leak_all(texts(names, &["shortNames"]));
    let categories = leak_all(texts(names, &["categories"]));
    let versions = listed.iter().map(|version| {
        let name = leak(tree::text(version, &["name"]));
        let raw = tree::at(version, &["schema", "openAPIV3Schema"]);
        let schema = Schema::parse(raw);
        let type_name = leak(&type_name(group, name, kind));
        let ty = types::codec(type_name);
        let resource = Resource {
            group,
            version: name,
            kind,
            plural,
            singular,
            short_names,
            categories,
            namespaced: tree::text(spec, &["scope"]) == "Namespaced",
            verbs: VERBS,
            subresources: subresources(version, group, name, kind, ty),
            ty,
            stored: true,
            storage_group: group,
            storage_version,
        };
        Version {
            resource,
            served: tree::flag(version, &["served"]),
            owned: types::owned(&schema, type_name),
            scale: scale_paths(version),
            fields: leak_all(
                tree::list(version, &["selectableFields"])
                    .iter()
                    .map(|field| trimmed(tree::text(field, &["jsonPath"]))),
            ),
            deprecation: deprecation(version, group, kind),
            columns: columns::of(version),
            published: raw.clone(),
            schema,
        }
    });
    Some(Custom {
        versions: versions.collect(),
        storage,
    })
}

/// `com.example.v1.Crate`: the group's parts are turned round, as published names are.
fn type_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').rev().collect();
    parts.extend([version, kind]);
    parts.join(".")
}

fn trimmed(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}

fn subresources(
    version: &Tree,
    group: &'static str,
    name: &'static str,
    kind: &'static str,
    ty: &'static Type,
) -> &'static [Subresource] {
    let mut found = Vec::new();
    if !tree::at(version, &["subresources", "scale"]).is_null()
        && let Some(scale) = kinds::type_named("io.k8s.api.autoscaling.v1.Scale")
    {
        found.push(Subresource {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            verbs: PART_VERBS,
            ty: scale,
        });
    }
    if !tree::at(version, &["subresources", "status"]).is_null() {
        found.push(Subresource {
            name: "status",
            group,
            version: name,
            kind,
            verbs: PART_VERBS,
            ty,
        });
    }
    Box::leak(found.into_boxed_slice())
}

fn scale_paths(version: &Tree) -> Option<ScalePaths> {
    let scale = tree::at(version, &["subresources", "scale"]).as_object()?;
    let path = |member: &str| {
        let text = scale.get(member).and_then(Tree::as_str).unwrap_or_default();
        leak_all(trimmed(text).split('.').filter(|part| !part.is_empty()))
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath"),
        status_replicas: path("statusReplicasPath"),
        selector: path("labelSelectorPath"),
        selector_is_map: false,
    })
}

fn deprecation(version: &Tree, group: &str, kind: &str) -> Option<String> {
    let name = tree::text(version, &["name"]);
    let given = tree::text(version, &["deprecationWarning"]);
    tree::flag(version, &["deprecated"]).then(|| {
        if given.is_empty() {
            format!("{group}/{name} {kind} is deprecated")
        } else {
            given.to_owned()
        }
    })
}
