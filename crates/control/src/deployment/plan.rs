//! Decides the next step of a deployment. Pure: the deployment, its sets and the time in, at most
//! one step out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::revision::{self, REVISION, ReplicaSets};
use super::scale::{
    self, DESIRED, MAX, annotated, available_of, max_unavailable, replicas_of, wanted,
};
use super::status::{self, Progress};
use crate::meta::annotation;

/// A request to make.
#[derive(Debug)]
pub(super) enum DeploymentAction {
    Create(Box<ReplicaSet>),
    Change(ReplicaSetChange),
    Remove(Arc<ReplicaSet>),
}

/// A new size or new annotations for a set.
#[derive(Debug)]
pub(super) struct ReplicaSetChange {
    pub(super) set: Arc<ReplicaSet>,
    pub(super) replicas: i32,
    pub(super) min_ready_seconds: Option<i32>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What to do now.
#[derive(Debug)]
pub(super) struct DeploymentPlan {
    pub(super) actions: Vec<DeploymentAction>,
    /// The deployment with its new status and revision; none when both are right.
    pub(super) updated: Option<Deployment>,
    /// When to reconcile again even if nothing changes.
    pub(super) recheck: Option<Duration>,
}

/// Makes the plan. `running` returns whether a set has pods that have not ended.
pub(super) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    running: impl Fn(&ReplicaSet) -> bool,
    now: Timestamp,
) -> DeploymentPlan {
    let sets = ReplicaSets::sort(deployment, sets);
    let paused = deployment
        .spec
        .as_ref()
        .is_some_and(|spec| spec.paused == Some(true));
    let scaled = is_scaled(deployment, &sets);
    let leaving = deployment.metadata.deletion_timestamp.is_some();
    let actions = if leaving {
        Vec::new()
    } else {
        first_of([
            &|| sync_revision(deployment, &sets),
            &|| {
                if paused || scaled {
                    scale_all(deployment, &sets)
                } else {
                    Vec::new()
                }
            },
            &|| {
                if paused || scaled {
                    Vec::new()
                } else {
                    roll(deployment, &sets, &running)
                }
            },
            &|| clean_up(deployment, &sets, paused),
        ])
    };
    let creating = actions.iter().find_map(|action| match action {
        DeploymentAction::Create(set) => set.metadata.name.as_deref(),
        _ => None,
    });
    let progress = Progress {
        counts_only: paused || scaled || leaving,
        creating,
    };
    let status = status::status(deployment, &sets, &progress, now);
    let recheck = status::recheck(deployment, &status, now);
    let mut updated = Deployment {
        status: Some(status),
        ..deployment.clone()
    };
    if let Some(number) = sets
        .new
        .as_ref()
        .and_then(|set| annotation(&set.metadata, REVISION))
    {
        updated
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(REVISION.to_owned(), number.to_owned());
    }
    DeploymentPlan {
        actions,
        updated: (updated != *deployment).then_some(updated),
        recheck,
    }
}

/// Returns the actions of the first step that has any.
fn first_of<const N: usize>(
    stages: [&dyn Fn() -> Vec<DeploymentAction>; N],
) -> Vec<DeploymentAction> {
    stages
        .iter()
        .map(|stage| stage())
        .find(|actions| !actions.is_empty())
        .unwrap_or_default()
}

/// True when the size of the deployment has changed since its sets were annotated with it.
fn is_scaled(deployment: &Deployment, sets: &ReplicaSets) -> bool {
    sets.all().any(|set| {
        replicas_of(set) > 0
            && annotated(set, DESIRED).is_some_and(|desired| desired != wanted(deployment))
    })
}

fn change(set: &Arc<ReplicaSet>, replicas: i32) -> ReplicaSetChange {
    ReplicaSetChange {
        set: Arc::clone(set),
        replicas,
        min_ready_seconds: set.spec.as_ref().and_then(|spec| spec.min_ready_seconds),
        annotations: BTreeMap::new(),
    }
}

/// Gives a set this size and the annotations that go with it; none when it has both.
fn resize(
    deployment: &Deployment,
    set: &Arc<ReplicaSet>,
    replicas: i32,
) -> Option<DeploymentAction> {
    let annotations = scale::size_annotations(deployment);
    let annotated = annotations
        .iter()
        .all(|(name, value)| annotation(&set.metadata, name) == Some(value));
    let same = replicas_of(set) == replicas;
    (!(same && annotated)).then(|| {
        DeploymentAction::Change(ReplicaSetChange {
            annotations,
            ..change(set, replicas)
        })
    })
}

/// Updates the annotations and `minReadySeconds` of the set of the present template.
fn sync_revision(deployment: &Deployment, sets: &ReplicaSets) -> Vec<DeploymentAction> {
    let Some(set) = &sets.new else {
        return Vec::new();
    };
    let annotations = revision::annotations(
        deployment,
        &set.metadata,
        revision::next_revision(&sets.old),
    );
    let min_ready = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.min_ready_seconds)
        .unwrap_or_default();
    let change = change(set, replicas_of(set));
    let right = set
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|known| *known == annotations)
        || (annotations.is_empty() && set.metadata.annotations.is_none());
    if right && change.min_ready_seconds.unwrap_or_default() == min_ready {
        return Vec::new();
    }
    vec![DeploymentAction::Change(ReplicaSetChange {
        annotations,
        min_ready_seconds: Some(min_ready),
        ..change
    })]
}

