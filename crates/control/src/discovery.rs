//! Which resource serves a kind, asked of the API server and remembered.
//!
//! A kind that is not known is asked for again after a moment, so that custom kinds are seen soon
//! after they come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use kube::Client;
use kube::discovery::ApiResource;
use tokio::time::Instant;

use crate::error::{Error, code};
use crate::meta::group_of;

/// How soon the server is asked again for a kind that it did not know.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A resource that serves a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) api_version: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// It has a `scale` subresource of a known form.
    pub(crate) scalable: bool,
}

impl Served {
    /// The resource as errors name it.
    pub(crate) fn group_resource(&self) -> String {
        match group_of(&self.api_version) {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The path of one object.
    pub(crate) fn path(&self, namespace: &str, name: &str) -> String {
        let root = if self.api_version.contains('/') {
            "apis"
        } else {
            "api"
        };
        let scope = if self.namespaced {
            format!("/namespaces/{namespace}")
        } else {
            String::new()
        };
        format!("/{root}/{}{scope}/{}/{name}", self.api_version, self.plural)
    }
}

/// The resources of each group and version, and when they were asked for.
type Known = HashMap<String, (Arc<APIResourceList>, Instant)>;

/// What the server serves, as far as it was asked.
#[derive(Clone)]
pub(crate) struct Discovery {
    client: Client,
    known: Arc<Mutex<Known>>,
}

impl Discovery {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            known: Arc::default(),
        }
    }

    /// The resource that serves this kind.
    ///
    /// # Errors
    /// When there is none (`no matches for kind …`), or the server cannot be asked.
    pub(crate) async fn resource(&self, api_version: &str, kind: &str) -> Result<Served, Error> {
        let remembered = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(api_version)
            .cloned();
        if let Some((list, asked)) = remembered {
            if let Some(served) = pick(&list, api_version, kind) {
                return Ok(served);
            }
            if asked.elapsed() < ASK_AGAIN {
                return Err(no_match(api_version, kind));
            }
        }
        let asked = if group_of(api_version).is_empty() {
            self.client.list_core_api_resources(api_version).await
        } else {
            self.client.list_api_group_resources(api_version).await
        };
        let list = match asked {
            Ok(list) => Arc::new(list),
            Err(error) if code(&error) == 404 => return Err(no_match(api_version, kind)),
            Err(error) => return Err(error.into()),
        };
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(api_version.to_owned(), (Arc::clone(&list), Instant::now()));
        pick(&list, api_version, kind).ok_or_else(|| no_match(api_version, kind))
    }
}

/// All resources that can be listed, watched and deleted, each in the version that the server
/// prefers.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn deletable(client: &Client) -> Result<Vec<Kind>, kube::Error> {
    let discovery = match kube::Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // An older server, or one that does not know the aggregated form.
        Err(_) => kube::Discovery::new(client.clone()).run().await?,
    };
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let can = |verb: &str| capabilities.supports_operation(verb);
            if can("delete") && can("list") && can("watch") {
                let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
                kinds.push(Kind {
                    deletable_together: can("deletecollection"),
                    namespaced,
                    resource,
                });
            }
        }
    }
    Ok(kinds)
}

/// A resource whose objects can be deleted.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) deletable_together: bool,
}

fn no_match(api_version: &str, kind: &str) -> Error {
    Error::Plan(format!(
        "no matches for kind {kind:?} in version {api_version:?}"
    ))
}

fn pick(list: &APIResourceList, api_version: &str, kind: &str) -> Option<Served> {
    let resource = list
        .resources
        .iter()
        .find(|resource| resource.kind == kind && !resource.name.contains('/'))?;
    let scale = format!("{}/scale", resource.name);
    let scalable = list
        .resources
        .iter()
        .any(|sub| sub.name == scale && is_known_scale(sub));
    Some(Served {
        api_version: api_version.to_owned(),
        plural: resource.name.clone(),
        namespaced: resource.namespaced,
        scalable,
    })
}

fn is_known_scale(sub: &APIResource) -> bool {
    sub.kind == "Scale"
        && matches!(
            (
                sub.group.as_deref().unwrap_or_default(),
                sub.version.as_deref().unwrap_or_default()
            ),
            ("autoscaling", "v1") | ("extensions" | "apps", "v1beta1") | ("apps", "v1beta2")
        )
}
