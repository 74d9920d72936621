//! Collects the workloads of a snapshot, each under its topmost controller.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Autoscaler, Key, PodCount, Workload, Workloads, autoscalers};
use crate::cluster::ClusterSnapshot;
use crate::pods;

/// The label in which a Deployment writes the end of the name of its ReplicaSet.
const HASH_LABEL: &str = "pod-template-hash";

/// The topmost controllers of pods.
pub(super) struct TopOwners<'a> {
    /// The controllers of ReplicaSets, Jobs and ReplicationControllers that have one.
    above: HashMap<Key<'a>, &'a OwnerReference>,
    /// The Deployments of the snapshot.
    deployments: HashMap<(&'a str, &'a str), ()>,
}

impl<'a> TopOwners<'a> {
    fn of_snapshot(snapshot: &'a ClusterSnapshot) -> Self {
        let sets = snapshot
            .replica_sets
            .iter()
            .map(|set| ("ReplicaSet", &set.metadata));
        let jobs = snapshot.jobs.iter().map(|job| ("Job", &job.metadata));
        let controllers = snapshot
            .replication_controllers
            .iter()
            .map(|one| ("ReplicationController", &one.metadata));
        let above = sets
            .chain(jobs)
            .chain(controllers)
            .filter_map(|(kind, meta)| Some((key(kind, meta), pods::controller(meta)?)));
        let deployments = snapshot.deployments.iter();
        let deployments = deployments.map(|one| {
            let name = one.metadata.name.as_deref().unwrap_or_default();
            ((pods::namespace_of(&one.metadata), name), ())
        });
        Self {
            above: above.collect(),
            deployments: deployments.collect(),
        }
    }

    /// Returns the key of the workload that makes the pod: itself when it has no controller.
    pub(super) fn of(&self, pod: &'a Pod) -> Key<'a> {
        let Some(owner) = pods::controller_of(pod) else {
            return key("Pod", &pod.metadata);
        };
        let space = pods::namespace(pod);
        let direct: Key<'a> = (space, &owner.kind, &owner.name);
        if let Some(above) = self.above.get(&direct) {
            return (space, &above.kind, &above.name);
        }
        // A dump may lack the ReplicaSet between the pod and its Deployment.
        let hash = pod
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(HASH_LABEL));
        let deployment =
            hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
        match deployment {
            Some(name)
                if owner.kind == "ReplicaSet" && self.deployments.contains_key(&(space, name)) =>
            {
                (space, "Deployment", name)
            }
            _ => direct,
        }
    }
}

fn key<'a>(kind: &'a str, meta: &'a ObjectMeta) -> Key<'a> {
    let name = meta.name.as_deref().unwrap_or_default();
    (pods::namespace_of(meta), kind, name)
}

/// What is known of a controller that the snapshot does not contain.
struct Unseen<'a> {
    labels: Option<&'a BTreeMap<String, String>>,
    spec: &'a PodSpec,
    /// The replicas of its ReplicaSets.
    replicas: Option<i32>,
    makes_jobs: bool,
}

pub(super) fn workloads(snapshot: &ClusterSnapshot) -> Workloads<'_> {
    let scalers = autoscalers(snapshot);
    let mut found = Workloads {
        all: Vec::new(),
        by_key: HashMap::new(),
        tops: TopOwners::of_snapshot(snapshot),
    };
    let existing = existing(snapshot, &found.tops);
    built_in(snapshot, &mut found);
    custom(snapshot, &existing, &mut found);
    unseen(snapshot, &existing, &mut found);
    scale(&mut found, &scalers);
    found
}

/// Counts the pods of each workload that have not finished.
fn existing<'a>(
    snapshot: &'a ClusterSnapshot,
    tops: &TopOwners<'a>,
) -> HashMap<Key<'a>, (i32, &'a Pod)> {
    let mut counts: HashMap<Key<'a>, (i32, &'a Pod)> = HashMap::new();
    for pod in snapshot.pods.iter().filter(|pod| counts_as_pod(pod)) {
        let (count, _) = counts.entry(tops.of(pod)).or_insert((0, pod));
        *count = count.saturating_add(1);
    }
    counts
}

fn counts_as_pod(pod: &Pod) -> bool {
    !pods::is_finished(pod) && !pods::is_mirror(pod)
}