/// Brings the sets to the deployment's size without continuing a rollout.
fn scale_all(deployment: &Deployment, sets: &ReplicaSets) -> Vec<DeploymentAction> {
    let mut active: Vec<_> = sets
        .all()
        .filter(|set| replicas_of(set) > 0)
        .cloned()
        .collect();
    if active.len() <= 1 {
        let latest = || sets.old.last();
        let only = active.first().or(sets.new.as_ref()).or_else(latest);
        return only
            .and_then(|set| resize(deployment, set, wanted(deployment)))
            .into_iter()
            .collect();
    }
    if sets
        .new
        .as_ref()
        .is_some_and(|new| is_saturated(deployment, new))
    {
        return sets
            .old
            .iter()
            .filter(|set| replicas_of(set) > 0)
            .filter_map(|set| resize(deployment, set, 0))
            .collect();
    }
    if scale::is_recreate(deployment) {
        return Vec::new();
    }
    let total: i32 = active.iter().map(|set| replicas_of(set)).sum();
    let grows = wanted(deployment) > 0 && wanted(deployment) + scale::max_surge(deployment) > total;
    // The largest set first. Among equal ones the newer set first when growing, else the older.
    active.sort_by(|a, b| {
        let created =
            |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let by_age = created(a)
            .cmp(&created(b))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name));
        replicas_of(b)
            .cmp(&replicas_of(a))
            .then(if grows { by_age.reverse() } else { by_age })
    });
    let sizes: Vec<_> = active
        .iter()
        .map(|set| (replicas_of(set), annotated(set, MAX)))
        .collect();
    let sizes = scale::proportional(deployment, &sizes);
    active
        .iter()
        .zip(sizes)
        .filter_map(|(set, size)| resize(deployment, set, size))
        .collect()
}

fn is_saturated(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = wanted(deployment);
    replicas_of(set) == wanted
        && annotated(set, DESIRED) == Some(wanted)
        && available_of(set) == wanted
}

fn roll(
    deployment: &Deployment,
    sets: &ReplicaSets,
    running: &impl Fn(&ReplicaSet) -> bool,
) -> Vec<DeploymentAction> {
    if scale::is_recreate(deployment) {
        return recreate(deployment, sets, running);
    }
    let Some(new) = &sets.new else {
        return create(deployment, sets);
    };
    let total: i32 = sets.all().map(|set| replicas_of(set)).sum();
    let size =
        scale::new_set_size(deployment, replicas_of(new), total).min(wanted(deployment).max(0));
    if size != replicas_of(new) {
        return resize(deployment, new, size).into_iter().collect();
    }
    shrink_old(deployment, new, &sets.old, total)
}

fn create(deployment: &Deployment, sets: &ReplicaSets) -> Vec<DeploymentAction> {
    revision::make(deployment, sets)
        .map(|set| DeploymentAction::Create(Box::new(set)))
        .into_iter()
        .collect()
}

/// Shrinks old sets as far as `maxUnavailable` allows, unavailable pods first.
fn shrink_old(
    deployment: &Deployment,
    new: &ReplicaSet,
    old: &[Arc<ReplicaSet>],
    total: i32,
) -> Vec<DeploymentAction> {
    let least = wanted(deployment) - max_unavailable(deployment);
    let new_unavailable = replicas_of(new) - available_of(new);
    let mut spare = total - least - new_unavailable;
    if spare <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = old.iter().map(|set| replicas_of(set)).collect();
    for (set, size) in old.iter().zip(&mut sizes) {
        let unhealthy = (*size - available_of(set)).clamp(0, spare);
        *size -= unhealthy;
        spare -= unhealthy;
    }
    let available = available_of(new) + old.iter().map(|set| available_of(set)).sum::<i32>();
    let mut healthy = (available - least).max(0);
    for size in &mut sizes {
        let taken = (*size).min(healthy);
        *size -= taken;
        healthy -= taken;
    }
    let changed = old
        .iter()
        .zip(sizes)
        .filter(|(set, size)| replicas_of(set) != *size);
    changed
        .filter_map(|(set, size)| resize(deployment, set, size))
        .collect()
}

/// Ends all old pods before the first new one is created.
fn recreate(
    deployment: &Deployment,
    sets: &ReplicaSets,
    running: &impl Fn(&ReplicaSet) -> bool,
) -> Vec<DeploymentAction> {
    let down: Vec<_> = sets
        .old
        .iter()
        .filter(|set| replicas_of(set) > 0)
        .filter_map(|set| resize(deployment, set, 0))
        .collect();
    if !down.is_empty() {
        return down;
    }
    if sets.old.iter().any(|set| running(set)) {
        return Vec::new();
    }
    let Some(new) = &sets.new else {
        return create(deployment, sets);
    };
    if replicas_of(new) == wanted(deployment) {
        return Vec::new();
    }
    resize(deployment, new, wanted(deployment))
        .into_iter()
        .collect()
}

/// Deletes old sets beyond the history limit, lowest revisions first.
fn clean_up(deployment: &Deployment, sets: &ReplicaSets, paused: bool) -> Vec<DeploymentAction> {
    let complete = deployment
        .status
        .as_ref()
        .is_some_and(|status| status::is_complete(deployment, status));
    let Some(limit) = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.revision_history_limit)
        .filter(|_| complete || paused)
    else {
        return Vec::new();
    };
    let mut old: Vec<_> = sets
        .old
        .iter()
        .filter(|set| set.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    let surplus = old
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or_default());
    old.sort_by_key(|set| revision::revision(&set.metadata));
    let empty = |set: &ReplicaSet| {
        let status = set.status.as_ref();
        replicas_of(set) == 0
            && status.is_none_or(|status| status.replicas == 0)
            && status.and_then(|status| status.observed_generation) >= set.metadata.generation
    };
    old.into_iter()
        .take(surplus)
        .filter(|set| empty(set))
        .map(DeploymentAction::Remove)
        .collect()
}

#[cfg(test)]
mod tests;
