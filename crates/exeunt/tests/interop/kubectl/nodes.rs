//! Taints, cordons and drains with the flags of `kubectl drain`.

use super::server;

#[test]
fn nodes_are_tainted_cordoned_and_drained() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    let node = server.run(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let node = node.as_str();
    assert_eq!(
        server.run(&["taint", "node", node, "k=v:NoSchedule"]),
        format!("node/{node} tainted\n")
    );
    assert!(
        server
            .refused(&["taint", "node", node, "k=w:NoSchedule"])
            .contains("already has k taint(s) with same effect(s)")
    );
    assert_eq!(
        server.run(&["taint", "node", node, "k-"]),
        format!("node/{node} untainted\n")
    );
    assert_eq!(
        server.run(&["cordon", node]),
        format!("node/{node} cordoned\n")
    );
    assert_eq!(
        server.run(&["cordon", node]),
        format!("node/{node} already cordoned\n")
    );
    assert!(
        server
            .run(&["get", "node", node])
            .contains("Ready,SchedulingDisabled")
    );

    // One pod for each reason for which kubectl refuses to drain a node.
    let pod = |name: &str, volume: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"nodeName":"{node}","terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"i"}}]{volume}}}}}"#
        )
    };
    server.feed(&["create", "-f", "-"], &pod("bare", ""));
    let refused = server.refused(&["drain", node]);
    assert!(
        refused.contains(
            "cannot delete Pods that declare no controller (use --force to override): default/bare"
        ),
        "{refused}"
    );
    let dry = server.run(&["drain", node, "--force", "--dry-run=server"]);
    assert!(dry.contains("default/bare (server dry run)"), "{dry}");
    assert!(
        server
            .run(&[
                "get",
                "pod",
                "bare",
                "-o",
                "jsonpath={.metadata.deletionTimestamp}"
            ])
            .is_empty()
    );
    server.feed(
        &["create", "-f", "-"],
        &pod("scratch", r#","volumes":[{"name":"v","emptyDir":{}}]"#),
    );
    let refused = server.refused(&["drain", node, "--force"]);
    assert!(
        refused.contains("cannot delete Pods with local storage (use --delete-emptydir-data to override): default/scratch"),
        "{refused}"
    );
    let daemons = r#"{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"ds"},"spec":{"selector":{"matchLabels":{"d":"s"}},"template":{"metadata":{"labels":{"d":"s"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
    server.feed(&["create", "-f", "-"], daemons);
    server.until(
        &["get", "ds", "ds", "-o", "jsonpath={.status.numberReady}"],
        |text| text == "2",
    );
    let refused = server.refused(&["drain", node, "--force", "--delete-emptydir-data"]);
    assert!(
        refused.contains(
            "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/ds-"
        ),
        "{refused}"
    );
    let drained = server.run(&[
        "drain",
        node,
        "--force",
        "--delete-emptydir-data",
        "--ignore-daemonsets",
        "--timeout=60s",
    ]);
    assert!(
        drained.contains("pod/bare evicted\n") && drained.contains("pod/scratch evicted\n"),
        "{drained}"
    );
    assert_eq!(
        server
            .run(&["get", "pods", "-l", "d=s", "-o", "name"])
            .lines()
            .count(),
        2,
        "daemons stay"
    );
    assert_eq!(
        server.run(&["uncordon", node]),
        format!("node/{node} uncordoned\n")
    );
}
