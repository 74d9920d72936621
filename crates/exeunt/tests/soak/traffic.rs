//! Random traffic: concurrent clients that evict, delete, edit and scale.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clock::Entropy;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::promises::Promises;

/// Number of concurrent clients.
const CLIENTS: usize = 6;
/// The longest pause of a client between two requests.
const PAUSE_MILLIS: u64 = 60;
const APPS: [&str; 2] = ["web", "db"];

/// Creates the objects that the traffic changes, if they do not exist.
pub(crate) async fn prepare(client: &Client) {
    let template = |app: &str| {
        json!({"metadata": {"labels": {"app": app}}, "spec": {"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "nginx"}]}})
    };
    let spec = |app: &str, replicas: u32| {
        json!({
            "replicas": replicas,
            "serviceName": app,
            "selector": {"matchLabels": {"app": app}},
            "template": template(app),
        })
    };
    let mut web = spec("web", 12);
    web.as_object_mut().unwrap().remove("serviceName");
    ensure::<Deployment>(client, json!({"metadata": {"name": "web"}, "spec": web})).await;
    ensure::<StatefulSet>(
        client,
        json!({"metadata": {"name": "db"}, "spec": spec("db", 4)}),
    )
    .await;
    for app in APPS {
        let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": app}}});
        ensure::<PodDisruptionBudget>(client, json!({"metadata": {"name": app}, "spec": spec}))
            .await;
    }
    for number in 0..CLIENTS {
        ensure::<ConfigMap>(client, json!({"metadata": {"name": counter(number)}})).await;
    }
}

fn counter(number: usize) -> String {
    format!("counter-{number}")
}

async fn ensure<K>(client: &Client, object: Value)
where
    K: Resource<Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + DeserializeOwned,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(object).unwrap();
    match Api::<K>::default_namespaced(client.clone())
        .create(&PostParams::default(), &object)
        .await
    {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("{} cannot be made: {error}", object.name_any()),
    }
}

/// Returns the budgets whose status does not agree with their pods.
pub(crate) async fn wrong_budgets(client: &Client) -> Vec<String> {
    let pods = Api::<Pod>::default_namespaced(client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    let ready = |pod: &Pod| {
        let conditions = pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        pod.metadata.deletion_timestamp.is_none()
            && conditions
                .into_iter()
                .any(|found| found.type_ == "Ready" && found.status == "True")
    };
    let mut wrong = Vec::new();
    for budget in budgets {
        let name = budget.name_any();
        let healthy = pods
            .items
            .iter()
            .filter(|pod| pod.labels().get("app") == Some(&name) && ready(pod))
            .count();
        let status = budget.status.unwrap_or_default();
        let notes = status.disrupted_pods.map_or(0, |notes| notes.len());
        let observed = status.observed_generation == budget.metadata.generation;
        if status.current_healthy.map(i64::from) != i64::try_from(healthy).ok()
            || notes > 0
            || !observed
        {
            wrong.push(format!(
                "{name}: {:?} healthy, {notes} notes, observed {observed}; {healthy} are",
                status.current_healthy
            ));
        }
    }
    wrong
}

pub(crate) struct Traffic {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    random: Entropy,
    promises: Arc<Promises>,
    /// Clients start no new requests.
    stop: AtomicBool,
    /// The server is being killed: requests may fail.
    dying: AtomicBool,
    faults: Mutex<Vec<String>>,
}

impl Traffic {
    pub(crate) fn start(client: &Client, random: &Entropy, promises: &Arc<Promises>) -> Self {
        let shared = Arc::new(Shared {
            client: client.clone(),
            random: random.clone(),
            promises: Arc::clone(promises),
            stop: AtomicBool::new(false),
            dying: AtomicBool::new(false),
            faults: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(Arc::clone(&shared).run(number));
        }
        Self { clients, shared }
    }

    /// From now on the server may exit at any time.
    pub(crate) fn expect_the_end(&self) {
        self.shared.dying.store(true, Ordering::SeqCst);
    }

    /// Fails if a request failed that must not fail.
    pub(crate) fn check(&self) {
        let faults = self.shared.faults.lock().unwrap();
        assert!(faults.is_empty(), "{faults:#?}");
    }

    pub(crate) async fn stop(mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.check();
    }
}

impl Shared {
    async fn run(self: Arc<Self>, number: usize) {
        while !self.stop.load(Ordering::SeqCst) {
            let done = self.act(number).await;
            match done {
                Ok(()) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 429) => {}
                Err(_) if self.dying.load(Ordering::SeqCst) => return,
                Err(error) => self
                    .faults
                    .lock()
                    .unwrap()
                    .push(format!("client {number}: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(self.random.below(PAUSE_MILLIS))).await;
        }
    }

    async fn act(&self, number: usize) -> Result<(), kube::Error> {
        let app = APPS[usize::try_from(self.random.below(2)).unwrap()];
        match self.random.below(20) {
            0..=8 => self.evict(app).await,
            9 => self.delete(app).await,
            10 | 11 => self.flip(app).await,
            12 => self.edit(app).await,
            13 => self.scale(app).await,
            // Events are kept for an hour, as upstream; here they would hide a leak.
            14 => self
                .api::<Event>()
                .delete_collection(&DeleteParams::default(), &ListParams::default())
                .await
                .map(drop),
            _ => self.count(number).await,
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::default_namespaced(self.client.clone())
    }

    async fn some_pod(&self, app: &str) -> Result<Option<(String, String)>, kube::Error> {
        let pods = self
            .api::<Pod>()
            .list(&ListParams::default().labels(&format!("app={app}")))
            .await?
            .items;
        let place = usize::try_from(self.random.below(pods.len() as u64)).unwrap();
        Ok(pods
            .get(place)
            .map(|pod| (pod.name_any(), pod.uid().unwrap_or_default())))
    }

    async fn evict(&self, app: &str) -> Result<(), kube::Error> {
        let Some((name, uid)) = self.some_pod(app).await? else {
            return Ok(());
        };
        let preconditions = Some(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        });
        let delete = DeleteParams {
            preconditions,
            ..DeleteParams::default()
        };
        let options = EvictParams {
            delete_options: Some(delete),
            ..EvictParams::default()
        };
        match self.api::<Pod>().evict(&name, &options).await {
            Ok(_) => self.promises.granted(&name, &uid),
            Err(kube::Error::Api(status)) if status.code == 429 => self.promises.refused(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn delete(&self, app: &str) -> Result<(), kube::Error> {
        let Some((name, _)) = self.some_pod(app).await? else {
            return Ok(());
        };
        self.api::<Pod>()
            .delete(&name, &DeleteParams::default())
            .await
            .map(drop)
    }

    async fn flip(&self, app: &str) -> Result<(), kube::Error> {
        let Some((name, _)) = self.some_pod(app).await? else {
            return Ok(());
        };
        let value = if self.random.below(2) == 0 {
            json!("true")
        } else {
            Value::Null
        };
        self.patch::<Pod>(
            &name,
            json!({"metadata": {"annotations": {"sim.exeunt.dev/never-ready": value}}}),
        )
        .await
    }

    async fn edit(&self, app: &str) -> Result<(), kube::Error> {
        let spec = match self.random.below(3) {
            0 => json!({"minAvailable": if app == "web" { 9 } else { 2 }, "maxUnavailable": null}),
            1 => json!({"minAvailable": null, "maxUnavailable": "10%"}),
            _ => json!({"minAvailable": null, "maxUnavailable": self.random.below(3)}),
        };
        self.patch::<PodDisruptionBudget>(app, json!({"spec": spec}))
            .await
    }

    async fn scale(&self, app: &str) -> Result<(), kube::Error> {
        let change = |replicas: u64| json!({"spec": {"replicas": replicas}});
        if app == "web" {
            self.patch::<Deployment>(app, change(6 + self.random.below(8)))
                .await
        } else {
            self.patch::<StatefulSet>(app, change(2 + self.random.below(4)))
                .await
        }
    }

    async fn count(&self, number: usize) -> Result<(), kube::Error> {
        let name = counter(number);
        let next = self.promises.next(&name);
        self.patch::<ConfigMap>(&name, json!({"data": {"number": next.to_string()}}))
            .await?;
        self.promises.written(&name, next);
        Ok(())
    }

    async fn patch<K>(&self, name: &str, change: Value) -> Result<(), kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        self.api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await
            .map(drop)
    }
}
