//! What every namespace gets: the service account `default`, and the config map that says whom to
//! trust. Both come back when they are deleted, and the map is mended when it was changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::caches::{Cache, Caches, ROOT_CA_MAP};
use crate::context::Context;
use crate::error::{Error, code, namespace_terminates, unless_gone};
use crate::meta::Key;
use crate::queue::{Outcome, Queue};

const WORKERS: usize = 4;
const ACCOUNT: &str = "default";
const CERTIFICATE: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal \
    service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

struct Controller {
    context: Context,
    namespaces: Arc<Cache<Namespace>>,
    accounts: Arc<Cache<ServiceAccount>>,
    maps: Arc<Cache<ConfigMap>>,
}

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    caches.namespaces.subscribe(move |change| {
        if change.old.is_none() {
            wake.add(Key::of(change.latest()));
        }
    });
    let wake = queue.clone();
    caches.accounts.subscribe(move |change| {
        if change.new.is_none() {
            wake.add(Key::new(
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
    caches.root_ca_maps.subscribe(move |change| {
        wake.add(Key::new(
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
        namespaces: Arc::clone(&caches.namespaces.cache),
        accounts: Arc::clone(&caches.accounts.cache),
        maps: Arc::clone(&caches.root_ca_maps.cache),
    });
    let synced = vec![
        caches.namespaces.cache.synced(),
        caches.accounts.cache.synced(),
        caches.root_ca_maps.cache.synced(),
    ];
    context.work("namespace defaults", queue, WORKERS, synced, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key.name).await }
    });
}

/// Made by somebody else meanwhile, or not wanted any more: both are as good as made.
fn unless_settled<T>(result: Result<T, kube::Error>) -> Result<(), Error> {
    match result {
        Err(error)
            if code(&error) != 409 && code(&error) != 404 && !namespace_terminates(&error) =>
        {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

impl Controller {
    async fn reconcile(&self, namespace: &str) -> Result<Outcome, Error> {
        let alive = self
            .namespaces
            .find("", namespace)
            .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none());
        if !alive {
            return Ok(Outcome::Done);
        }
        if self.accounts.find(namespace, ACCOUNT).is_none() {
            let account = ServiceAccount {
                metadata: named(namespace, ACCOUNT),
                ..ServiceAccount::default()
            };
            unless_settled(
                self.context
                    .namespaced::<ServiceAccount>(namespace)
                    .create(&PostParams::default(), &account)
                    .await,
            )?;
        }
        if !self.context.options.root_ca.is_empty() {
            self.tell_root_ca(namespace).await?;
        }
        Ok(Outcome::Done)
    }

    async fn tell_root_ca(&self, namespace: &str) -> Result<(), Error> {
        let data = BTreeMap::from([(CERTIFICATE.to_owned(), self.context.options.root_ca.clone())]);
        let notes = BTreeMap::from([(
            "kubernetes.io/description".to_owned(),
            DESCRIPTION.to_owned(),
        )]);
        let api = self.context.namespaced::<ConfigMap>(namespace);
        match self.maps.find(namespace, ROOT_CA_MAP) {
            None => {
                let metadata = ObjectMeta {
                    annotations: Some(notes),
                    ..named(namespace, ROOT_CA_MAP)
                };
                let map = ConfigMap {
                    metadata,
                    data: Some(data),
                    ..ConfigMap::default()
                };
                unless_settled(api.create(&PostParams::default(), &map).await)
            }
            Some(map) if map.data.as_ref() != Some(&data) => {
                let mended = ConfigMap {
                    data: Some(data),
                    metadata: ObjectMeta {
                        annotations: Some(notes),
                        ..map.metadata.clone()
                    },
                    ..ConfigMap::default()
                };
                unless_gone(
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
