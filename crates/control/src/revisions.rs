//! Numbered copies of a pod template, kept as ControllerRevisions, for controllers that roll pods
//! one by one.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Error, code, unless_gone};
use crate::meta::{controlled_by, controller_of, uid};

const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A template as revisions keep it: a patch that replaces the whole.
pub(crate) fn data_of(template: &PodTemplateSpec) -> Value {
    // Through text, because for trees all of a pod's types would be compiled once more.
    let mut template: Value = serde_json::to_string(template)
        .and_then(|text| serde_json::from_str(&text))
        .unwrap_or_default();
    if let Some(members) = template.as_object_mut() {
        members.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps.
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

/// FNV-1a of the template, in letters.
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
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}

/// What to do so that the newest revision keeps the present template.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// It does.
    Newest(Arc<ControllerRevision>),
    /// An older one does; it gets the newest number.
    Renumber(Arc<ControllerRevision>, i64),
    /// None does.
    Create(i64),
}

/// Decides. `known` are the owner's revisions.
pub(crate) fn step(known: &[Arc<ControllerRevision>], template: &PodTemplateSpec) -> Step {
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
        Some(revision) if revision.revision == newest => Step::Newest(Arc::clone(revision)),
        Some(revision) => Step::Renumber(Arc::clone(revision), newest + 1),
        None => Step::Create(newest + 1),
    }
}

/// Makes sure that the newest revision keeps this template, and returns it. `hash_label` is the
/// label under which a revision carries its hash.
pub(crate) async fn sync<O>(
    context: &Context,
    owner: &O,
    known: &[Arc<ControllerRevision>],
    template: &PodTemplateSpec,
    hash_label: &str,
) -> Result<Arc<ControllerRevision>, Error>
where
    O: Resource<Scope = NamespaceResourceScope>,
    O::DynamicType: Default,
{
    let meta = owner.meta();
    let api =
        context.namespaced::<ControllerRevision>(meta.namespace.as_deref().unwrap_or_default());
    let owner_name = meta.name.as_deref().unwrap_or_default();
    match step(known, template) {
        Step::Newest(revision) => Ok(revision),
        Step::Renumber(revision, number) => {
            let patch = json!({"metadata": {"resourceVersion": revision.metadata.resource_version}, "revision": number});
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            Ok(Arc::new(
                api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await?,
            ))
        }
        Step::Create(number) => {
            // A name that is taken by another template is avoided by counting up.
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
                        owner_references: Some(vec![controlled_by(owner)]),
                        ..ObjectMeta::default()
                    },
                    data: Some(RawExtension(data_of(template))),
                    revision: number,
                };
                match api.create(&PostParams::default(), &revision).await {
                    Ok(created) => return Ok(Arc::new(created)),
                    Err(error) if code(&error) == 409 => {
                        let there = unless_gone(api.get(&name).await)?;
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
            Err(Error::Plan(format!(
                "no free name for a revision of {owner_name}"
            )))
        }
    }
}

/// Deletes the oldest revisions that no pod carries, beyond the limit.
pub(crate) async fn trim(
    context: &Context,
    namespace: &str,
    known: &[Arc<ControllerRevision>],
    in_use: impl Fn(&ControllerRevision) -> bool,
    limit: i32,
) -> Result<(), Error> {
    let mut unused: Vec<_> = known.iter().filter(|revision| !in_use(revision)).collect();
    let surplus = unused
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or_default());
    unused.sort_by_key(|revision| revision.revision);
    let api = context.namespaced::<ControllerRevision>(namespace);
    for revision in unused.into_iter().take(surplus) {
        unless_gone(
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
    fn a_template_that_comes_back_gets_a_new_number() {
        let known = [revision("1", 1), revision("2", 2)];
        assert_eq!(
            step(&known, &template("2")),
            Step::Newest(Arc::clone(&known[1]))
        );
        assert_eq!(
            step(&known, &template("1")),
            Step::Renumber(Arc::clone(&known[0]), 3)
        );
        assert_eq!(step(&known, &template("3")), Step::Create(3));
        assert_eq!(step(&[], &template("1")), Step::Create(1));
    }
}
