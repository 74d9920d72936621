//! Server-side apply: the client sends what it wants to be true of the object, and owns it. What
//! that makes of the object is `kinds::apply`'s matter; this file reads the patch, leaves out the
//! parts that the path does not write, and makes the object if it is not there.

use bytes::Bytes;
use kinds::apply::ApplySchema;
use kinds::status::Status;
use kinds::tree::Map;
use kinds::{Tree, yaml};

use crate::body::Expected;
use crate::managers::Author;
use crate::request::{Decoded, Refusal, Reply, WriteOptions};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::update::{Change, Origin};
use crate::{Registry, body, convert, create, object, options, tree, update};

impl Registry {
    /// Applies an object, or the part of it that the subresource is.
    pub(super) async fn apply(
        &self,
        target: Target,
        subresource: &str,
        bytes: Bytes,
        write: WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(&write, "PatchOptions")?;
        let Decoded {
            tree: mut applied,
            warnings,
        } = parse(&bytes, &target, Expected::of(&target.resource))?;
        keep_written_parts(&mut applied, &target.resource, subresource);
        let change = Change {
            target: &target,
            subresource,
            is_noted: true,
            write: &write,
            origin: Origin::Apply,
        };
        let produce = |old: Option<&Tree>| produce(&applied, old, &change);
        let mut changed = self.change(&change, dry_run, produce).await?;
        changed.warnings.splice(0..0, warnings);
        let code = if changed.created { 201 } else { 200 };
        Ok(Reply::Object {
            code,
            json: self.present(&target, &changed.json),
            warnings: changed.warnings,
        })
    }
}

fn produce(applied: &Tree, old: Option<&Tree>, change: &Change<'_>) -> Result<Decoded, Refusal> {
    let target = change.target;
    let live = match old {
        Some(old) => convert::to_asked(target, old).into_owned(),
        None => Tree::Object(Map::new()),
    };
    let author = Author::new(target, change.subresource, change.write);
    let schema = target.resource.apply_schema();
    let Decoded {
        tree: mut made,
        warnings,
    } = on_top(
        &live,
        applied,
        schema,
        Expected::of(&target.resource),
        &author,
        change.write,
    )?;
    convert::to_stored(target, &mut made);
    Ok(Decoded {
        tree: made,
        warnings,
    })
}

/// The applied object on top of the live one, in the form of its kind and with its new managers.
/// `schema` says how its fields are owned.
pub(crate) fn on_top(
    live: &Tree,
    applied: &Tree,
    schema: ApplySchema<'_>,
    expected: Expected<'_>,
    author: &Author<'_>,
    write: &WriteOptions,
) -> Result<Decoded, Refusal> {
    let force = write.force.unwrap_or(false);
    let mut made = kinds::apply::apply(live, applied, schema, &author.writer(), force)
        .map_err(|error| error.status())?;
    // Its values are of the right types already; this makes them canonical.
    let warnings = body::normalize(&mut made, expected).map_err(Status::bad_request)?;
    tree::put(&mut made, &["kind"], expected.kind);
    tree::put(
        &mut made,
        &["apiVersion"],
        body::api_version(expected.group, expected.version),
    );
    Ok(Decoded {
        tree: made,
        warnings,
    })
}

/// Reads an apply patch, which must be of the expected kind and about the object of the path.
pub(crate) fn parse(
    bytes: &[u8],
    target: &Target,
    expected: Expected<'_>,
) -> Result<Decoded, Refusal> {
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
    Ok(Decoded {
        tree: applied,
        warnings: decoded.warnings,
    })
}

fn check(target: &Target, applied: &mut Tree) -> Result<(), Refusal> {
    if object::meta_text(applied, "name").is_empty() {
        object::meta(applied).insert("name", target.name.clone().into());
    }
    update::check_name(target, applied)?;
    // The namespace is not filled in: errors about the patch name the object as it was sent.
    create::check_place(target, &mut applied.clone())
}

/// What a path does not write, nobody can own through it.
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

/// Whether writing the status of a kind also writes this part of its metadata.
fn is_written_with_status(resource: &ResourceRef, member: &str) -> bool {
    match (resource.group.as_str(), resource.plural.as_str(), member) {
        (_, _, "name" | "namespace" | "resourceVersion" | "uid" | "managedFields") => true,
        ("apps", "deployments", "labels")
        | ("", "pods", "deletionTimestamp" | "ownerReferences") => false,
        ("apiextensions.k8s.io", "customresourcedefinitions", _) => false,
        _ => !resource.is_custom(),
    }
}

/// Leaves nothing of an applied object but its name and these parts of its specification.
fn keep(members: &mut Map, parts: &[&str]) {
    members.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "spec"));
    if let Some(spec) = members.get_mut("spec").and_then(Tree::as_object_mut) {
        spec.retain(|name, _| parts.contains(&name.as_str()));
    }
}
