//! ReplicaSet and ReplicationController as [`ReplicaController`]s.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition,
    ReplicationControllerStatus,
};

use super::ReplicaController;
use super::plan::{FAILURE, ReplicaCounts};
use crate::meta::on_wire;
use crate::selector::Selector;

fn non_zero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

impl ReplicaController for ReplicaSet {
    const NAME: &'static str = "replicaset";
    const COMPONENT: &'static str = "replicaset-controller";
    const REPORTS_TERMINATING: bool = true;

    fn replicas(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default()
    }

    fn selector(&self) -> Result<Selector, String> {
        Selector::compile(self.spec.as_ref().map(|spec| &spec.selector)).and_then(refuse_empty)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn with_status(&self, counts: &ReplicaCounts) -> Option<Self> {
        let old = self.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.clone().unwrap_or_default();
        match &counts.failure {
            Some(failure)
                if !conditions
                    .iter()
                    .any(|condition| condition.type_ == FAILURE) =>
            {
                conditions.push(ReplicaSetCondition {
                    type_: FAILURE.to_owned(),
                    status: "True".to_owned(),
                    reason: Some(failure.reason.to_owned()),
                    message: Some(failure.message.clone()),
                    last_transition_time: Some(on_wire(counts.now)),
                })
            }
            Some(_) => {}
            None => conditions.retain(|condition| condition.type_ != FAILURE),
        }
        let new = ReplicaSetStatus {
            available_replicas: non_zero(counts.available),
            conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
            fully_labeled_replicas: non_zero(counts.fully_labeled),
            observed_generation: self.metadata.generation,
            ready_replicas: non_zero(counts.ready),
            replicas: counts.replicas,
            terminating_replicas: Some(counts.terminating),
        };
        (new != old).then(|| Self {
            status: Some(new),
            ..self.clone()
        })
    }
}

impl ReplicaController for ReplicationController {
    const NAME: &'static str = "replicationcontroller";
    const COMPONENT: &'static str = "replication-controller";
    const REPORTS_TERMINATING: bool = false;

    fn replicas(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec
            .as_ref()
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default()
    }

    fn selector(&self) -> Result<Selector, String> {
        refuse_empty(Selector::exactly(
            self.spec.as_ref().and_then(|spec| spec.selector.as_ref()),
        ))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn with_status(&self, counts: &ReplicaCounts) -> Option<Self> {
        let old = self.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.clone().unwrap_or_default();
        match &counts.failure {
            Some(failure)
                if !conditions
                    .iter()
                    .any(|condition| condition.type_ == FAILURE) =>
            {
                conditions.push(ReplicationControllerCondition {
                    type_: FAILURE.to_owned(),
                    status: "True".to_owned(),
                    reason: Some(failure.reason.to_owned()),
                    message: Some(failure.message.clone()),
                    last_transition_time: Some(on_wire(counts.now)),
                });
            }
            Some(_) => {}
            None => conditions.retain(|condition| condition.type_ != FAILURE),
        }
        let new = ReplicationControllerStatus {
            available_replicas: non_zero(counts.available),
            conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
            fully_labeled_replicas: non_zero(counts.fully_labeled),
            observed_generation: self.metadata.generation,
            ready_replicas: non_zero(counts.ready),
            replicas: counts.replicas,
        };
        (new != old).then(|| Self {
            status: Some(new),
            ..self.clone()
        })
    }
}

/// A set that selects every pod of its namespace would adopt them all and delete the surplus.
fn refuse_empty(selector: Selector) -> Result<Selector, String> {
    if selector.is_empty() {
        Err("empty selector".to_owned())
    } else {
        Ok(selector)
    }
}
