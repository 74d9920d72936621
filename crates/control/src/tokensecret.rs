//! Secrets of type `kubernetes.io/service-account-token`: they are filled with a token, and removed
//! with their account.
//!
//! The token is requested for the account and bound to the secret, so it ends with either. Unlike
//! upstream's it names an expiry, which is farther away than anybody's certificates.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kinds::path::segment;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, annotation, delete_params, uid};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 5;
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const TOKEN: &str = "token";
const NAMESPACE: &str = "namespace";
const CERTIFICATE: &str = "ca.crt";
/// The longest lifetime that a token may be requested for, 136 years.
const LIFETIME_SECONDS: i64 = 1 << 32;

struct Controller {
    context: ControllerContext,
    secrets: Arc<Cache<Secret>>,
    accounts: Arc<Cache<ServiceAccount>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    informers.token_secrets.enqueue_changes(&queue);
    let (wake, secrets) = (queue.clone(), Arc::clone(&informers.token_secrets.cache));
    informers.accounts.subscribe(move |change| {
        let account = change.latest();
        let name = account.metadata.name.as_deref();
        let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
        secrets
            .select(namespace, |secret| {
                annotation(&secret.metadata, ACCOUNT) == name
            })
            .iter()
            .for_each(|secret| wake.add(ObjectKey::of(&**secret)));
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        secrets: Arc::clone(&informers.token_secrets.cache),
        accounts: Arc::clone(&informers.accounts.cache),
    });
    let synced = vec![
        informers.token_secrets.cache.synced(),
        informers.accounts.cache.synced(),
    ];
    context.run("service account tokens", queue, WORKERS, synced, controller);
}

/// True when the secret is for this very account.
fn is_for(secret: &Secret, account: &ObjectMeta) -> bool {
    let wanted = annotation(&secret.metadata, ACCOUNT_UID).unwrap_or_default();
    wanted.is_empty() || wanted == uid(account)
}

/// What a secret lacks.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    /// Whether a token has to be requested.
    token: bool,
    /// The other entries, as they must be.
    data: BTreeMap<&'static str, String>,
    uid: bool,
}

fn missing(secret: &Secret, account: &ObjectMeta, root_ca: &str) -> Option<Missing> {
    let held = |key: &str| {
        let data = secret.data.as_ref();
        data.and_then(|data| data.get(key))
            .map(|bytes| bytes.0.as_slice())
    };
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let wanted = [(CERTIFICATE, root_ca), (NAMESPACE, namespace)];
    let out = Missing {
        token: held(TOKEN).is_none_or(<[u8]>::is_empty),
        data: wanted
            .into_iter()
            .filter(|(key, value)| !value.is_empty() && held(key) != Some(value.as_bytes()))
            .map(|(key, value)| (key, value.to_owned()))
            .collect(),
        uid: annotation(&secret.metadata, ACCOUNT_UID) != Some(uid(account)),
    };
    (out.token || out.uid || !out.data.is_empty()).then_some(out)
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(secret) = self.secrets.get(key) else {
            return Ok(Requeue::OnChange);
        };
        let Some(name) = annotation(&secret.metadata, ACCOUNT) else {
            return Ok(Requeue::OnChange);
        };
        if secret.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::OnChange);
        }
        let Some(account) = self.account(&secret, &key.namespace, name).await? else {
            let api = self.context.namespaced::<Secret>(&key.namespace);
            let params = delete_params(&secret.metadata);
            ignore_not_found(api.delete(&key.name, &params).await)?;
            return Ok(Requeue::OnChange);
        };
        if let Some(missing) = missing(&secret, &account, &self.context.options.root_ca) {
            self.fill(&secret, name, &account, missing).await?;
        }
        Ok(Requeue::OnChange)
    }
}

