//! What is there before the first request: the system's namespaces, the two system priority
//! classes, and the service under which the API itself is found.

use kinds::Tree;
use serde_json::{Value, json};

use crate::Registry;
use crate::request::{Refusal, User, WriteOptions};
use crate::target::Target;

/// The user on whose behalf the server makes its own objects.
const SYSTEM_USER: &str = "system:apiserver";
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

impl Registry {
    /// Makes what every cluster has and this one lacks. Safe to run again.
    ///
    /// # Errors
    ///
    /// The refusal of the first object that could not be made.
    pub async fn bootstrap(&self) -> Result<(), Refusal> {
        for name in NAMESPACES {
            self.ensure("", "namespaces", "", json!({"metadata": {"name": name}})).await?;
        }
        for (name, value, description) in [
            ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
            (
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
            ),
        ] {
            let class = json!({"metadata": {"name": name}, "value": value, "description": description});
            self.ensure("scheduling.k8s.io", "priorityclasses", "", class).await?;
        }
        let [one, two] = self.options().service_network;
        let service = json!({
            "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "clusterIP": format!("{one}.{two}.0.1"),
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
            },
        });
        self.ensure("", "services", "default", service).await
    }

    async fn ensure(&self, group: &str, plural: &str, namespace: &str, mut object: Tree) -> Result<(), Refusal> {
        let user = User { name: SYSTEM_USER.to_owned(), uid: String::new(), groups: vec!["system:masters".to_owned()] };
        let name = crate::object::meta_text(&object, "name").to_owned();
        let target = Target::find(group, "v1", plural, user, self.clock().now())?.at(namespace, name);
        if self.store().get(&target.key()).is_some() {
            return Ok(());
        }
        if let Value::Object(members) = &mut object {
            members.insert("kind".to_owned(), target.resource.kind.into());
            members.insert("apiVersion".to_owned(), target.resource.api_version().into());
        }
        let write = WriteOptions { field_manager: "exeunt".to_owned(), ..WriteOptions::default() };
        let own = |object: &mut Tree| crate::managers::created(object, &target, &write);
        // The rules would refuse names that only the system may use, so they are not asked.
        let draft = self.unchecked_draft(&self.store().snapshot(), &target, object, own)?;
        let made = self.commit(|txn| self.store_draft(txn, &target, &draft)).await;
        match made {
            Err(refusal) if refusal.status.reason != "AlreadyExists" => Err(refusal),
            _ => Ok(()),
        }
    }
}
