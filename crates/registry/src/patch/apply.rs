//! Server-side apply: the client sends what it wants to be true of the object, and owns it. What
//! that makes of the object is `kinds::apply`'s matter; this file reads the patch, leaves out the
//! parts that the path does not write, and makes the object if it is not there.

use bytes::Bytes;
use kinds::apply::{Writer, apply};
use kinds::facts::Resource;
use kinds::status::Status;
use kinds::tree::Map;
use kinds::{Tree, yaml};

use crate::body::Expected;
use crate::request::{Decoded, Refusal, Reply, WriteOptions};
use crate::target::Target;
use crate::update::{Change, Origin};
use crate::{Registry, body, convert, create, custom, object, options, tree, update};

impl Registry {
    /// Applies an object, or the part of it that the subresource is.
    pub(super) async fn apply(&self, target: Target, subresource: &str, bytes: Bytes, write: WriteOptions) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(&write, "PatchOptions")?;
        let Decoded { tree: mut applied, warnings } = parse(&bytes, target.resource)?;
        check(&target, &mut applied)?;
        keep_written_parts(&mut applied, target.resource, subresource);
        let change = Change { target: &target, subresource, owned_as: subresource, write: &write, origin: Origin::Apply };
        let produce = |old: Option<&Tree>| produce(&applied, old, &change);
        let mut changed = self.change(&change, dry_run, produce).await?;
        changed.warnings.splice(0..0, warnings);
        let code = if changed.created { 201 } else { 200 };
        Ok(Reply::Object { code, json: self.present(&target, &changed.json), warnings: changed.warnings })
    }
}

fn produce(applied: &Tree, old: Option<&Tree>, change: &Change<'_>) -> Result<Decoded, Refusal> {
    let target = change.target;
    let live = match old {
        Some(old) => convert::to_asked(target, old).into_owned(),
        None => Tree::Object(Map::new()),
    };
    let (api_version, now) = (target.resource.api_version(), object::wire_time(target.now));
    let manager = change.write.field_manager.as_str();
    let writer = Writer { manager, api_version: &api_version, subresource: change.owned_as, now: &now };
    let force = change.write.force.unwrap_or(false);
    let mut made = apply(&live, applied, custom::owned_type(target.resource), &writer, force).map_err(|error| error.status())?;
    // Its values are of the right types already; this makes them canonical.
    let expected = Expected::of(target.resource);
    let warnings = body::normalize(&mut made, expected).map_err(Status::bad_request)?;
    tree::put(&mut made, &["kind"], target.resource.kind);
    tree::put(&mut made, &["apiVersion"], api_version);
    convert::to_stored(target, &mut made);
    Ok(Decoded { tree: made, warnings })
}

fn parse(bytes: &[u8], resource: &Resource) -> Result<Decoded, Refusal> {
    let refuse = |why: String| -> Refusal { Status::bad_request(format!("error decoding YAML: {why}")).into() };
    let decoded = yaml::decode_untyped(bytes).map_err(|error| refuse(format!("error converting YAML to JSON: {error}")))?;
    let applied = match decoded.tree {
        Tree::Null => Tree::Object(Map::new()),
        Tree::Object(members) => Tree::Object(members),
        other => {
            let kind = if other.is_array() { "array" } else { "string" };
            let why = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
            return Err(refuse(format!("error unmarshaling JSON: while decoding JSON: {why}")));
        }
    };
    let (api_version, kind) = (tree::text(&applied, &["apiVersion"]), tree::text(&applied, &["kind"]));
    if api_version != resource.api_version() || kind != resource.kind {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")).into());
    }
    Ok(Decoded { tree: applied, warnings: decoded.warnings })
}

fn check(target: &Target, applied: &mut Tree) -> Result<(), Refusal> {
    if object::meta_text(applied, "name").is_empty() {
        object::meta(applied).insert("name".to_owned(), target.name.clone().into());
    }
    update::check_name(target, applied)?;
    // The namespace is not filled in: errors about the patch name the object as it was sent.
    create::check_place(target, &mut applied.clone())
}

/// What a path does not write, nobody can own through it.
fn keep_written_parts(applied: &mut Tree, resource: &Resource, subresource: &str) {
    let Some(members) = applied.as_object_mut() else { return };
    match subresource {
        "status" => members.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status")),
        "" if resource.subresource("status").is_some() => {
            members.remove("status");
        }
        _ => {}
    }
}
