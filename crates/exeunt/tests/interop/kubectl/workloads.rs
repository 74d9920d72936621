//! Rollouts, waits and watches.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::{APPLICATION, server};

#[test]
fn rollouts_are_followed_paused_and_undone() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    let web = "deployment/web";
    let follow = || {
        let text = server.run(&["rollout", "status", web, "--timeout=60s"]);
        assert!(
            text.ends_with("deployment \"web\" successfully rolled out\n"),
            "{text}"
        );
    };
    follow();
    server.run(&["set", "image", web, "c=nginx:2"]);
    server.run(&["annotate", web, "kubernetes.io/change-cause=second"]);
    follow();
    let history = server.run(&["rollout", "history", web]);
    assert!(
        history.contains("1         <none>") && history.contains("2         second"),
        "{history}"
    );
    assert!(
        server
            .run(&["rollout", "history", web, "--revision=2"])
            .contains("Image:\tnginx:2")
    );
    server.run(&["rollout", "pause", web]);
    assert!(
        server
            .refused(&["rollout", "restart", web])
            .contains("can't restart paused deployment")
    );
    server.run(&["rollout", "resume", web]);
    server.run(&["rollout", "restart", web]);
    follow();
    assert_eq!(
        server.run(&["rollout", "undo", web, "--to-revision=1"]),
        "deployment.apps/web rolled back\n"
    );
    follow();
    assert_eq!(
        server.run(&["get", web, "-o", "jsonpath={..image}"]),
        "nginx:1"
    );
}

#[test]
fn waits_and_watches_end_with_their_condition() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    // A pod that no node runs shows when the watch has started.
    server.run(&[
        "run",
        "zero",
        "--image=nginx",
        r#"--overrides={"spec":{"nodeName":"nowhere"}}"#,
    ]);
    let mut watch = server.kubectl(&["get", "pods", "-w", "--output-watch-events", "--no-headers"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("ADDED") && line.contains("zero"))
    );

    let wait = |what: &str, object: &str| {
        server
            .kubectl(&["wait", "--for", what, object, "--timeout=60s"])
            .output()
            .unwrap()
    };
    std::thread::scope(|scope| {
        let created = scope.spawn(|| wait("create", "pod/one"));
        server.run(&[
            "run",
            "one",
            "--image=nginx",
            "--restart=Never",
            "--labels=a=b",
        ]);
        assert!(created.join().unwrap().status.success());
    });
    assert!(wait("condition=Ready", "pod/one").status.success());
    assert!(
        wait("jsonpath={.status.phase}=Running", "pod/one")
            .status
            .success()
    );
    assert!(server.run(&["logs", "one"]).contains("nginx"));
    assert!(
        server
            .run(&["events", "--for", "pod/one"])
            .contains("Scheduled")
    );
    std::thread::scope(|scope| {
        let deleted = scope.spawn(|| wait("delete", "pod/one"));
        server.run(&["delete", "pod", "one", "--now"]);
        assert!(deleted.join().unwrap().status.success());
    });
    assert!(
        server
            .refused(&["wait", "--for=condition=Ready", "pod/one"])
            .contains("pods \"one\" not found")
    );

    let seen: Vec<String> = std::iter::from_fn(|| lines.next())
        .take_while(|line| !line.starts_with("DELETED"))
        .collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(
        seen[0].starts_with("ADDED") && seen[0].contains("0/1"),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .any(|line| line.contains("1/1") && line.contains("Running")),
        "{seen:?}"
    );
    assert!(
        seen.iter().any(|line| line.contains("Terminating")),
        "{seen:?}"
    );
}
