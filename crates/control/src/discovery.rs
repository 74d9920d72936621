//! Discovery: which resource serves a kind. Responses are cached.
//!
//! An unknown kind is looked up again after a moment, so that custom resources are found soon after
//! their definition is created.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use kinds::path::{is_api_version, segment};
use kube::Client;
use kube::discovery::ApiResource;
use tokio::time::Instant;

use crate::error::{ReconcileError, code};
use crate::meta::group_of;

/// The pause before the server is asked again for an unknown kind.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A resource that serves a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServedResource {
    pub(crate) api_version: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Whether it has a `scale` subresource of a known version.
    pub(crate) scalable: bool,
}

impl ServedResource {
    /// The resource as error messages name it.
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
            format!("/namespaces/{}", segment(namespace))
        } else {
            String::new()
        };
        let name = segment(name);
        format!("/{root}/{}{scope}/{}/{name}", self.api_version, self.plural)
    }
}

/// The resources by group and version, and when they were requested.
type DiscoveryCache = HashMap<String, (Arc<APIResourceList>, Instant)>;

/// The resources of the server, as far as they were requested.
#[derive(Clone)]
pub(crate) struct Discovery {
    client: Client,
    known: Arc<Mutex<DiscoveryCache>>,
}

impl Discovery {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            known: Arc::default(),
        }
    }

    /// Returns the resource that serves this kind.
    ///
    /// # Errors
    /// No resource serves the kind (`no matches for kind …`), or the server cannot be asked.
    pub(crate) async fn resource(
        &self,
        api_version: &str,
        kind: &str,
    ) -> Result<ServedResource, ReconcileError> {
        // References name any text, and this one becomes part of a path.
        if !is_api_version(api_version) {
            return Err(no_match(api_version, kind));
        }
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
            if asked.elapsed() < RETRY_PAUSE {
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

/// Returns all resources that can be listed, watched and deleted, each in the version that the
/// server prefers.
///
/// # Errors
/// The server cannot be asked.
pub(crate) async fn deletable(client: &Client) -> Result<Vec<DeletableResource>, kube::Error> {
    let discovery = match kube::Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // Servers before 1.26 do not support aggregated discovery.
        Err(_) => kube::Discovery::new(client.clone()).run().await?,
    };
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let can = |verb: &str| capabilities.supports_operation(verb);
            if can("delete") && can("list") && can("watch") {
                let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
                kinds.push(DeletableResource {
                    supports_delete_collection: can("deletecollection"),
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
pub(crate) struct DeletableResource {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) supports_delete_collection: bool,
}

fn no_match(api_version: &str, kind: &str) -> ReconcileError {
    ReconcileError::Plan(format!(
        "no matches for kind {kind:?} in version {api_version:?}"
    ))
}

fn pick(list: &APIResourceList, api_version: &str, kind: &str) -> Option<ServedResource> {
    let resource = list
        .resources
        .iter()
        .find(|resource| resource.kind == kind && !resource.name.contains('/'))?;
    let scale = format!("{}/scale", resource.name);
    let scalable = list
        .resources
        .iter()
        .any(|sub| sub.name == scale && is_known_scale(sub));
    Some(ServedResource {
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
