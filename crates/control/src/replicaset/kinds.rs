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

/// Implements [`ReplicaController`] for a kind. A macro, because the generated types have the same
/// fields but share no trait.
macro_rules! replica_controller {
    (
        $kind:ident, $status:ident, $condition:ident,
        $(const $constant:ident: $type:ty = $value:expr;)*
        selector: $selector:expr,
        $(status: { $field:ident: $count:ident })?
    ) => {
        impl ReplicaController for $kind {
            $(const $constant: $type = $value;)*

            fn replicas(&self) -> i32 {
                self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
            }

            fn min_ready_seconds(&self) -> i32 {
                let spec = self.spec.as_ref();
                spec.and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
            }

            fn selector(&self) -> Result<Selector, String> {
                let select: fn(&Self) -> Result<Selector, String> = $selector;
                select(self).and_then(refuse_empty)
            }

            fn template(&self) -> Option<&PodTemplateSpec> {
                self.spec.as_ref()?.template.as_ref()
            }

            fn with_status(&self, counts: &ReplicaCounts) -> Option<Self> {
                let old = self.status.clone().unwrap_or_default();
                let mut conditions = old.conditions.clone().unwrap_or_default();
                match &counts.failure {
                    None => conditions.retain(|condition| condition.type_ != FAILURE),
                    // The first failure stays, with its time, until a reconciliation succeeds.
                    Some(_) if conditions.iter().any(|condition| condition.type_ == FAILURE) => {}
                    Some(failure) => conditions.push($condition {
                        type_: FAILURE.to_owned(),
                        status: "True".to_owned(),
                        reason: Some(failure.reason.to_owned()),
                        message: Some(failure.message.clone()),
                        last_transition_time: Some(on_wire(counts.now)),
                    }),
                }
                let new = $status {
                    available_replicas: non_zero(counts.available),
                    conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
                    fully_labeled_replicas: non_zero(counts.fully_labeled),
                    observed_generation: self.metadata.generation,
                    ready_replicas: non_zero(counts.ready),
                    replicas: counts.replicas,
                    $($field: Some(counts.$count),)?
                };
                (new != old).then(|| Self {
                    status: Some(new),
                    ..self.clone()
                })
            }
        }
    };
}

replica_controller! {
    ReplicaSet, ReplicaSetStatus, ReplicaSetCondition,
    const NAME: &'static str = "replicaset";
    const COMPONENT: &'static str = "replicaset-controller";
    const REPORTS_TERMINATING: bool = true;
    selector: |set| Selector::compile(set.spec.as_ref().map(|spec| &spec.selector)),
    status: { terminating_replicas: terminating }
}

replica_controller! {
    ReplicationController, ReplicationControllerStatus, ReplicationControllerCondition,
    const NAME: &'static str = "replicationcontroller";
    const COMPONENT: &'static str = "replication-controller";
    const REPORTS_TERMINATING: bool = false;
    selector: |controller| {
        let spec = controller.spec.as_ref();
        Ok(Selector::exactly(spec.and_then(|spec| spec.selector.as_ref())))
    },
}

fn non_zero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

/// A set that selects every pod of its namespace would adopt them all and delete the surplus.
fn refuse_empty(selector: Selector) -> Result<Selector, String> {
    if selector.is_empty() {
        Err("empty selector".to_owned())
    } else {
        Ok(selector)
    }
}
