//! The closed request and reply types between the HTTP server, or any other caller, and the
//! registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use kinds::{Tree, status::Status};

use crate::resource::ResourceRef;
use crate::size::{MAX_OBJECT_BYTES, TooLarge};

/// The client of a request, as authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User name, for example `system:serviceaccount:kube-system:drainer`.
    pub name: String,
    /// Uid, where the authenticator knows one.
    pub uid: String,
    /// Groups; `system:masters` may do everything.
    pub groups: Vec<String>,
    /// What else the authenticator, or an impersonation, says of the user. RBAC does not read it.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Returns the name of the node whose agent this user is: a user `system:node:NAME` in the
    /// group `system:nodes`. Neither alone makes a node.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        let is_node = self.groups.iter().any(|group| group == "system:nodes");
        is_node.then_some(name)
    }
}

/// One request, already routed, authenticated, authorized and decoded.
#[derive(Clone, Debug)]
pub struct Request {
    /// The user that the request is authorized for.
    pub user: Arc<User>,
    /// The row of the resource table, as the router found it.
    pub resource: ResourceRef,
    /// Name of one of the row's subresources, for example `eviction`; `None` for the object itself.
    pub subresource: Option<&'static str>,
    /// Namespace of the path; empty for cluster-scoped objects and for all namespaces.
    pub namespace: String,
    /// Name of the path; empty for collections.
    pub name: String,
    /// What to do.
    pub verb: Verb,
}

/// What a request does.
#[derive(Clone, Debug)]
pub enum Verb {
    /// Read one object. `resource_version` as given (empty: the latest).
    Get {
        /// As given; empty: the latest.
        resource_version: String,
    },
    /// Read a collection.
    List(ListOptions),
    /// Watch a collection.
    Watch(ListOptions),
    /// Create an object, or POST to a subresource (`eviction`, `binding`, `token`).
    Create {
        /// The body.
        body: RequestBody,
        /// Options of the query.
        options: WriteOptions,
    },
    /// Replace an object.
    Update {
        /// The body.
        body: RequestBody,
        /// Options of the query.
        options: WriteOptions,
    },
    /// Change an object.
    Patch {
        /// The patch language.
        kind: PatchKind,
        /// The patch as sent (JSON, or YAML for apply).
        patch: Bytes,
        /// Options of the query.
        options: WriteOptions,
    },
    /// Delete one object.
    Delete(DeleteRequest),
    /// Delete the objects that a list returns.
    DeleteCollection {
        /// The selection of objects.
        list: ListOptions,
        /// The options of each deletion.
        delete: DeleteRequest,
    },
}

/// A body as sent. The registry decodes it, because only the registry knows the expected kind.
#[derive(Clone, Debug)]
pub struct RequestBody {
    /// The bytes as sent.
    pub bytes: Bytes,
    /// Their encoding.
    pub form: BodyForm,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// The patch languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json` (RFC 6902)
    Json,
    /// `application/merge-patch+json` (RFC 7396)
    Merge,
    /// `application/strategic-merge-patch+json`
    Strategic,
    /// `application/apply-patch+yaml`
    Apply,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Values of `dryRun` as given; not empty means that nothing is stored.
    pub dry_run: Vec<String>,
    /// `fieldManager`, or what the server derives from the user agent.
    pub field_manager: String,
    /// `fieldValidation`.
    pub field_validation: FieldValidation,
    /// `force` of apply.
    pub force: Option<bool>,
    /// The resource version of the object for which an update or patch was authorized. Any other
    /// state gets 409. For writes whose authorization depends on the stored object.
    pub authorized_version: Option<String>,
}

/// The handling of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn (the default).
    #[default]
    Warn,
    /// Refuse with 400.
    Strict,
}

/// Options of list and watch, as given; the registry validates them.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// `labelSelector` as given.
    pub label_selector: String,
    /// `fieldSelector` as given.
    pub field_selector: String,
    /// `resourceVersion` as given.
    pub resource_version: String,
    /// `resourceVersionMatch` as given.
    pub resource_version_match: String,
    /// `limit`; 0 or less: no limit.
    pub limit: i64,
    /// `continue` as given.
    pub continue_token: String,
    /// `allowWatchBookmarks`
    pub allow_bookmarks: bool,
    /// `sendInitialEvents`
    pub send_initial_events: Option<bool>,
    /// `timeoutSeconds`
    pub timeout_seconds: Option<u64>,
}

/// The options of a delete. A body that is not empty overrides those of the query.
#[derive(Clone, Debug, Default)]
pub struct DeleteRequest {
    /// The body, if there was one that was not empty.
    pub body: Option<RequestBody>,
    /// Options of the query.
    pub query: DeleteOptions,
}

/// Options of delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`
    pub grace_period_seconds: Option<i64>,
    /// `preconditions.uid`
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`
    pub resource_version: Option<String>,
    /// `propagationPolicy` as given.
    pub propagation_policy: Option<String>,
    /// `orphanDependents`
    pub orphan_dependents: Option<bool>,
    /// Values of `dryRun` as given.
    pub dry_run: Vec<String>,
}

/// The answer to a request that was not refused.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives per request, and is taken apart at once"
)]
pub enum Reply {
    /// One object: its JSON in the requested version, without a trailing newline.
    Object {
        /// 200, 201 or 202.
        code: u16,
        /// The object's JSON.
        json: Bytes,
        /// Warnings for the client, without the `299 - ` frame.
        warnings: Vec<String>,
    },
    /// A list: the items' stored bytes, ready to be concatenated.
    List {
        /// Kind of the list, for example `PodList`.
        kind: String,
        /// `apiVersion` of the list.
        api_version: String,
        /// Metadata of the list.
        metadata: kinds::status::ListMeta,
        /// Each item's JSON.
        items: Vec<Bytes>,
    },
    /// A watch. The stream ends at the timeout of the watch, or when the store closes.
    Watch(BoxStream<'static, WatchEvent>),
    /// A `Status` that reports success (a deletion, an eviction).
    Status {
        /// The answer.
        status: Status,
        /// HTTP code (the body may leave it out).
        code: u16,
        /// Warnings for the client.
        warnings: Vec<String>,
    },
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: &'static str,
    /// The object's JSON, shared among watchers; for `ERROR` a `Status`.
    pub json: Bytes,
}

/// The refusal of a request, with the warnings about its body.
#[derive(Debug, thiserror::Error)]
#[error("{}", status.message)]
pub struct Refusal {
    /// The answer for the client.
    pub status: Box<Status>,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

impl From<TooLarge> for Refusal {
    fn from(_: TooLarge) -> Self {
        Status::request_too_large(MAX_OBJECT_BYTES).into()
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self {
            status: Box::new(status),
            warnings: Vec::new(),
        }
    }
}

/// A decoded object with the warnings of its decoding.
#[derive(Clone, Debug)]
pub struct DecodedObject {
    /// The object.
    pub tree: Tree,
    /// Unknown and duplicate fields, each as a message for the client (`unknown field "spec.x"`).
    pub warnings: Vec<String>,
}
