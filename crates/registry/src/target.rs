//! The object or collection that a request names, with the identity of the client and the time of
//! the request.

use std::sync::Arc;

use jiff::Timestamp;
use kinds::Tree;
use kinds::status::Status;

use crate::kind::Rules;
use crate::record::TreeCache;
use crate::request::{Refusal, User};
use crate::resource::ResourceRef;
use crate::{key, kind, schema};

/// The object or collection of one request, with its user and its time.
#[derive(Clone)]
pub(crate) struct Target {
    /// The row of the request, in whose version the client reads and writes.
    pub(crate) resource: ResourceRef,
    /// The row in whose version objects are stored; mostly the row of the request.
    pub(crate) stored: ResourceRef,
    /// The rules that judge the request.
    pub(crate) rules: Rules,
    /// Empty for cluster-scoped kinds and for all namespaces.
    pub(crate) namespace: String,
    /// Empty for collections.
    pub(crate) name: String,
    /// The client.
    pub(crate) user: Arc<User>,
    /// The time of the request.
    pub(crate) now: Timestamp,
    /// The trees of the registry's recent objects.
    pub(crate) trees: TreeCache,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.key())
    }
}

impl Target {
    /// Returns the target of a request for a resource, as yet without namespace and name.
    pub(crate) fn new(
        resource: ResourceRef,
        user: Arc<User>,
        now: Timestamp,
        trees: TreeCache,
    ) -> Self {
        Self {
            stored: resource.stored(),
            rules: kind::request_rules(&resource),
            resource,
            namespace: String::new(),
            name: String::new(),
            user,
            now,
            trees,
        }
    }

    /// Returns a target of another resource for the same user at the same time, as yet without
    /// namespace and name.
    pub(crate) fn for_resource(&self, resource: ResourceRef) -> Self {
        Self::new(resource, self.user.clone(), self.now, self.trees.clone())
    }

    /// Returns a target of a built-in resource of the core group, version v1, for the same user at
    /// the same time; 404 when the table has no such row.
    pub(crate) fn for_core(&self, plural: &str) -> Result<Self, Refusal> {
        let resource = kinds::resource("", "v1", plural).ok_or_else(Status::no_such_resource)?;
        Ok(self.for_resource(resource.into()))
    }

    /// Returns this target with a namespace and a name, each of which may be empty.
    pub(crate) fn at(self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            ..self
        }
    }

    /// Returns the key of the object.
    pub(crate) fn key(&self) -> String {
        key::of(&self.stored, &self.namespace, &self.name)
    }

    /// Returns the prefix of all keys of the collection.
    pub(crate) fn prefix(&self) -> String {
        key::prefix(&self.stored, &self.namespace)
    }

    /// Brings a custom object into the form in which upstream reads it back from its store: without
    /// fields that the stored version does not have, and with the defaults of that version, those
    /// of a status that a client could not set included.
    pub(crate) fn settle(&self, object: &mut Tree) {
        if let Some(version) = self.stored.custom() {
            schema::prune(object, &version.schema, &mut Vec::new());
            schema::default(object, &version.schema);
        }
    }

    /// Returns the 404 for the object.
    pub(crate) fn not_found(&self) -> Refusal {
        Status::not_found(self.resource.group_resource(), &self.name).into()
    }

    /// Returns the 409 for a resource version that is not the object's.
    pub(crate) fn modified(&self) -> Refusal {
        Status::modified(self.resource.group_resource(), &self.name).into()
    }

    /// Returns the 409 for a uid that is not the object's.
    pub(crate) fn replaced(&self, asked: &str, found: &str) -> Refusal {
        let place = if self.namespace.is_empty() {
            String::new()
        } else {
            format!("{}/", self.namespace)
        };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{place}{}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {asked}, UID in object meta: {found}",
            self.resource.plural, self.name
        );
        Status::conflict(self.resource.group_resource(), &self.name, why).into()
    }
}
