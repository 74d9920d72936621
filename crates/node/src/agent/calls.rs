//! The two calls that are made for a pod: its status, and its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
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
    /// The call panicked.
    Broken {
        /// For which pod.
        uid: Arc<str>,
    },
}

/// Makes a call and tells of it in any case: a pod whose call is never answered would not be looked
/// at again.
pub(super) async fn guarded(uid: Arc<str>, call: impl Future<Output = Finished>) -> Finished {
    AssertUnwindSafe(call)
        .catch_unwind()
        .await
        .unwrap_or(Finished::Broken { uid })
}

impl Target {
    /// Makes the API show this status.
    pub(super) async fn report(self, status: PodStatus) -> Finished {
        let pods: Api<PodView> = Api::namespaced(self.client, &self.namespace);
        let patch = Patch::Strategic(status.patch(&self.uid));
        let answer = pods
            .patch_status(&self.name, &PatchParams::default(), &patch)
            .await
            .map(Box::new);
        Finished::Reported {
            uid: self.uid,
            sent: fingerprint(&status),
            answer,
        }
    }

    /// Removes the pod, and never its successor of the same name.
    pub(super) async fn remove(self) -> Finished {
        let pods: Api<PodView> = Api::namespaced(self.client, &self.namespace);
        let preconditions = Preconditions {
            uid: Some(self.uid.to_string()),
            ..Preconditions::default()
        };
        let how = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let answer = match pods.delete(&self.name, &how).await {
            Ok(_) => Ok(()),
            // Gone already, or gone and followed by another of the same name.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        };
        Finished::Removed {
            uid: self.uid,
            answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_panics_is_told_like_any_other() {
        let broken = async { panic!("as the test wants it") };
        assert!(
            matches!(guarded("u".into(), broken).await, Finished::Broken { uid } if &*uid == "u")
        );
    }
}
