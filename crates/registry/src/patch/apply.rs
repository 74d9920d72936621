//! Server-side apply: the client sends the fields that it wants to set, and owns them. The merge is
//! in `kinds::apply`; this module parses the patch, removes the parts that the path does not write,
//! and creates the object if it does not exist.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kinds::apply::ApplySchema;
use kinds::status::Status;
use kinds::tree::Map;
use kinds::{Tree, yaml};

use crate::body::ExpectedKind;
use crate::managers::Author;
use crate::request::{DecodedObject, FieldValidation, Refusal, Reply, WriteOptions};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::update::{ObjectUpdate, Origin};
use crate::{Registry, body, convert, create, object, options, tree, update};

impl Registry {
    /// Applies an object, or the part of it that the subresource covers.
    pub(super) async fn apply(
        &self,
        target: Target,
        subresource: &str,
        bytes: Bytes,
        write: WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(&write, "PatchOptions")?;
        let DecodedObject {
            tree: mut applied,
            warnings,
        } = parse(&bytes, &target, ExpectedKind::of(&target.resource))?;
        keep_written_parts(&mut applied, &target.resource, subresource);
        let change = ObjectUpdate {
            target: &target,
            subresource,
            has_managers: true,
            write: &write,
            origin: Origin::Apply,
        };
        let is_merged = AtomicBool::new(false);
        let produce = |old: Option<&Tree>| {
            let made = produce(&applied, old, &change)?;
            // Upstream looks for keys that the patch has twice once it has been applied, so a
            // refusal before that comes without warnings.
            is_merged.store(true, Ordering::Relaxed);
            judge(&warnings, &write)?;
            Ok(made)
        };
        let changed = self.change(&change, dry_run, produce).await;
        let warned = if is_merged.load(Ordering::Relaxed) {
            warned(&warnings, &write)
        } else {
            Vec::new()
        };
        let mut changed = changed.map_err(|refusal| body::with_warnings(refusal, &warned))?;
        changed.warnings.splice(0..0, warned);
        let code = if changed.created { 201 } else { 200 };
        Ok(Reply::Object {
            code,
            json: self.present(&target, &changed.json),
            warnings: changed.warnings,
        })
    }
}

/// Returns the warnings about keys that a patch has twice, one for each.
pub(crate) fn warned(warnings: &[String], write: &WriteOptions) -> Vec<String> {
    match write.field_validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn | FieldValidation::Strict => body::line_by_line(warnings.to_vec()),
    }
}

/// Refuses keys that a patch has twice under strict validation.
pub(crate) fn judge(warnings: &[String], write: &WriteOptions) -> Result<(), Refusal> {
    match warnings.first() {
        Some(first) if write.field_validation == FieldValidation::Strict => {
            Err(Status::bad_request(format!(
                "error strict decoding patch: error converting YAML to JSON: {first}"
            ))
            .into())
        }
        _ => Ok(()),
    }
}

fn produce(
    applied: &Tree,
    old: Option<&Tree>,
    change: &ObjectUpdate<'_>,
) -> Result<DecodedObject, Refusal> {
    let target = change.target;
    let live = match old {
        Some(old) => convert::to_requested(target, old).into_owned(),
        None => Tree::Object(Map::new()),
    };
    let author = Author::new(target, change.subresource, change.write);
    let schema = target.resource.apply_schema();
    let DecodedObject {
        tree: mut made,
        warnings,
    } = on_top(
        &live,
        applied,
        schema,
        ExpectedKind::of(&target.resource),
        &author,
        change.write,
    )?;
    convert::to_stored(target, &mut made);
    Ok(DecodedObject {
        tree: made,
        warnings,
    })
}

/// Merges the applied object into the live one. The result is in the canonical form of its kind and
/// has its new managed fields. `schema` says how its fields are owned.
pub(crate) fn on_top(
    live: &Tree,
    applied: &Tree,
    schema: ApplySchema<'_>,
    expected: ExpectedKind<'_>,
    author: &Author<'_>,
    write: &WriteOptions,
) -> Result<DecodedObject, Refusal> {
    let force = write.force.unwrap_or(false);
    let mut made = kinds::apply::apply(live, applied, schema, &author.writer(), force)
        .map_err(|error| error.status())?;
    // The values have the right types already; normalizing makes their form canonical.
    let warnings = body::normalize(&mut made, expected).map_err(Status::bad_request)?;
    tree::put(&mut made, &["kind"], expected.kind);
    tree::put(
        &mut made,
        &["apiVersion"],
        body::api_version(expected.group, expected.version),
    );
    Ok(DecodedObject {
        tree: made,
        warnings,
    })
}