impl<'a> Workloads<'a> {
    fn add(&mut self, workload: Workload<'a>) {
        let key = (workload.namespace, workload.kind, workload.name);
        self.by_key.entry(key).or_insert(self.all.len());
        self.all.push(workload);
    }

    fn add_template(
        &mut self,
        kind: &'a str,
        meta: &'a ObjectMeta,
        count: PodCount,
        template: Option<&'a PodTemplateSpec>,
    ) {
        let Some(template) = template else { return };
        let Some(spec) = template.spec.as_ref() else {
            return;
        };
        let (namespace, kind, name) = key(kind, meta);
        self.add(Workload {
            kind,
            namespace,
            name,
            annotations: meta.annotations.as_ref(),
            count,
            labels: template
                .metadata
                .as_ref()
                .and_then(|meta| meta.labels.as_ref()),
            spec,
        });
    }
}

fn replicas(count: Option<i32>) -> PodCount {
    let number = count.unwrap_or(1);
    PodCount::Replicas {
        least: number,
        most: number,
        by_default: count.is_none(),
    }
}

fn built_in<'a>(snapshot: &'a ClusterSnapshot, found: &mut Workloads<'a>) {
    // Kind by kind: the generated types share these fields and no trait.
    for object in &snapshot.deployments {
        let Some(spec) = &object.spec else { continue };
        let count = replicas(spec.replicas);
        found.add_template("Deployment", &object.metadata, count, Some(&spec.template));
    }
    for object in &snapshot.stateful_sets {
        let Some(spec) = &object.spec else { continue };
        let count = replicas(spec.replicas);
        found.add_template("StatefulSet", &object.metadata, count, Some(&spec.template));
    }
    for object in &snapshot.daemon_sets {
        let Some(spec) = &object.spec else { continue };
        let count = PodCount::WithoutScale;
        found.add_template("DaemonSet", &object.metadata, count, Some(&spec.template));
    }
    for object in &snapshot.cron_jobs {
        let job = object.spec.job_template.spec.as_ref();
        let count = PodCount::WithoutScale;
        let template = job.map(|job| &job.template);
        found.add_template("CronJob", &object.metadata, count, template);
    }
    // What has a controller counts as that controller's.
    let is_top = |meta: &ObjectMeta| pods::controller(meta).is_none();
    for object in snapshot
        .replica_sets
        .iter()
        .filter(|one| is_top(&one.metadata))
    {
        let Some(spec) = &object.spec else { continue };
        let (count, template) = (replicas(spec.replicas), spec.template.as_ref());
        found.add_template("ReplicaSet", &object.metadata, count, template);
    }
    let controllers = snapshot.replication_controllers.iter();
    for object in controllers.filter(|one| is_top(&one.metadata)) {
        let Some(spec) = &object.spec else { continue };
        let (count, template) = (replicas(spec.replicas), spec.template.as_ref());
        found.add_template("ReplicationController", &object.metadata, count, template);
    }
    for object in snapshot.jobs.iter().filter(|one| is_top(&one.metadata)) {
        let Some(spec) = &object.spec else { continue };
        let count = PodCount::WithoutScale;
        found.add_template("Job", &object.metadata, count, Some(&spec.template));
    }
    for pod in snapshot.pods.iter().filter(|pod| counts_as_pod(pod)) {
        let Some(spec) = pod.spec.as_ref().filter(|_| is_top(&pod.metadata)) else {
            continue;
        };
        let (namespace, kind, name) = key("Pod", &pod.metadata);
        found.add(Workload {
            kind,
            namespace,
            name,
            annotations: pod.metadata.annotations.as_ref(),
            count: PodCount::OnePod,
            labels: pod.metadata.labels.as_ref(),
            spec,
        });
    }
}

fn custom<'a>(
    snapshot: &'a ClusterSnapshot,
    existing: &HashMap<Key<'a>, (i32, &'a Pod)>,
    found: &mut Workloads<'a>,
) {
    for object in &snapshot.custom {
        let own = key(&object.kind, &object.metadata);
        let pods = existing.get(&own).map_or(0, |(count, _)| *count);
        for one in &object.templates {
            let count = match one.replicas {
                Some(_) => replicas(one.replicas),
                None => PodCount::Existing(pods),
            };
            found.add_template(&object.kind, &object.metadata, count, Some(&one.template));
        }
    }
}

