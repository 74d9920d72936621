//! Checks of namespaces (NamespaceLifecycle). Objects cannot be created in a missing or terminating
//! namespace, and the system namespaces cannot be deleted.

use kinds::status::{GroupResource, Status, StatusCause};

use crate::facts::NamespaceFacts;
use crate::key;
use crate::namespace;
use crate::record;
use crate::request::Refusal;
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::StoreView;

const NAMESPACES: GroupResource<'static> = GroupResource {
    group: "",
    resource: "namespaces",
};
/// Namespaces that cannot be deleted.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

/// Returns 404 when the target's namespace does not exist, and 403 when it is being deleted.
pub(crate) fn check(view: &impl StoreView, target: &Target) -> Result<(), Refusal> {
    if target.namespace.is_empty() {
        return Ok(());
    }
    let found = view.record(&key::core("namespaces", "", &target.namespace));
    let Some(found) = found else {
        return Err(Status::not_found(NAMESPACES, &target.namespace).into());
    };
    let Some(resource) = ResourceRef::built_in("", "v1", "namespaces") else {
        return Ok(());
    };
    let facts: Option<&NamespaceFacts> = record::facts(&resource, &found).of_kind();
    if facts.is_some_and(|namespace| namespace.terminating) {
        Err(terminating(target))
    } else {
        Ok(())
    }
}

fn terminating(target: &Target) -> Refusal {
    let name = &target.namespace;
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = Status::forbidden(target.resource.group_resource(), &target.name, why);
    let cause = StatusCause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".to_owned(),
    };
    if let Some(details) = &mut status.details {
        details.causes = vec![cause];
    }
    status.into()
}

/// Returns 403 for the deletion of a system namespace.
pub(crate) fn check_delete(target: &Target) -> Result<(), Refusal> {
    if namespace::is_namespace(&target.resource) && IMMORTAL.contains(&target.name.as_str()) {
        return Err(Status::forbidden(
            NAMESPACES,
            &target.name,
            "this namespace may not be deleted",
        )
        .into());
    }
    Ok(())
}
