//! What a request is about: the row of the resource table, the place in the store, and who asks.
//!
//! Keys are `{plural}.{group}/{namespace}/{name}` (`{plural}/...` in the core group, and without
//! the namespace for cluster-scoped kinds), so that the collection of a kind is the first segment
//! and a namespace is a prefix of it.

use jiff::Timestamp;
use kinds::facts::Resource;
use kinds::status::Status;

use crate::request::{Refusal, User};
use crate::strategy::{self, Rules};
use crate::{convert, custom};

/// What one request is about.
#[derive(Clone)]
pub(crate) struct Target {
    /// The row that was asked for: its version is what the client speaks.
    pub(crate) resource: &'static Resource,
    /// The row whose form is kept in the store; mostly the same.
    pub(crate) stored: &'static Resource,
    /// What is particular about the kind.
    pub(crate) rules: Rules,
    /// Empty for cluster-scoped kinds and for all namespaces.
    pub(crate) namespace: String,
    /// Empty for collections.
    pub(crate) name: String,
    /// Who asks.
    pub(crate) user: User,
    /// When.
    pub(crate) now: Timestamp,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.key())
    }
}

impl Target {
    /// The target of a request for a built-in kind; 404 when the table has no such row.
    pub(crate) fn find(
        group: &str,
        version: &str,
        plural: &str,
        user: User,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let resource =
            kinds::resource(group, version, plural).ok_or_else(Status::no_such_resource)?;
        Ok(Self::of(resource, user, now))
    }

    /// The target of a request for a row that was found already.
    pub(crate) fn of(resource: &'static Resource, user: User, now: Timestamp) -> Self {
        let stored = convert::stored(resource);
        // Versions of a custom kind differ in nothing but their schemas, and each is judged by its
        // own; the newer group of events is stricter than the one in whose form they are kept.
        let by_asked = custom::of(resource).is_some() || resource.group == "events.k8s.io";
        let rules = strategy::of(if by_asked { resource } else { stored });
        Self {
            resource,
            stored,
            rules,
            namespace: String::new(),
            name: String::new(),
            user,
            now,
        }
    }

    /// The same for a place in it.
    pub(crate) fn at(self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            ..self
        }
    }

    /// The key of the object.
    pub(crate) fn key(&self) -> String {
        key(self.stored, &self.namespace, &self.name)
    }

    /// The keys of the collection: all that begin with this.
    pub(crate) fn prefix(&self) -> String {
        prefix(self.stored, &self.namespace)
    }

    /// 404 for the object.
    pub(crate) fn not_found(&self) -> Refusal {
        Status::not_found(self.resource.group_resource(), &self.name).into()
    }

    /// 409 of optimistic concurrency.
    pub(crate) fn modified(&self) -> Refusal {
        Status::modified(self.resource.group_resource(), &self.name).into()
    }

    /// 409 of an object that was replaced by another of its name.
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

/// The first segment of a kind's keys.
pub(crate) fn collection(resource: &Resource) -> String {
    if resource.group.is_empty() {
        resource.plural.to_owned()
    } else {
        format!("{}.{}", resource.plural, resource.group)
    }
}

/// The key of one object.
pub(crate) fn key(resource: &Resource, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{}/{name}", collection(resource))
    } else {
        format!("{}/{namespace}/{name}", collection(resource))
    }
}

/// What all keys of a namespace, or of the whole collection, begin with.
pub(crate) fn prefix(resource: &Resource, namespace: &str) -> String {
    if namespace.is_empty() {
        format!("{}/", collection(resource))
    } else {
        format!("{}/{namespace}/", collection(resource))
    }
}

/// Key of a core object that admission looks up.
pub(crate) fn core_key(plural: &str, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{plural}/{name}")
    } else {
        format!("{plural}/{namespace}/{name}")
    }
}

/// Namespace and name of a key.
pub(crate) fn place(key: &str) -> (&str, &str) {
    let rest = key.split_once('/').map_or("", |(_, rest)| rest);
    rest.split_once('/').unwrap_or(("", rest))
}
