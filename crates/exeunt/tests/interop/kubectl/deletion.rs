//! Cascading deletions.

use super::{APPLICATION, server};

#[test]
fn deletions_cascade() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    server.until(
        &[
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.status.readyReplicas}",
        ],
        |text| text == "2",
    );
    assert!(
        server
            .run(&["delete", "pdb", "web", "--dry-run=server"])
            .contains("(server dry run)")
    );

    assert_eq!(
        server.run(&["delete", "deployment", "web", "--cascade=orphan"]),
        "deployment.apps \"web\" deleted\n"
    );
    assert_eq!(
        server.run(&[
            "get",
            "replicasets",
            "-o",
            "jsonpath={.items[*].metadata.ownerReferences}"
        ]),
        "",
        "its replica set is an orphan"
    );
    server.run(&[
        "delete",
        "replicaset",
        "-l",
        "app=web",
        "--cascade=foreground",
    ]);
    assert_eq!(
        server.run(&["get", "pods", "-o", "name"]),
        "",
        "a deletion in the foreground waits for the pods"
    );
    server.feed(&["apply", "-f", "-"], APPLICATION);
    server.run(&["delete", "deployment", "web", "--cascade=background"]);
    server.until(&["get", "pods,replicasets", "-o", "name"], str::is_empty);

    server.run(&[
        "run",
        "slow",
        "--image=nginx",
        "--annotations=sim.exeunt.dev/ignore-sigterm=true",
    ]);
    server.run(&["wait", "--for=condition=Ready", "pod/slow", "--timeout=60s"]);
    server.run(&["delete", "pod", "slow", "--wait=false"]);
    assert!(server.run(&["get", "pod", "slow"]).contains("Terminating"));
    server.run(&["delete", "pod", "slow", "--grace-period=0", "--force"]);
    assert_eq!(server.run(&["get", "pods", "-o", "name"]), "");

    server.run(&["create", "namespace", "brief"]);
    server.run(&["create", "configmap", "inside", "-n", "brief"]);
    assert_eq!(
        server.run(&["delete", "namespace", "brief", "--timeout=60s"]),
        "namespace \"brief\" deleted\n"
    );
    assert!(
        server
            .refused(&["get", "configmaps", "inside", "-n", "brief"])
            .contains("not found")
    );
}
