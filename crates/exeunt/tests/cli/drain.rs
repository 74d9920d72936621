//! `exeunt drain`, `cordon`, `uncordon` and `evict` as scripts call them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::support::{Server, exeunt, has, shown};

/// Two pods that cannot both go, since they have no other node.
pub(crate) const APPLICATION: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  replicas: 2
  serviceName: web
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
"#;

/// Runs the binary; gives exit code, standard output and standard error.
fn run(server: Option<&Server>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = exeunt();
    command
        .args(arguments)
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("KUBECONFIG", "/does/not/exist");
    if let Some(server) = server {
        command.env("KUBECONFIG", &server.kubeconfig);
    }
    let output = command.output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// It must fail with this code and these words, and without a line of a log.
fn fails(server: Option<&Server>, arguments: &[&str], code: i32, words: &[&str]) {
    let (got, out, err) = run(server, arguments);
    assert_eq!(got, Some(code), "{arguments:?}: {out}{err}");
    for word in words {
        assert!(
            err.contains(word),
            "{arguments:?} does not say {word:?}: {err}"
        );
    }
    assert!(
        !err.contains("panicked") && !err.contains(" WARN ") && !err.contains(" ERROR "),
        "{err}"
    );
}

#[test]
fn a_drain_prints_what_kubectl_prints() {
    if !has("kubectl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "1"]);
    server.feed(&["apply", "-f", "-"], APPLICATION);
    server.until(
        &[
            "get",
            "pdb",
            "web",
            "-o",
            "jsonpath={.status.currentHealthy}",
        ],
        |text| text == "2",
    );
    let dry = run(Some(&server), &["drain", "node-1", "--dry-run"]);
    let expected = "node/node-1 cordoned (dry run)\nevicting pod default/web-0 (dry run)\nevicting pod default/web-1 (dry run)\nnode/node-1 drained (dry run)\n";
    assert_eq!((dry.0, dry.1.as_str()), (Some(0), expected));

    let asked = run(Some(&server), &["evict", "web-0"]);
    assert_eq!(
        (asked.0, asked.1.as_str()),
        (Some(0), "evicting pod default/web-0\npod/web-0 evicted\n"),
        "{}",
        asked.2
    );
    server.until(
        &[
            "get",
            "pdb",
            "web",
            "-o",
            "jsonpath={.status.currentHealthy}",
        ],
        |text| text == "2",
    );

    // The replacement of the first pod finds no node, so the second pod is refused until the
    // timeout. A shorter one might end on a busy machine before the first refusal.
    let (code, out, err) = run(Some(&server), &["drain", "node-1", "--timeout=10s"]);
    assert_eq!(code, Some(1));
    assert!(
        out.starts_with(
            "node/node-1 cordoned\nevicting pod default/web-0\nevicting pod default/web-1\n"
        ),
        "{out}"
    );
    assert!(
        err.contains(
            "(will retry): Cannot evict pod as it would violate the pod's disruption budget. \
             The disruption budget web"
        ),
        "{err}"
    );
    assert!(
        err.contains("global timeout reached: 10s")
            && err.contains("There are pending nodes to be drained:\n node-1\n"),
        "{err}"
    );
    server.run(&["delete", "pdb", "web"]);
    let (code, out, err) = run(
        Some(&server),
        &["drain", "-l", "kubernetes.io/hostname=node-1", "-o", "json"],
    );
    assert_eq!(code, Some(0), "{err}");
    let events: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(
        (kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]),
        ("cordoned", "drained", "summary"),
        "{out}"
    );

    assert_eq!(
        run(Some(&server), &["cordon", "node-1"]).1,
        "node/node-1 already cordoned\n"
    );
    assert_eq!(
        run(Some(&server), &["uncordon", "node/node-1"]).1,
        "node/node-1 uncordoned\n"
    );
}

#[test]
fn connection_errors_come_with_a_hint() {
    fails(
        None,
        &["drain", "n1"],
        1,
        &["no kubeconfig found: /does/not/exist", "hint:"],
    );
    fails(
        None,
        &["drain", "n1", "-s", "https://127.0.0.1:1"],
        1,
        &["cannot reach", "Connection refused", "hint:"],
    );
    fails(None, &["drain"], 2, &["NODE"]);
    fails(
        None,
        &["drain", "n1", "--pod-selector=="],
        2,
        &[
            "--pod-selector=<pod_selector> must be a valid label selector",
            "hint:",
        ],
    );
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    fails(
        Some(&server),
        &["drain", "nope"],
        1,
        &["nodes \"nope\" not found"],
    );
    fails(
        Some(&server),
        &["drain", "n1", "--as", "ali"],
        1,
        &[
            "User \"ali\" cannot get resource \"nodes\"",
            "kubectl auth can-i get nodes",
        ],
    );
    fails(
        Some(&server),
        &["drain", "n1", "--token", "old"],
        1,
        &["401", "expired", "hint:"],
    );
    fails(
        Some(&server),
        &["drain", "n1", "--context", "other"],
        1,
        &["context \"other\" not found", "hint:"],
    );
}

#[test]
fn every_command_reports_unreachable_servers_and_missing_rights() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let commands: [&[&str]; 7] = [
        &["drain", "n"],
        &["cordon", "n"],
        &["uncordon", "n"],
        &["evict", "p"],
        &["explain", "p"],
        &["plan", "n"],
        &["lint", "-A"],
    ];
    for command in commands {
        let with = |more: &[&'static str]| [command, more].concat();
        fails(None, command, 1, &["no kubeconfig found", "hint:"]);
        fails(
            None,
            &with(&["-s", "https://127.0.0.1:1"]),
            1,
            &["cannot reach", "hint:"],
        );
        fails(
            Some(&server),
            &with(&["--token", "old"]),
            1,
            &["401", "expired", "hint:"],
        );
        if command[0] != "lint" {
            fails(
                Some(&server),
                &with(&["--as", "ali"]),
                1,
                &["\"ali\" cannot", "hint:"],
            );
        }
    }
    // Lint checks what it may read, and reports what it may not.
    let (code, _, err) = run(Some(&server), &["lint", "-A", "--as", "ali"]);
    assert!(
        code == Some(1)
            && err.contains("not checked: poddisruptionbudgets.policy: ")
            && err.contains("--ignore-unreadable"),
        "{err}"
    );
}

#[test]
fn a_server_dry_run_suggests_a_plan() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "1"]);
    let (code, _, err) = run(Some(&server), &["drain", "node-1", "--dry-run=server"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("simulate the whole drain with: exeunt plan node-1"),
        "{err}"
    );
}

