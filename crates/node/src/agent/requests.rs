//! The two requests to the API that a pod needs: publish its status, and delete its object.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use kinds::path::segment;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, Error};

use crate::wire::status::{PodStatus, fingerprint};
use crate::wire::view::PodView;

/// The pod that a request is for.
pub(super) struct PodTarget {
    pub(super) client: Client,
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Arc<str>,
}

/// The end of a request.
pub(super) enum RequestOutcome {
    /// The response to a patch of the status.
    StatusPatched {
        uid: Arc<str>,
        /// Fingerprint of the status that was sent.
        sent: u64,
        /// The pod as the API has stored it.
        result: Result<Box<PodView>, Error>,
    },
    /// The response to a deletion. `Ok` when the object is gone or only waits for finalizers.
    Deleted {
        uid: Arc<str>,
        result: Result<(), Error>,
    },
    /// The request panicked.
    Panicked { uid: Arc<str> },
}

/// Runs a request and reports its end also after a panic. Without a report the pod would never be
/// synced again.
pub(super) async fn catch_panic(
    uid: Arc<str>,
    request: impl Future<Output = RequestOutcome>,
) -> RequestOutcome {
    AssertUnwindSafe(request)
        .catch_unwind()
        .await
        .unwrap_or(RequestOutcome::Panicked { uid })
}

impl PodTarget {
    /// Publishes the status.
    pub(super) async fn patch_status(self, status: PodStatus) -> RequestOutcome {
        let pods: Api<PodView> = Api::namespaced(self.client, &segment(&self.namespace));
        let patch = Patch::Strategic(status.patch(&self.uid));
        let result = pods
            .patch_status(&segment(&self.name), &PatchParams::default(), &patch)
            .await
            .map(Box::new);
        RequestOutcome::StatusPatched {
            uid: self.uid,
            sent: fingerprint(&status),
            result,
        }
    }

    /// Deletes the object with grace period 0. The uid protects a later pod of the same name.
    pub(super) async fn delete(self) -> RequestOutcome {
        let pods: Api<PodView> = Api::namespaced(self.client, &segment(&self.namespace));
        let preconditions = Preconditions {
            uid: Some(self.uid.to_string()),
            ..Preconditions::default()
        };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let result = match pods.delete(&segment(&self.name), &params).await {
            Ok(_) => Ok(()),
            // The object is gone, or another pod has its name already.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        };
        RequestOutcome::Deleted {
            uid: self.uid,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_request_is_reported() {
        let broken = async { panic!("as the test wants it") };
        let outcome = catch_panic("u".into(), broken).await;
        assert!(matches!(outcome, RequestOutcome::Panicked { uid } if &*uid == "u"));
    }
}