/// Parses an apply patch, which must be of the expected kind and name the object of the path.
pub(crate) fn parse(
    bytes: &[u8],
    target: &Target,
    expected: ExpectedKind<'_>,
) -> Result<DecodedObject, Refusal> {
    let refuse = |why: String| -> Refusal {
        Status::bad_request(format!("error decoding YAML: {why}")).into()
    };
    let decoded = yaml::decode_untyped(bytes)
        .map_err(|error| refuse(format!("error converting YAML to JSON: {error}")))?;
    let mut applied = match decoded.tree {
        Tree::Null => Tree::Object(Map::new()),
        Tree::Object(members) => Tree::Object(members),
        other => {
            let kind = if other.is_array() { "array" } else { "string" };
            let why = format!(
                "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            );
            return Err(refuse(format!(
                "error unmarshaling JSON: while decoding JSON: {why}"
            )));
        }
    };
    let (api_version, kind) = (
        tree::text(&applied, &["apiVersion"]),
        tree::text(&applied, &["kind"]),
    );
    if api_version != body::api_version(expected.group, expected.version) || kind != expected.kind {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(Status::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={kind}"
        ))
        .into());
    }
    check(target, &mut applied)?;
    Ok(DecodedObject {
        tree: applied,
        warnings: decoded.warnings,
    })
}

fn check(target: &Target, applied: &mut Tree) -> Result<(), Refusal> {
    if object::meta_text(applied, "name").is_empty() {
        object::meta(applied).insert("name", target.name.clone().into());
    }
    update::check_name(target, applied)?;
    // The namespace is not added: errors about the patch name the object as the client sent it.
    create::check_place(target, &mut applied.clone())
}

/// Removes the parts of a patch that the path does not write, so that nobody owns them through it.
fn keep_written_parts(applied: &mut Tree, resource: &ResourceRef, subresource: &str) {
    let Some(members) = applied.as_object_mut() else {
        return;
    };
    match subresource {
        "status" => {
            members.retain(|name, _| {
                matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status")
            });
            if let Some(metadata) = members.get_mut("metadata").and_then(Tree::as_object_mut) {
                metadata.retain(|name, _| is_written_with_status(resource, name));
            }
        }
        "" if resource.subresource("status").is_some() => {
            members.remove("status");
        }
        "ephemeralcontainers" => keep(members, &["ephemeralContainers"]),
        "resize" => {
            keep(members, &["containers", "initContainers"]);
            for list in ["containers", "initContainers"] {
                for container in tree::list_mut(applied, &["spec", list])
                    .iter_mut()
                    .filter_map(Tree::as_object_mut)
                {
                    container.retain(|name, _| {
                        matches!(name.as_str(), "name" | "resources" | "resizePolicy")
                    });
                }
            }
        }
        _ => {}
    }
}

/// Returns true when a write to the status of a kind also writes this part of its metadata.
fn is_written_with_status(resource: &ResourceRef, member: &str) -> bool {
    match (resource.group.as_str(), resource.plural.as_str(), member) {
        (_, _, "name" | "namespace" | "resourceVersion" | "uid" | "managedFields") => true,
        ("apps", "deployments", "labels")
        | ("", "pods", "deletionTimestamp" | "ownerReferences") => false,
        ("apiextensions.k8s.io", "customresourcedefinitions", _) => false,
        _ => !resource.is_custom(),
    }
}

/// Reduces an applied object to its name and these parts of its specification.
fn keep(members: &mut Map, parts: &[&str]) {
    members.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "spec"));
    if let Some(spec) = members.get_mut("spec").and_then(Tree::as_object_mut) {
        spec.retain(|name, _| parts.contains(&name.as_str()));
    }
}