#[test]
fn invalid_responses_are_distinguished_from_missing_ones() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        drop(first.read(&mut [0; 4096]));
        first
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            .unwrap();
        drop(first);
        // The second request gets no response, and the connection stays open until the client
        // closes it.
        let (mut second, _) = listener.accept().unwrap();
        while second.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
    });
    fails(
        None,
        &["drain", "n1", "-s", &url],
        1,
        &["does not respond as a Kubernetes API server", "hint:"],
    );
    fails(
        None,
        &["drain", "n1", "-s", &url, "--request-timeout=1s"],
        1,
        &["does not respond", "--request-timeout"],
    );
    server.join().unwrap();
}

#[test]
fn completions_contain_the_flags() {
    let output = exeunt().args(["completions", "bash"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("--ignore-daemonsets"),
        "{}",
        shown(&output)
    );
}

#[test]
fn a_drain_whose_server_is_gone_says_so_and_ends() {
    if !has("kubectl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "1"]);
    server.feed(&["apply", "-f", "-"], APPLICATION);
    server.until(
        &[
            "get",
            "pdb",
            "web",
            "-o",
            "jsonpath={.status.currentHealthy}",
        ],
        |text| text == "2",
    );
    let mut drain = exeunt()
        .args(["drain", "node-1", "--server-gone-after=6s"])
        .env("KUBECONFIG", &server.kubeconfig)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // One pod is evicted and finds no other node, so the second is refused until somebody helps.
    let mut reader = std::io::BufReader::new(drain.stderr.take().unwrap());
    let mut err = String::new();
    while !err.contains("(will retry)") {
        let read = std::io::BufRead::read_line(&mut reader, &mut err).unwrap();
        assert!(read > 0, "the drain ended: {err}");
    }
    server.kill();
    reader.read_to_string(&mut err).unwrap();
    assert_eq!(drain.wait().unwrap().code(), Some(1), "{err}");
    for words in [
        "does not answer, giving up after 6 s",
        "waiting for",
        "has not answered for 6 s",
        "hint: accepted evictions continue",
    ] {
        assert!(err.contains(words), "{words:?} is missing: {err}");
    }
}
