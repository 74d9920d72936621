//! `pods/binding` and `bindings`: a scheduler assigns a pod to a node, once.

use kinds::Tree;
use kinds::status::{GroupResource, Status};
use kinds::tree::json;
use store::Txn;

use crate::body::{self, ExpectedKind};
use crate::request::{Refusal, Reply, RequestBody, WriteOptions};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::{Registry, admission, create, object, options, record, tree};

impl Registry {
    /// Binds a pod to a node. `target` has the name of the pod, or no name for POST to `bindings`.
    pub(crate) async fn bind(
        &self,
        target: Target,
        body: RequestBody,
        write: WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(&write, "CreateOptions")?;
        admission::node_restriction::bind(&target)?;
        let kind =
            ResourceRef::built_in("", "v1", "bindings").ok_or_else(Status::no_such_resource)?;
        let decoded = body::decode(&body, ExpectedKind::of(&kind), write.field_validation)?;
        let mut binding = decoded.tree;
        create::check_place(&target, &mut binding)?;
        let name = object::meta_text(&binding, "name").to_owned();
        if !target.name.is_empty() && target.name != name {
            return Err(
                Status::bad_request("name in URL does not match name in Binding object").into(),
            );
        }
        check_target(&binding)?;
        let pods = target.for_core("pods")?.at(target.namespace, name);
        self.commit_or_dry_run(dry_run, |txn| {
            admission::namespace::check(txn, &pods)?;
            bind_in(txn, &pods, &binding)
        })
        .await?;
        Ok(Reply::Status {
            status: Status::success(201),
            code: 201,
            warnings: decoded.warnings,
        })
    }
}

fn check_target(binding: &Tree) -> Result<(), Refusal> {
    let kind = tree::text(binding, &["target", "kind"]);
    let fault = if !kind.is_empty() && kind != "Node" {
        format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\"")
    } else if tree::text(binding, &["target", "name"]).is_empty() {
        "target.name: Required value".to_owned()
    } else {
        return Ok(());
    };
    Err(Status::untyped(fault).into())
}

fn bind_in(txn: &mut Txn, target: &Target, binding: &Tree) -> Result<(), Refusal> {
    let found = txn.get(&target.key()).ok_or_else(|| target.not_found())?;
    let before = record::tree_of(&target.trees, &target.stored, &found);
    let mut pod = before.clone();
    check_pod(target, &pod, binding)?;
    let node = tree::text(binding, &["target", "name"]);
    tree::put(&mut pod, &["spec", "nodeName"], node);
    for part in ["annotations", "labels"] {
        for (key, value) in tree::entries(binding, &["metadata", part]) {
            tree::put(&mut pod, &["metadata", part, key], value.clone());
        }
    }
    tree::take(&mut pod, &["status", "nominatedNodeName"]);
    set_scheduled(&mut pod, target);
    record::replace(
        txn,
        &target.trees,
        &target.stored,
        &found.key,
        pod,
        Some(record::written(&before, &found)),
    );
    Ok(())
}

fn check_pod(target: &Target, pod: &Tree, binding: &Tree) -> Result<(), Refusal> {
    let name = &target.name;
    let conflict = |why: String| -> Refusal {
        Status::conflict(
            GroupResource {
                group: "",
                resource: "pods/binding",
            },
            name,
            why,
        )
        .into()
    };
    let uid = object::meta_text(binding, "uid");
    if !uid.is_empty() && uid != object::meta_text(pod, "uid") {
        return Err(target.replaced(uid, object::meta_text(pod, "uid")));
    }
    if object::terminating(pod) {
        return Err(conflict(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        )));
    }
    let node = tree::text(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return Err(conflict(format!(
            "pod {name} is already assigned to node {node:?}"
        )));
    }
    if !tree::list(pod, &["spec", "schedulingGates"]).is_empty() {
        return Err(conflict(format!(
            "pod {name} has non-empty .spec.schedulingGates"
        )));
    }
    Ok(())
}

fn set_scheduled(pod: &mut Tree, target: &Target) {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": object::wire_time(target.now),
    });
    let conditions = tree::ensure(pod, &["status"])
        .entry("conditions")
        .or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else {
        return;
    };
    rules::conditions::set(list, condition);
}
