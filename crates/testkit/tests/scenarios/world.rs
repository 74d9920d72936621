//! The cluster of a scenario, and operations on objects of any kind.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Context as _;
use kube::api::{DeleteParams, DynamicObject, EvictParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::TestCluster;

/// The limit of every wait, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

/// An object: `kind/name` in the namespace `default`, or `namespace/kind/name`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Target {
    pub(crate) namespace: String,
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (namespace, kind, name) = match parts.as_slice() {
            [kind, name] => ("default", *kind, *name),
            [namespace, kind, name] => (*namespace, *kind, *name),
            _ => return Err(format!("{text:?} is not kind/name or namespace/kind/name")),
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }
}

pub(crate) struct World {
    pub(crate) cluster: TestCluster,
}

impl World {
    pub(crate) async fn start(
        nodes: usize,
        controllers: bool,
        events: bool,
    ) -> anyhow::Result<Self> {
        let builder = TestCluster::builder().nodes(nodes);
        let builder = if events {
            builder.eviction_hints()
        } else {
            builder
        };
        let builder = if controllers {
            builder
        } else {
            builder.without_controllers()
        };
        Ok(Self {
            cluster: builder.start().await?,
        })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.cluster.stop().await
    }

    pub(crate) fn client(&self) -> Client {
        self.cluster.client()
    }

    /// Returns a client of a user without any rights except those of RBAC.
    pub(crate) fn client_of(&self, user: &str) -> Client {
        let groups = vec!["system:authenticated".to_owned()];
        self.cluster.client_as(registry::request::User {
            name: user.to_owned(),
            groups,
            ..Default::default()
        })
    }

    pub(crate) async fn create(&self, object: &Value) -> anyhow::Result<()> {
        let meta = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = meta["namespace"].as_str().unwrap_or("default").to_owned();
        let target = Target {
            namespace,
            kind: text(&object["kind"]),
            name: text(&meta["name"]),
        };
        let api = self
            .api(&target)
            .or_else(|_| self.custom(&target, &text(&object["apiVersion"])))?;
        let whole: DynamicObject = serde_json::from_value(object.clone())?;
        // Pods need the default service account, which a controller creates after the namespace.
        let made = async || match api.create(&PostParams::default(), &whole).await {
            Ok(_) => Ok(Some(())),
            Err(kube::Error::Api(status)) if status.message.contains("serviceaccount") => Ok(None),
            Err(error) => Err(error.into()),
        };
        self.cluster
            .wait_for(PATIENCE, made)
            .await
            .with_context(|| format!("creating {target:?}"))?;
        match &object["status"] {
            Value::Null => Ok(()),
            status => self.patch(&target, &json!({"status": status}), true).await,
        }
    }

    pub(crate) async fn patch(
        &self,
        target: &Target,
        change: &Value,
        status: bool,
    ) -> anyhow::Result<()> {
        let (api, how, change) = (
            self.api(target)?,
            PatchParams::default(),
            Patch::Merge(change),
        );
        match status {
            true => api.patch_status(&target.name, &how, &change).await?,
            false => api.patch(&target.name, &how, &change).await?,
        };
        Ok(())
    }

    pub(crate) async fn delete(&self, target: &Target) -> anyhow::Result<()> {
        self.api(target)?
            .delete(&target.name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Waits until the member at `path` (a JSON pointer) is `value`. A missing member or object is
    /// null.
    pub(crate) async fn wait(
        &self,
        target: &Target,
        path: &str,
        value: &Value,
    ) -> anyhow::Result<()> {
        let api = self.api(target)?;
        let last = RefCell::new(Value::Null);
        let look = async || {
            let found = serde_json::to_value(api.get_opt(&target.name).await?)?;
            let member = found.pointer(path).cloned().unwrap_or_default();
            let met = member == *value;
            last.replace(member);
            Ok(met.then_some(()))
        };
        let waited = self.cluster.wait_for(PATIENCE, look).await;
        waited.with_context(|| format!("{path} of {target:?} is {}", last.borrow()))
    }

    /// Evicts a pod; returns the response as a line.
    pub(crate) async fn evict(&self, target: &Target) -> anyhow::Result<String> {
        let api =
            Api::<k8s_openapi::api::core::v1::Pod>::namespaced(self.client(), &target.namespace);
        let answer = match api.evict(&target.name, &EvictParams::default()).await {
            Ok(_) => "201".to_owned(),
            Err(kube::Error::Api(status)) => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                causes.fold(
                    format!("{} {}", status.code, status.message),
                    |text, cause| format!("{text}\n  {}", cause.message),
                )
            }
            Err(error) => return Err(error.into()),
        };
        Ok(format!("$ evict {}\n{answer}", target.name))
    }

    /// Returns the resource of a custom kind of the scenario, with the usual plural.
    fn custom(&self, target: &Target, api_version: &str) -> anyhow::Result<Api<DynamicObject>> {
        let (group, version) = api_version
            .split_once('/')
            .context("a group and a version")?;
        let kind = kube::core::GroupVersionKind::gvk(group, version, &target.kind);
        Ok(Api::namespaced_with(
            self.client(),
            &target.namespace,
            &ApiResource::from_gvk(&kind),
        ))
    }

    fn api(&self, target: &Target) -> anyhow::Result<Api<DynamicObject>> {
        let wanted = target.kind.to_lowercase();
        let called = |resource: &&kinds::facts::Resource| {
            let names = [
                resource.kind.to_lowercase(),
                resource.plural.to_string(),
                resource.singular.to_string(),
            ];
            names.contains(&wanted) || resource.short_names.iter().any(|name| *name == *wanted)
        };
        let resource = kinds::resources()
            .iter()
            .find(called)
            .with_context(|| format!("unknown kind {wanted:?}"))?;
        let version = if resource.group.is_empty() {
            resource.version.to_string()
        } else {
            format!("{}/{}", resource.group, resource.version)
        };
        let reached = ApiResource {
            group: resource.group.to_string(),
            version: resource.version.to_string(),
            api_version: version,
            kind: resource.kind.to_string(),
            plural: resource.plural.to_string(),
        };
        Ok(match resource.namespaced {
            true => Api::namespaced_with(self.client(), &target.namespace, &reached),
            false => Api::all_with(self.client(), &reached),
        })
    }
}
