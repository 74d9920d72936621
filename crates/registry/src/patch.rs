//! PATCH in its four languages. The patch is parsed before the commit and applied inside it to the
//! present object, so that it conflicts only when it names a resource version itself.

pub(crate) mod apply;

use bytes::Bytes;
use kinds::patch::PatchError;
use kinds::status::{Details, FieldError, GroupResource, Status};
use kinds::{Tree, json, patch};

use crate::body::{self, ExpectedKind};
use crate::request::{DecodedObject, PatchKind, Refusal, Reply, WriteOptions};
use crate::target::Target;
use crate::update::{self, ObjectUpdate, Origin};
use crate::{Registry, convert, create, options, tree};

/// A parsed patch.
#[derive(Debug)]
pub(crate) struct Patch {
    kind: PatchKind,
    tree: Tree,
    warnings: Vec<String>,
}

impl Patch {
    /// Parses a patch, except one of apply (see [`apply::parse`]), and checks the options that only
    /// some languages have.
    pub(crate) fn parse(
        kind: PatchKind,
        bytes: &Bytes,
        write: &WriteOptions,
    ) -> Result<Self, Refusal> {
        check_options(kind, write)?;
        let json::DecodedTree { tree, mut warnings } =
            patch::decode(bytes).map_err(|error| refusal(&error))?;
        if kind == PatchKind::Json {
            warnings.extend(patch::unknown_members(&tree));
            warnings = warnings
                .into_iter()
                .map(|warning| format!("json patch {warning}"))
                .collect();
        }
        Ok(Self {
            kind,
            tree,
            warnings,
        })
    }
}