/// Adds the controllers that the snapshot does not contain, known by their pods, ReplicaSets or
/// Jobs.
fn unseen<'a>(
    snapshot: &'a ClusterSnapshot,
    existing: &HashMap<Key<'a>, (i32, &'a Pod)>,
    found: &mut Workloads<'a>,
) {
    let mut owners: BTreeMap<Key<'a>, Unseen<'a>> = BTreeMap::new();
    let mut add =
        |meta: &'a ObjectMeta, template: Option<&'a PodTemplateSpec>, more: Option<i32>| {
            let (Some(owner), Some(template)) = (pods::controller(meta), template) else {
                return;
            };
            let Some(spec) = template.spec.as_ref() else {
                return;
            };
            let entry = owners
                .entry((pods::namespace_of(meta), &owner.kind, &owner.name))
                .or_insert(Unseen {
                    labels: template
                        .metadata
                        .as_ref()
                        .and_then(|meta| meta.labels.as_ref()),
                    spec,
                    replicas: None,
                    makes_jobs: false,
                });
            entry.makes_jobs |= more.is_none();
            if let Some(more) = more {
                entry.replicas = Some(entry.replicas.unwrap_or(0).saturating_add(more));
            }
        };
    for set in &snapshot.replica_sets {
        let spec = set.spec.as_ref();
        let count = spec.map(|spec| spec.replicas.unwrap_or(1));
        // The old ReplicaSets of a rollout have other templates.
        if count != Some(0) {
            add(
                &set.metadata,
                spec.and_then(|spec| spec.template.as_ref()),
                count,
            );
        }
    }
    for one in &snapshot.replication_controllers {
        let spec = one.spec.as_ref();
        let count = spec.map(|spec| spec.replicas.unwrap_or(1));
        add(
            &one.metadata,
            spec.and_then(|spec| spec.template.as_ref()),
            count,
        );
    }
    for job in &snapshot.jobs {
        let template = |job: &'a Job| job.spec.as_ref().map(|spec| &spec.template);
        add(&job.metadata, template(job), None);
    }
    for (key, (_, pod)) in existing {
        if let Some(spec) = &pod.spec {
            owners.entry(*key).or_insert(Unseen {
                labels: pod.metadata.labels.as_ref(),
                spec,
                replicas: None,
                makes_jobs: false,
            });
        }
    }
    for (own, unseen) in owners {
        if found.by_key.contains_key(&own) {
            continue;
        }
        let (namespace, kind, name) = own;
        let scale = snapshot
            .scales
            .iter()
            .find(|scale| (&*scale.namespace, &*scale.kind, &*scale.name) == own);
        let scale = scale.and_then(|scale| scale.replicas.as_ref().ok().copied());
        let wanted = unseen.replicas.or(scale);
        let pods = existing.get(&own).map_or(0, |(count, _)| *count);
        let count = match (kind, wanted) {
            ("DaemonSet" | "Job" | "CronJob", _) => PodCount::WithoutScale,
            _ if unseen.makes_jobs => PodCount::WithoutScale,
            (_, Some(_)) => replicas(wanted),
            (_, None) => PodCount::Existing(pods),
        };
        found.add(Workload {
            kind,
            namespace,
            name,
            annotations: None,
            count,
            labels: unseen.labels,
            spec: unseen.spec,
        });
    }
}

/// Widens the replicas of workloads that autoscalers scale.
fn scale(found: &mut Workloads<'_>, scalers: &[Autoscaler<'_>]) {
    for scaler in scalers {
        let target = (scaler.namespace, scaler.target_kind, scaler.target_name);
        let Some(index) = found.by_key.get(&target) else {
            continue;
        };
        let Some(workload) = found.all.get_mut(*index) else {
            continue;
        };
        if matches!(workload.count, PodCount::WithoutScale | PodCount::OnePod) {
            continue;
        }
        // A target that somebody has scaled to zero stays there; KEDA scales it up again.
        let is_off = matches!(workload.count, PodCount::Replicas { most: 0, .. });
        if is_off && scaler.kind == "HorizontalPodAutoscaler" && scaler.least > 0 {
            continue;
        }
        workload.count = PodCount::Replicas {
            least: scaler.low(),
            most: scaler.most.max(1),
            by_default: false,
        };
    }
}