impl Controller {
    /// The account of a secret. Before a secret is removed because its account is gone, the server
    /// is asked, because the caches of the two are not in step.
    async fn account(
        &self,
        secret: &Secret,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectMeta>, ReconcileError> {
        if let Some(account) = self.accounts.find(namespace, name)
            && is_for(secret, &account.metadata)
        {
            return Ok(Some(account.metadata.clone()));
        }
        let api = self.context.namespaced::<ServiceAccount>(namespace);
        let account = api.get_opt(name).await?;
        let meta = account.map(|account| account.metadata);
        Ok(meta.filter(|meta| is_for(secret, meta)))
    }

    async fn fill(
        &self,
        secret: &Secret,
        account: &str,
        meta: &ObjectMeta,
        missing: Missing,
    ) -> Result<(), ReconcileError> {
        let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
        let mut data = json!({});
        for (key, value) in missing.data {
            data[key] = json!(ByteString(value.into_bytes()));
        }
        if missing.token {
            let token = self.request_token(secret, namespace, account).await?;
            data[TOKEN] = json!(ByteString(token.into_bytes()));
        }
        let patch = json!({
            "metadata": {"uid": secret.metadata.uid,
                "resourceVersion": secret.metadata.resource_version,
                "annotations": {ACCOUNT_UID: meta.uid}},
            "data": data,
        });
        let api = self.context.namespaced::<Secret>(namespace);
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        ignore_not_found(
            api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )?;
        Ok(())
    }

    async fn request_token(
        &self,
        secret: &Secret,
        namespace: &str,
        account: &str,
    ) -> Result<String, ReconcileError> {
        let bound = json!({"apiVersion": "v1", "kind": "Secret", "name": secret.metadata.name,
            "uid": secret.metadata.uid});
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": LIFETIME_SECONDS,
                "boundObjectRef": bound}});
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{}/token",
            segment(namespace),
            segment(account)
        );
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        let answer: Value = self.context.client.request(request).await?;
        let token = answer["status"]["token"].as_str();
        let none = || ReconcileError::Plan("the server issued no token".to_owned());
        token.map(str::to_owned).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_secret_lacks_is_filled_in() {
        let account: ObjectMeta =
            serde_json::from_value(json!({"name": "robot", "uid": "a1"})).expect("metadata");
        let secret = |uid: &str, data: Value| -> Secret {
            serde_json::from_value(json!({"metadata": {"namespace": "n", "annotations":
                {ACCOUNT: "robot", ACCOUNT_UID: uid}}, "data": data}))
            .expect("a secret")
        };
        let of = |pairs: &[(&str, &str)]| {
            let mut data = json!({});
            for (key, value) in pairs {
                data[*key] = json!(ByteString(value.as_bytes().to_vec()));
            }
            data
        };
        let whole = [(TOKEN, "t"), (NAMESPACE, "n"), (CERTIFICATE, "ca")];
        let lacks = |secret: &Secret, root_ca: &str| {
            missing(secret, &account, root_ca).map(|missing| {
                let keys: Vec<_> = missing.data.into_keys().collect();
                (missing.token, keys, missing.uid)
            })
        };
        let cases = [
            (secret("a1", of(&whole)), "ca", None),
            (
                secret("a1", of(&whole)),
                "new",
                Some((false, vec![CERTIFICATE], false)),
            ),
            (secret("a1", of(&whole)), "", None),
            (secret("", of(&whole)), "ca", Some((false, vec![], true))),
            (
                secret("a1", of(&whole[1..])),
                "ca",
                Some((true, vec![], false)),
            ),
            (
                secret("", json!({})),
                "ca",
                Some((true, vec![CERTIFICATE, NAMESPACE], true)),
            ),
        ];
        for (secret, root_ca, expected) in cases {
            assert_eq!(lacks(&secret, root_ca), expected, "{secret:?}");
        }
        assert!(is_for(&secret("a1", json!({})), &account));
        assert!(is_for(&secret("", json!({})), &account));
        assert!(!is_for(&secret("a0", json!({})), &account));
    }
}