/// Refuses options that this patch language does not have, and missing ones that it requires.
pub(crate) fn check_options(kind: PatchKind, write: &WriteOptions) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    if kind == PatchKind::Apply && write.field_manager.is_empty() {
        faults.push(FieldError::required(
            "fieldManager",
            "is required for apply patch",
        ));
    }
    if kind != PatchKind::Apply && write.force.is_some() {
        faults.push(FieldError::forbidden(
            "force",
            "may not be specified for non-apply patch",
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(options::invalid("PatchOptions", &faults))
    }
}

impl Registry {
    /// Patches an object, or the part of it that the subresource covers.
    pub(crate) async fn patch(
        &self,
        target: Target,
        subresource: &str,
        kind: PatchKind,
        bytes: Bytes,
        write: WriteOptions,
    ) -> Result<Reply, Refusal> {
        if kind == PatchKind::Apply {
            check_options(kind, &write)?;
            return self.apply(target, subresource, bytes, write).await;
        }
        if kind == PatchKind::Strategic && target.resource.is_custom() {
            return Err(body::no_strategic_patch());
        }
        let dry_run = options::dry_run(&write, "PatchOptions")?;
        let patch = Patch::parse(kind, &bytes, &write)?;
        let change = ObjectUpdate {
            target: &target,
            subresource,
            has_managers: false,
            write: &write,
            origin: Origin::Patch,
        };
        let produce = |old: Option<&Tree>| produce(&patch, old, &target, &write);
        let changed = self.change(&change, dry_run, produce).await?;
        let code = if changed.created { 201 } else { 200 };
        Ok(Reply::Object {
            code,
            json: self.present(&target, &changed.json),
            warnings: changed.warnings,
        })
    }
}

fn produce(
    patch: &Patch,
    old: Option<&Tree>,
    target: &Target,
    write: &WriteOptions,
) -> Result<DecodedObject, Refusal> {
    let old = old.ok_or_else(|| target.not_found())?;
    let shown = convert::to_requested(target, old);
    let mut patched = apply_to(patch, &shown, ExpectedKind::of(&target.resource), write)?;
    update::check_name(target, &patched.tree)?;
    create::check_place(target, &mut patched.tree)?;
    convert::to_stored(target, &mut patched.tree);
    Ok(patched)
}

/// Applies a patch to an object, and checks the result against the object's type.
pub(crate) fn apply_to(
    patch: &Patch,
    old: &Tree,
    expected: ExpectedKind<'_>,
    write: &WriteOptions,
) -> Result<DecodedObject, Refusal> {
    let patched = match patch.kind {
        PatchKind::Json => patch::json(old.clone(), patch.tree.clone()),
        PatchKind::Merge => patch::merge(old.clone(), patch.tree.clone()),
        PatchKind::Strategic | PatchKind::Apply => {
            patch::strategic(old.clone(), patch.tree.clone(), expected.ty)
        }
    };
    let patched = patched.map_err(|error| refusal(&error))?;
    let refuse = |why: String| match patch.kind {
        PatchKind::Strategic => invalid(&patch::render_go(&patch.tree), &why),
        _ => invalid(&shown(&patched), &why),
    };
    check_type(&patched, expected).map_err(refuse)?;
    let decoded = checked(&patched, old, expected).map_err(refuse)?;
    let mut tree = decoded.tree;
    tree::put(&mut tree, &["kind"], expected.kind);
    tree::put(
        &mut tree,
        &["apiVersion"],
        body::api_version(expected.group, expected.version),
    );
    let warnings = patch
        .warnings
        .iter()
        .cloned()
        .chain(decoded.warnings)
        .collect();
    body::judge(
        DecodedObject { tree, warnings },
        write.field_validation,
        |list| refuse(format!("strict decoding error: {list}")),
    )
}

/// Returns a patched object in the canonical form of its kind, as the decoder of a body does.
fn checked(
    patched: &Tree,
    old: &Tree,
    expected: ExpectedKind<'_>,
) -> Result<json::DecodedTree, String> {
    if expected.custom.is_some() {
        return body::decode_json(&json::encode_untyped(patched), expected);
    }
    let mut tree = patched.clone();
    let warnings =
        json::normalize_changes(&mut tree, old, expected.ty).map_err(|error| error.to_string())?;
    Ok(json::DecodedTree { tree, warnings })
}

/// Checks that a patch has not changed the kind. An absent kind counts as unchanged.
fn check_type(patched: &Tree, expected: ExpectedKind<'_>) -> Result<(), String> {
    let (api_version, kind) = (
        tree::text(patched, &["apiVersion"]),
        tree::text(patched, &["kind"]),
    );
    let api_version = if api_version.is_empty() {
        body::api_version(expected.group, expected.version)
    } else {
        api_version.to_owned()
    };
    let kind = if kind.is_empty() { expected.kind } else { kind };
    body::check_type(&api_version, kind, expected)
}

/// Returns the 422 for a patch whose result the type does not allow. As upstream's, it names
/// neither kind nor object.
fn invalid(shown: &str, why: &str) -> Refusal {
    let fault = FieldError::invalid("patch", &Tree::from(shown), why);
    Status::invalid(
        GroupResource {
            group: "",
            resource: "",
        },
        "",
        &[fault],
    )
    .into()
}

/// Renders an object as upstream's refusal does: members sorted, those of the metadata in the order
/// of its type.
fn shown(patched: &Tree) -> String {
    let meta = kinds::type_named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let member = |(name, value): (&str, &Tree)| {
        let bytes = match meta.filter(|_| name == "metadata" && value.is_object()) {
            Some(ty) => json::encode(value, ty),
            None => json::encode_untyped(value),
        };
        format!("{}:{}", Tree::from(name), String::from_utf8_lossy(&bytes))
    };
    let members: Vec<String> = tree::entries(patched, &[])
        .into_iter()
        .map(member)
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Returns the answer of the API to a patch error.
pub(crate) fn refusal(error: &PatchError) -> Refusal {
    let text = error.to_string();
    match error {
        PatchError::BadRequest(_) => Status::bad_request(text).into(),
        PatchError::TooManyOperations(_) => {
            Status::failure(413, "RequestEntityTooLarge", text, None).into()
        }
        PatchError::Rejected(why) => {
            tracing::debug!(%why, "patch rejected");
            Status::failure(422, "Invalid", text, Some(Details::default())).into()
        }
        PatchError::Untyped(_) => Status::untyped(text).into(),
    }
}
