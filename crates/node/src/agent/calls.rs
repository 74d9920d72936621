//! The two calls that are made for a pod: its status, and its end.

use std::sync::Arc;

use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, Error};

use crate::pod::status::{PodStatus, fingerprint};
use crate::pod::view::PodView;

/// Which pod a call is about.
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Arc<str>,
}

/// What came of a call.
pub(super) enum Finished {
    /// The status was sent.
    Reported {
        /// Of which pod.
        uid: Arc<str>,
        /// Fingerprint of what was sent.
        sent: u64,
        /// The pod as it is now.
        answer: Result<Box<PodView>, Error>,
    },
    /// The pod was to be removed.
    Removed {
        /// Which pod.
        uid: Arc<str>,
        /// Whether it is gone, or only waits for finalizers.
        answer: Result<(), Error>,
    },
}

impl Target {
    /// Makes the API show this status.
    pub(super) async fn report(self, status: PodStatus) -> Finished {
        let pods: Api<PodView> = Api::namespaced(self.client, &self.namespace);
        let patch = Patch::Strategic(status.patch(&self.uid));
        let answer = pods.patch_status(&self.name, &PatchParams::default(), &patch).await.map(Box::new);
        Finished::Reported { uid: self.uid, sent: fingerprint(&status), answer }
    }

    /// Removes the pod, and never its successor of the same name.
    pub(super) async fn remove(self) -> Finished {
        let pods: Api<PodView> = Api::namespaced(self.client, &self.namespace);
        let preconditions = Preconditions { uid: Some(self.uid.to_string()), ..Preconditions::default() };
        let how = DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..DeleteParams::default() };
        let answer = match pods.delete(&self.name, &how).await {
            Ok(_) => Ok(()),
            // Gone already, or gone and followed by another of the same name.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        };
        Finished::Removed { uid: self.uid, answer }
    }
}
