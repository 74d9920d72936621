//! Names from the command line and the kubeconfig: checked before they become part of a request.

use kinds::names;

use crate::error::CliError;

/// Checks the name of a namespace.
pub(crate) fn namespace(name: &str) -> Result<(), CliError> {
    check(
        "namespace",
        name,
        &names::dns_label(name),
        "kubectl get namespaces",
    )
}

/// Checks the name of a node.
pub(crate) fn node(name: &str) -> Result<(), CliError> {
    let faults = names::dns_subdomain(name);
    check("node", name, &faults, "kubectl get nodes")
}

/// Checks the name of a pod.
pub(crate) fn pod(name: &str) -> Result<(), CliError> {
    let faults = names::dns_subdomain(name);
    check("pod", name, &faults, "kubectl get pods -A")
}

/// Checks the name of a pod, a node or a budget.
pub(crate) fn object(name: &str) -> Result<(), CliError> {
    let faults = names::dns_subdomain(name);
    check("object", name, &faults, "kubectl get pods,nodes,pdb -A")
}

fn check(kind: &str, name: &str, faults: &[String], lister: &str) -> Result<(), CliError> {
    if faults.is_empty() {
        return Ok(());
    }
    // The whole rule of Kubernetes is a regular expression; the example in it says more.
    Err(CliError::usage(
        format!("invalid {kind} name {name:?}: use lower case characters, digits, '-' and '.'"),
        format!("list the names with: {lister}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_path_is_refused_with_a_hint() {
        for name in ["../nodes/x", "a/b", "a%2fb", "a?b", "", ".", "A", "a b"] {
            for checked in [node(name), pod(name), namespace(name), object(name)] {
                let text = checked.expect_err(name).render();
                assert!(
                    text.contains("hint: list the names with: kubectl"),
                    "{text}"
                );
            }
        }
        for name in ["node-1", "ip-10-0-0-1.ec2.internal"] {
            node(name).expect(name);
        }
        namespace("kube-system").expect("a name");
    }
}
