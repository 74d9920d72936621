//! Keys, owners and times of objects.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::api::{DeleteParams, Preconditions};

pub(crate) use clock::whole_seconds;
pub(crate) use rules::after_seconds;
pub(crate) use rules::owners::controller_of;

/// The namespace and name of an object. The namespace of a cluster-wide object is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ObjectKey {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        Self::of_meta(object.meta())
    }

    pub(crate) fn of_meta(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            out.write_str(&self.name)
        } else {
            write!(out, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The API group of an `apiVersion`; empty for the core group.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// A controlling owner reference that also blocks foreground deletion of the owner.
pub(crate) fn controlled_by<K>(owner: &K) -> OwnerReference
where
    K: Resource,
    K::DynamicType: Default,
{
    let ty = K::DynamicType::default();
    OwnerReference {
        api_version: K::api_version(&ty).into_owned(),
        kind: K::kind(&ty).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Converts a time to whole seconds, as objects hold it.
pub(crate) fn on_wire(time: Timestamp) -> Time {
    Time(whole_seconds(time))
}

/// The time from `now` until `time`; zero when it has passed.
pub(crate) fn until(now: Timestamp, time: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(time.duration_since(now)).unwrap_or_default()
}

/// The uid of an object; empty when it has none.
pub(crate) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// The resource version of an object; 0 when it is not a number.
pub(crate) fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// Parameters that delete this very object, and no successor of its name.
pub(crate) fn delete_params(meta: &ObjectMeta) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: meta.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    }
}

/// True when the object has this finalizer.
pub(crate) fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    let mut finalizers = meta.finalizers.iter().flatten();
    finalizers.any(|finalizer| finalizer == name)
}

/// The finalizers of the object without this one, as the value in a merge patch.
pub(crate) fn without_finalizer(meta: &ObjectMeta, name: &str) -> serde_json::Value {
    let finalizers = meta.finalizers.iter().flatten();
    let left: Vec<_> = finalizers.filter(|finalizer| *finalizer != name).collect();
    if left.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::json!(left)
    }
}

/// The value of an annotation.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}
