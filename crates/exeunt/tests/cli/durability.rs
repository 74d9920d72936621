//! Acknowledged writes survive SIGKILL.

use crate::support::{Server, has};

#[test]
fn state_survives_sigkill_and_restart() {
    if !has("kubectl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    for number in 0..20 {
        server.run(&[
            "create",
            "configmap",
            &format!("c{number}"),
            "--from-literal=a=b",
        ]);
    }
    let before = server.run(&[
        "get",
        "configmaps",
        "-o",
        "jsonpath={.items[*].metadata.uid}",
    ]);
    server.kill();

    let server = Server::start(directory.path(), &[]);
    assert_eq!(
        server.run(&[
            "get",
            "configmaps",
            "-o",
            "jsonpath={.items[*].metadata.uid}"
        ]),
        before
    );
    server.run(&["create", "configmap", "after", "--from-literal=a=b"]);
    let revision = |name: &str| -> u64 {
        server
            .run(&[
                "get",
                "configmap",
                name,
                "-o",
                "jsonpath={.metadata.resourceVersion}",
            ])
            .parse()
            .unwrap()
    };
    assert!(revision("after") > revision("c19"), "revisions go on");
}

#[test]
fn the_server_shuts_down_in_order_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "2"]);
    assert_eq!(server.terminate(), Some(0));
}
