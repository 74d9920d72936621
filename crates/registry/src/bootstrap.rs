//! The objects that exist before the first request: the system's namespaces, the two system
//! priority classes, the range of service addresses, and the service under which pods reach the
//! API.

use futures::future::BoxFuture;
use kinds::Tree;
use kinds::status::Status;
use kinds::tree::json;
use std::sync::Arc;
use store::{Revision, Txn};

use crate::request::{Refusal, User, WriteOptions};
use crate::target::Target;
use crate::{Registry, managers, object, service, tree};

/// The user name under which the server creates its own objects.
const SYSTEM_USER: &str = "system:apiserver";
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
/// The priority classes by name, value and description.
const PRIORITY_CLASSES: &[(&str, i64, &str)] = &[
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

impl Registry {
    /// Creates the objects that every cluster has and this one lacks. Existing objects stay as they
    /// are, so that it may run at every start.
    ///
    /// # Errors
    ///
    /// The refusal of the first object that cannot be created; then none is.
    pub fn bootstrap(&self) -> BoxFuture<'_, Result<(), Refusal>> {
        // Boxed for the reason given in `Registry::call`.
        Box::pin(async {
            let is_new = self.store().revision() <= Revision(1);
            // One commit is one sync on disk, which keeps the start fast.
            self.commit(|txn| {
                self.ensure_all(txn)?;
                service::repair(self, txn, &self.system_target("", "services")?);
                Ok(())
            })
            .await?;
            if is_new {
                self.begin_to_serve();
            }
            Ok(())
        })
    }

    /// Creates what is missing, inside a commit.
    pub(crate) fn ensure_all(&self, txn: &mut Txn) -> Result<(), Refusal> {
        for wanted in wanted(self.options().service_network) {
            self.ensure_in(txn, &wanted)?;
        }
        Ok(())
    }

    /// Returns the target of a write by the server itself, as yet without namespace and name.
    pub(crate) fn system_target(&self, group: &str, plural: &str) -> Result<Target, Refusal> {
        let user = User {
            name: SYSTEM_USER.to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..User::default()
        };
        let resource = kinds::resource(group, "v1", plural).ok_or_else(Status::no_such_resource)?;
        Ok(self.target(resource.into(), Arc::new(user)))
    }

    fn ensure_in(&self, txn: &mut Txn, wanted: &InitialObject) -> Result<(), Refusal> {
        let name = object::meta_text(&wanted.object, "name");
        let target = self
            .system_target(wanted.group, wanted.plural)?
            .at(wanted.namespace, name);
        if txn.get(&target.key()).is_some() {
            return Ok(());
        }
        let mut draft_object = wanted.object.clone();
        if let Tree::Object(members) = &mut draft_object {
            members.insert("kind", target.resource.kind.as_str().into());
            members.insert("apiVersion", target.resource.api_version().into());
        }
        let write = WriteOptions {
            field_manager: managers::SERVER.to_owned(),
            ..WriteOptions::default()
        };
        let own = |object: &mut Tree| managers::created(object, &target, &write);
        // Validation would refuse the names that are reserved for the system.
        let mut draft = self.unchecked_draft(txn, &target, draft_object, own)?;
        if wanted.plural == "servicecidrs" {
            let status = ready_range(&object::wire_time(target.now));
            tree::put(&mut draft.object, &["status"], status);
        }
        self.store_draft(txn, &target, &draft).map(|_| ())
    }
}

/// The status of the range that every cluster has, which the server itself makes ready, so that
/// services get addresses without a controller.
fn ready_range(now: &str) -> Tree {
    json!({"conditions": [{"type": "Ready", "status": "True", "reason": "",
        "message": "Kubernetes default Service CIDR is ready", "lastTransitionTime": now}]})
}

/// An object that every cluster has.
struct InitialObject {
    group: &'static str,
    plural: &'static str,
    namespace: &'static str,
    object: Tree,
}

/// Lists the objects, each after those that it needs.
fn wanted(service_network: [u8; 2]) -> Vec<InitialObject> {
    let mut wanted: Vec<InitialObject> = NAMESPACES
        .iter()
        .map(|name| InitialObject {
            group: "",
            plural: "namespaces",
            namespace: "",
            object: json!({"metadata": {"name": name}}),
        })
        .collect();
    wanted.extend(PRIORITY_CLASSES.iter().map(|(name, value, description)| InitialObject {
        group: "scheduling.k8s.io",
        plural: "priorityclasses",
        namespace: "",
        object: json!({"metadata": {"name": name}, "value": value, "description": description}),
    }));
    let [one, two] = service_network;
    wanted.push(InitialObject {
        group: "networking.k8s.io",
        plural: "servicecidrs",
        namespace: "",
        object: json!({"metadata": {"name": "kubernetes"},
            "spec": {"cidrs": [format!("{one}.{two}.0.0/16")]}}),
    });
    let service = json!({
        "metadata": {"name": "kubernetes",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": format!("{one}.{two}.0.1"),
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
        },
    });
    wanted.push(InitialObject {
        group: "",
        plural: "services",
        namespace: "default",
        object: service,
    });
    wanted
}
