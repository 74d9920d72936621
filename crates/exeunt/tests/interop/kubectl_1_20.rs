//! kubectl 1.20 (2020): validates with OpenAPI v2 in protobuf, and evicts through `policy/v1beta1`.

use crate::support::Server;
use crate::tools::{KUBECTL_1_20, named_by};

const APPLICATION: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: "nginx:1"}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: web}}
"#;

/// Starts a server with two nodes for the old kubectl; returns `None` if that is not installed.
fn server(directory: &std::path::Path) -> Option<Server> {
    named_by(KUBECTL_1_20).map(|kubectl| Server::start(directory, &["--nodes", "2"]).using(kubectl))
}

#[test]
fn manifests_are_validated_and_explained_by_openapi_v2() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    assert_eq!(
        server.feed(&["apply", "-f", "-"], APPLICATION),
        "deployment.apps/web created\npoddisruptionbudget.policy/web created\n"
    );
    let refused = server.refused_with(
        &["apply", "-f", "-"],
        &APPLICATION.replace("replicas", "replcas"),
    );
    assert!(
        refused.contains(r#"unknown field "replcas" in io.k8s.api.apps.v1.DeploymentSpec"#),
        "{refused}"
    );
    let refused = server.refused_with(
        &["apply", "-f", "-"],
        &APPLICATION.replace("replicas: 3", "replicas: three"),
    );
    assert!(
        refused.contains(r#"invalid type for io.k8s.api.apps.v1.DeploymentSpec.replicas: got "string", expected "integer""#),
        "{refused}"
    );
    // An integer is valid where an integer or a string is expected.
    assert!(
        server
            .feed(&["apply", "-f", "-"], APPLICATION)
            .contains("poddisruptionbudget.policy/web unchanged")
    );
    // kubectl also reads from this document whether a dry run is supported.
    let dry = server.feed(
        &["apply", "--dry-run=server", "-f", "-"],
        &APPLICATION.replace("replicas: 3", "replicas: 4"),
    );
    assert!(
        dry.contains("deployment.apps/web configured (server dry run)"),
        "{dry}"
    );

    let text = server.run(&["explain", "pdb.spec.maxUnavailable"]);
    assert!(
        text.contains("VERSION:  policy/v1") && text.contains("FIELD:    maxUnavailable <string>"),
        "{text}"
    );
    let text = server.run(&["explain", "pods.spec.containers.lifecycle", "--recursive"]);
    assert!(
        text.contains("preStop\t<Object>") && text.contains("port\t<string>"),
        "{text}"
    );
    assert!(
        server
            .run(&["api-resources"])
            .contains("poddisruptionbudgets")
    );
}

#[test]
fn rollouts_are_followed_and_undone() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    let done = "deployment \"web\" successfully rolled out\n";
    assert!(
        server
            .run(&["rollout", "status", "deployment/web", "--timeout=60s"])
            .ends_with(done)
    );
    assert_eq!(
        server.run(&["set", "image", "deployment/web", "c=nginx:2", "--record"]),
        "deployment.apps/web image updated\n"
    );
    assert!(
        server
            .run(&["rollout", "status", "deployment/web", "--timeout=60s"])
            .ends_with(done)
    );
    let history = server.run(&["rollout", "history", "deployment/web"]);
    assert!(
        history.contains("2         kubectl set image deployment/web c=nginx:2"),
        "{history}"
    );
    assert_eq!(
        server.run(&["rollout", "undo", "deployment/web"]),
        "deployment.apps/web rolled back\n"
    );
    assert!(
        server
            .run(&["rollout", "status", "deployment/web", "--timeout=60s"])
            .ends_with(done)
    );
    assert_eq!(
        server.run(&["get", "deployment", "web", "-o", "jsonpath={..image}"]),
        "nginx:1"
    );
    assert_eq!(
        server.run(&["scale", "deployment/web", "--replicas=4"]),
        "deployment.apps/web scaled\n"
    );
    server.run(&[
        "wait",
        "--for=condition=Available",
        "deployment/web",
        "--timeout=60s",
    ]);
    let text = server.run(&["describe", "deployment", "web"]);
    assert!(
        text.contains("ScalingReplicaSet") && text.contains("NewReplicaSetAvailable"),
        "{text}"
    );
    server.run(&["delete", "-l", "app=web", "pods", "--wait=false"]);
}

#[test]
fn a_node_is_drained_by_evictions_of_the_old_version() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    server.run(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    server.until(
        &[
            "get",
            "pdb",
            "web",
            "-o",
            "jsonpath={.status.disruptionsAllowed}",
        ],
        |text| text == "1",
    );
    let node = server.run(&["get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}"]);
    let text = server.run(&["drain", &node, "--timeout=60s"]);
    assert!(
        text.contains(" evicted\n") && text.ends_with(&format!("node/{node} evicted\n")),
        "{text}"
    );
    assert_eq!(
        server.run(&[
            "get",
            "pods",
            "--field-selector",
            &format!("spec.nodeName={node}"),
            "-o",
            "name"
        ]),
        ""
    );
    assert_eq!(
        server.run(&["uncordon", &node]),
        format!("node/{node} uncordoned\n")
    );
    // The budget allows no further disruption, and the drain prints that.
    server.feed(
        &["apply", "-f", "-"],
        &APPLICATION.replace("maxUnavailable: 1", "maxUnavailable: 0"),
    );
    server.until(
        &[
            "get",
            "pdb",
            "web",
            "-o",
            "jsonpath={.status.disruptionsAllowed}",
        ],
        |text| text == "0",
    );
    let other = server.run(&["get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}"]);
    let refused = server.refused(&["drain", &other, "--timeout=2s"]);
    assert!(
        refused.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{refused}"
    );
}
