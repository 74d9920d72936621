//! Typed requests whose names cannot lead elsewhere.
//!
//! `kube::Api` writes names into paths as they are. Names that controllers follow come from objects
//! that users write, for example from owner references, so [`NamedApi`] encodes every one of them.
//! [`ControllerContext`](crate::context::ControllerContext) returns no other API.

use std::fmt::Debug;

use kinds::path::segment;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectList, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The API of one kind, in one namespace or of the whole cluster. The methods are those of
/// `kube::Api`.
#[derive(Clone, Debug)]
pub(crate) struct NamedApi<K>(Api<K>);

impl<K> From<Api<K>> for NamedApi<K> {
    fn from(api: Api<K>) -> Self {
        Self(api)
    }
}

impl<K: Clone + DeserializeOwned + Debug> NamedApi<K> {
    pub(crate) async fn get(&self, name: &str) -> Result<K, kube::Error> {
        self.0.get(&segment(name)).await
    }

    pub(crate) async fn get_opt(&self, name: &str) -> Result<Option<K>, kube::Error> {
        self.0.get_opt(&segment(name)).await
    }

    pub(crate) async fn list(&self, how: &ListParams) -> Result<ObjectList<K>, kube::Error> {
        self.0.list(how).await
    }

    pub(crate) async fn delete(
        &self,
        name: &str,
        how: &DeleteParams,
    ) -> Result<impl Sized + use<K>, kube::Error> {
        self.0.delete(&segment(name), how).await
    }

    pub(crate) async fn patch<P: Serialize + Debug>(
        &self,
        name: &str,
        how: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<K, kube::Error> {
        self.0.patch(&segment(name), how, patch).await
    }

    pub(crate) async fn patch_status<P: Serialize + Debug>(
        &self,
        name: &str,
        how: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<K, kube::Error> {
        self.0.patch_status(&segment(name), how, patch).await
    }
}

impl<K: Clone + Serialize + DeserializeOwned + Debug> NamedApi<K> {
    pub(crate) async fn create(&self, how: &PostParams, object: &K) -> Result<K, kube::Error> {
        self.0.create(how, object).await
    }

    pub(crate) async fn replace(
        &self,
        name: &str,
        how: &PostParams,
        object: &K,
    ) -> Result<K, kube::Error> {
        self.0.replace(&segment(name), how, object).await
    }

    pub(crate) async fn replace_status(
        &self,
        name: &str,
        how: &PostParams,
        object: &K,
    ) -> Result<K, kube::Error> {
        self.0.replace_status(&segment(name), how, object).await
    }
}

impl<K: Clone + DeserializeOwned + Debug> NamedApi<K> {
    pub(crate) async fn create_subresource<I: Serialize, T: DeserializeOwned>(
        &self,
        subresource: &str,
        name: &str,
        how: &PostParams,
        object: &I,
    ) -> Result<T, kube::Error> {
        self.0
            .create_subresource(subresource, &segment(name), how, object)
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use http_body_util::Full;
    use k8s_openapi::api::core::v1::{Node, Pod};
    use kube::Client;
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn no_name_leads_to_another_resource() {
        let paths = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&paths);
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = format!("{} {}", request.method(), request.uri().path());
            seen.lock().expect("no panic").push(path);
            async { Ok::<_, std::convert::Infallible>(Response::new(Full::from("{}"))) }
        });
        let client = Client::new(service, "default");
        let odd = "../secrets/key?x#y";
        let pods = NamedApi::<Pod>::from(Api::namespaced(client.clone(), &segment("a/../b")));
        let patch = Patch::Merge(serde_json::json!({}));
        drop(pods.get(odd).await);
        drop(pods.get_opt(odd).await);
        drop(pods.delete(odd, &DeleteParams::default()).await);
        drop(pods.patch(odd, &PatchParams::default(), &patch).await);
        drop(
            pods.patch_status(odd, &PatchParams::default(), &patch)
                .await,
        );
        let pod = Pod::default();
        drop(pods.replace(odd, &PostParams::default(), &pod).await);
        drop(pods.replace_status(odd, &PostParams::default(), &pod).await);
        let bound: Result<serde_json::Value, _> = pods
            .create_subresource("binding", odd, &PostParams::default(), &pod)
            .await;
        drop(bound);
        drop(NamedApi::<Node>::from(Api::all(client)).get("..").await);
        let name = "..%2Fsecrets%2Fkey%3Fx%23y";
        let base = format!("/api/v1/namespaces/a%2F..%2Fb/pods/{name}");
        assert_eq!(
            *paths.lock().expect("no panic"),
            [
                format!("GET {base}"),
                format!("GET {base}"),
                format!("DELETE {base}"),
                format!("PATCH {base}"),
                format!("PATCH {base}/status"),
                format!("PUT {base}"),
                format!("PUT {base}/status"),
                format!("POST {base}/binding"),
                "GET /api/v1/nodes/%2E%2E".to_owned(),
            ]
        );
    }
}
