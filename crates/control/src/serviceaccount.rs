//! The defaults of every namespace: the service account `default` and the config map with the
//! cluster's certificate authority. Both are created again when they are deleted, and the config
//! map is corrected when it was changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, code, ignore_not_found, namespace_terminates};
use crate::informer::Cache;
use crate::informers::{Informers, ROOT_CA_MAP};
use crate::meta::ObjectKey;
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 4;
const ACCOUNT: &str = "default";
const CERTIFICATE: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver \
    when using internal endpoints such as the internal service IP or kubernetes.default.svc. No \
    other usage is guaranteed across distributions of Kubernetes clusters.";

struct Controller {
    context: ControllerContext,
    namespaces: Arc<Cache<Namespace>>,
    accounts: Arc<Cache<ServiceAccount>>,
    maps: Arc<Cache<ConfigMap>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let wake = queue.clone();
    informers.namespaces.subscribe(move |change| {
        if change.old.is_none() {
            wake.add(ObjectKey::of(change.latest()));
        }
    });
    let wake = queue.clone();
    informers.accounts.subscribe(move |change| {
        let is_default = change.latest().metadata.name.as_deref() == Some(ACCOUNT);
        if change.new.is_none() && is_default {
            wake.add(ObjectKey::new(
                "",
                change
                    .latest()
                    .metadata
                    .namespace
                    .clone()
                    .unwrap_or_default(),
            ));
        }
    });
    let wake = queue.clone();
    informers.root_ca_maps.subscribe(move |change| {
        wake.add(ObjectKey::new(
            "",
            change
                .latest()
                .metadata
                .namespace
                .clone()
                .unwrap_or_default(),
        ));
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        namespaces: Arc::clone(&informers.namespaces.cache),
        accounts: Arc::clone(&informers.accounts.cache),
        maps: Arc::clone(&informers.root_ca_maps.cache),
    });
    let synced = vec![
        informers.namespaces.cache.synced(),
        informers.accounts.cache.synced(),
        informers.root_ca_maps.cache.synced(),
    ];
    context.run("namespace defaults", queue, WORKERS, synced, controller);
}

/// Ignores errors of objects that exist already or are no longer wanted.
fn ignore_settled<T>(result: Result<T, kube::Error>) -> Result<(), ReconcileError> {
    match result {
        Err(error)
            if code(&error) != 409 && code(&error) != 404 && !namespace_terminates(&error) =>
        {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let namespace = key.name.as_str();
        let alive = self
            .namespaces
            .find("", namespace)
            .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none());
        if !alive {
            return Ok(Requeue::OnChange);
        }
        if self.accounts.find(namespace, ACCOUNT).is_none() {
            let account = ServiceAccount {
                metadata: named(namespace, ACCOUNT),
                ..ServiceAccount::default()
            };
            ignore_settled(
                self.context
                    .namespaced::<ServiceAccount>(namespace)
                    .create(&PostParams::default(), &account)
                    .await,
            )?;
        }
        if !self.context.options.root_ca.is_empty() {
            self.publish_root_ca(namespace).await?;
        }
        Ok(Requeue::OnChange)
    }
}

impl Controller {
    async fn publish_root_ca(&self, namespace: &str) -> Result<(), ReconcileError> {
        let data = BTreeMap::from([(CERTIFICATE.to_owned(), self.context.options.root_ca.clone())]);
        let annotations = BTreeMap::from([(
            "kubernetes.io/description".to_owned(),
            DESCRIPTION.to_owned(),
        )]);
        let api = self.context.namespaced::<ConfigMap>(namespace);
        match self.maps.find(namespace, ROOT_CA_MAP) {
            None => {
                let metadata = ObjectMeta {
                    annotations: Some(annotations),
                    ..named(namespace, ROOT_CA_MAP)
                };
                let map = ConfigMap {
                    metadata,
                    data: Some(data),
                    ..ConfigMap::default()
                };
                ignore_settled(api.create(&PostParams::default(), &map).await)
            }
            Some(map) if map.data.as_ref() != Some(&data) => {
                let mended = ConfigMap {
                    data: Some(data),
                    metadata: ObjectMeta {
                        annotations: Some(annotations),
                        ..map.metadata.clone()
                    },
                    ..ConfigMap::default()
                };
                ignore_not_found(
                    api.replace(ROOT_CA_MAP, &PostParams::default(), &mended)
                        .await,
                )?;
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    }
}
