//! ControllerRevisions: numbered copies of a pod template, for controllers that update pods in
//! place of each other.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::context::ControllerContext;
use crate::error::{ReconcileError, code, ignore_not_found};
use crate::meta::{controlled_by, controller_of, uid};

/// The characters of generated names. Without vowels a hash cannot spell a word.
const SUFFIX_CHARACTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The API server's default of `spec.revisionHistoryLimit`.
const DEFAULT_HISTORY_LIMIT: i32 = 10;

/// A template as revisions hold it: a patch that replaces the whole template.
pub(crate) fn data_of(template: &PodTemplateSpec) -> Value {
    // Through a string, because the serializer for trees would compile all types of a pod once
    // more.
    let mut template: Value = serde_json::to_string(template)
        .and_then(|text| serde_json::from_str(&text))
        .unwrap_or_default();
    if let Some(members) = template.as_object_mut() {
        members.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// The template in a revision.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision
        .data
        .as_ref()?
        .0
        .get("spec")?
        .get("template")?
        .clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_str(&template.to_string()).ok()
}

/// The FNV-1a hash of the template, as characters of generated names.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let mut text = serde_json::to_vec(template).unwrap_or_default();
    if collisions > 0 {
        text.extend_from_slice(&collisions.to_le_bytes());
    }
    let sum = text.iter().fold(0x811c_9dc5_u32, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    sum.to_string()
        .bytes()
        .map(|digit| char::from(SUFFIX_CHARACTERS[usize::from(digit) % SUFFIX_CHARACTERS.len()]))
        .collect()
}

/// What to do so that the newest revision holds the present template.
#[derive(Debug, PartialEq)]
pub(crate) enum RevisionAction {
    /// Nothing: the newest revision holds it.
    Newest(Arc<ControllerRevision>),
    /// Give an older revision that holds it the newest number.
    Renumber(Arc<ControllerRevision>, i64),
    /// Create a revision with this number.
    Create(i64),
}

/// Decides. `known` are the owner's revisions.
pub(crate) fn step(
    known: &[Arc<ControllerRevision>],
    template: &PodTemplateSpec,
) -> RevisionAction {
    let newest = known
        .iter()
        .map(|revision| revision.revision)
        .max()
        .unwrap_or_default();
    let equal = known
        .iter()
        .filter(|revision| template_of(revision).as_ref() == Some(template))
        .max_by_key(|revision| revision.revision);
    match equal {
        Some(revision) if revision.revision == newest => {
            RevisionAction::Newest(Arc::clone(revision))
        }
        Some(revision) => RevisionAction::Renumber(Arc::clone(revision), newest + 1),
        None => RevisionAction::Create(newest + 1),
    }
}

/// Makes sure that the newest revision holds this template. Returns that revision. `hash_label` is
/// the label in which a revision holds its hash.
pub(crate) async fn sync<O>(
    context: &ControllerContext,
    owner: &O,
    known: &[Arc<ControllerRevision>],
    template: &PodTemplateSpec,
    hash_label: &str,
) -> Result<Arc<ControllerRevision>, ReconcileError>
where
    O: Resource<Scope = NamespaceResourceScope>,
    O::DynamicType: Default,
{
    let meta = owner.meta();
    let api =
        context.namespaced::<ControllerRevision>(meta.namespace.as_deref().unwrap_or_default());
    let owner_name = meta.name.as_deref().unwrap_or_default();
    match step(known, template) {
        RevisionAction::Newest(revision) => Ok(revision),
        RevisionAction::Renumber(revision, number) => {
            let patch = json!({"metadata": {"resourceVersion": revision.metadata.resource_version},
                "revision": number});
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            Ok(Arc::new(
                api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await?,
            ))
        }
        RevisionAction::Create(number) => {
            // A name that another template has taken is avoided by counting collisions up.
            for collisions in 0..10 {
                let hash = hash(template, collisions);
                let name = format!("{owner_name}-{hash}");
                let mut labels = template
                    .metadata
                    .as_ref()
                    .and_then(|meta| meta.labels.clone())
                    .unwrap_or_default();
                labels.insert(hash_label.to_owned(), hash);
                let revision = ControllerRevision {
                    metadata: ObjectMeta {
                        name: Some(name.clone()),
                        namespace: meta.namespace.clone(),
                        labels: Some(labels),
                        // `kubectl rollout history` shows the cause of a change from here.
                        annotations: meta.annotations.clone(),
                        owner_references: Some(vec![controlled_by(owner)]),
                        ..ObjectMeta::default()
                    },
                    data: Some(RawExtension(data_of(template))),
                    revision: number,
                };
                match api.create(&PostParams::default(), &revision).await {
                    Ok(created) => return Ok(Arc::new(created)),
                    Err(error) if code(&error) == 409 => {
                        let there = ignore_not_found(api.get(&name).await)?;
                        let ours = there.filter(|there| {
                            controller_of(&there.metadata)
                                .is_some_and(|known| known.uid == uid(meta))
                                && template_of(there).as_ref() == Some(template)
                        });
                        if let Some(ours) = ours {
                            return Ok(Arc::new(ours));
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Err(ReconcileError::Plan(format!(
                "cannot name a revision of {owner_name}: too many hash collisions"
            )))
        }
    }
}

/// Deletes the oldest revisions beyond the limit that are not in use. `limit` is the owner's
/// `spec.revisionHistoryLimit`.
pub(crate) async fn trim(
    context: &ControllerContext,
    namespace: &str,
    known: &[Arc<ControllerRevision>],
    in_use: impl Fn(&ControllerRevision) -> bool,
    limit: Option<i32>,
) -> Result<(), ReconcileError> {
    let limit = limit.unwrap_or(DEFAULT_HISTORY_LIMIT);
    let mut unused: Vec<_> = known.iter().filter(|revision| !in_use(revision)).collect();
    let surplus = unused
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or_default());
    unused.sort_by_key(|revision| revision.revision);
    let api = context.namespaced::<ControllerRevision>(namespace);
    for revision in unused.into_iter().take(surplus) {
        ignore_not_found(
            api.delete(
                revision.metadata.name.as_deref().unwrap_or_default(),
                &DeleteParams::default(),
            )
            .await
            .map(drop),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(version: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": {"labels": {"v": version}}})).expect("a template")
    }

    fn revision(version: &str, number: i64) -> Arc<ControllerRevision> {
        let data = Some(RawExtension(data_of(&template(version))));
        Arc::new(ControllerRevision {
            data,
            revision: number,
            ..ControllerRevision::default()
        })
    }

    #[test]
    fn a_template_that_returns_gets_a_new_revision_number() {
        let known = [revision("1", 1), revision("2", 2)];
        assert_eq!(
            step(&known, &template("2")),
            RevisionAction::Newest(Arc::clone(&known[1]))
        );
        assert_eq!(
            step(&known, &template("1")),
            RevisionAction::Renumber(Arc::clone(&known[0]), 3)
        );
        assert_eq!(step(&known, &template("3")), RevisionAction::Create(3));
        assert_eq!(step(&[], &template("1")), RevisionAction::Create(1));
    }
}
