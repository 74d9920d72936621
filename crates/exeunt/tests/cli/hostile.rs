//! A server on plain HTTP that answers whatever a test wants, and what the tools make of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{exeunt, shown};

/// A request as the server received it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
}

/// Answers one connection.
type Answer = dyn Fn(&Received, &mut TcpStream) + Send + Sync;

/// A server that runs until the test process ends.
pub(crate) struct HostileServer {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl HostileServer {
    /// Starts a server whose `answer` writes the whole response; a connection serves one request.
    pub(crate) fn start(
        answer: impl Fn(&Received, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (log, answer): (_, Arc<Answer>) = (Arc::clone(&received), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { url, received }
    }

    /// Starts a server that answers with JSON.
    pub(crate) fn of_json(
        answer: impl Fn(&Received) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |request, stream| {
            let (code, body) = answer(request);
            respond(stream, code, &body.to_string());
        })
    }

    /// Returns the requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Runs the binary against this server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        exeunt()
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env("KUBECONFIG", "/does/not/exist")
            .args(arguments)
            .args(["--server", &self.url])
            .output()
            .expect("the binary starts")
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Received>>, answer: &Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    drop(reader.read_line(&mut first));
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    drop(reader.take(length).read_to_end(&mut Vec::new()));
    let mut words = first.split(' ').map(str::to_owned);
    let request = Received {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
    };
    log.lock().unwrap().push(request.clone());
    answer(&request, &mut stream);
}

/// Writes a whole response.
pub(crate) fn respond(stream: &mut TcpStream, code: u16, body: &str) {
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(format!("{head}{body}").as_bytes()));
}

/// A Status of a failure.
pub(crate) fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": message});
    (code, status)
}

/// A list with these items.
pub(crate) fn list(items: Value) -> (u16, Value) {
    let list = json!({"kind": "List", "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"}, "items": items});
    (200, list)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_check_without_readable_objects_is_a_failure_and_says_what_was_not_checked() {
    let refusals = [
        failure(403, "Forbidden", "pods is forbidden: no"),
        failure(429, "TooManyRequests", "too many requests"),
        failure(500, "InternalError", "etcd is down"),
    ];
    for (code, body) in refusals {
        let server = HostileServer::of_json(move |_| (code, body.clone()));
        for output in ["text", "json", "sarif"] {
            let lint = server.run(&["lint", "-A", "-o", output]);
            assert_eq!(lint.status.code(), Some(1), "{code}: {}", shown(&lint));
            let (out, err) = (text(&lint.stdout), text(&lint.stderr));
            assert!(
                err.contains("not checked: pods: ")
                    && err.contains("not checked: poddisruptionbudgets.policy: ")
                    && err.contains("hint:")
                    && err.contains("--ignore-unreadable"),
                "{err}"
            );
            assert!(!out.contains("no findings\n"), "{out}");
            if output == "sarif" {
                assert!(out.contains("\"executionSuccessful\": false"), "{out}");
            }
        }
        let lint = server.run(&["lint", "-A", "--ignore-unreadable"]);
        assert_eq!(lint.status.code(), Some(0), "{code}: {}", shown(&lint));
        assert_eq!(text(&lint.stdout), "no findings in what could be read\n");
        assert!(text(&lint.stderr).contains("not checked: pods: "));
    }
}

#[test]
fn a_kind_that_the_server_does_not_know_is_no_failure() {
    let server = HostileServer::of_json(|request| {
        if request.target.contains("horizontalpodautoscalers") {
            failure(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
        } else {
            list(json!([]))
        }
    });
    let lint = server.run(&["lint", "-A"]);
    assert_eq!(lint.status.code(), Some(0), "{}", shown(&lint));
    assert_eq!(text(&lint.stdout), "no findings\n");
}

/// Serves a node with one pod and refuses to list budgets.
fn without_budgets(request: &Received) -> (u16, Value) {
    let path = request.target.split('?').next().unwrap_or_default();
    let pod = json!({"metadata": {"name": "web-0", "namespace": "default", "uid": "u"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]}});
    match path.rsplit('/').next().unwrap_or_default() {
        "nodes" => list(json!([{"metadata": {"name": "n1"}}, {"metadata": {"name": "n2"}}])),
        "pods" => list(json!([pod])),
        "poddisruptionbudgets" => failure(403, "Forbidden", "poddisruptionbudgets is forbidden"),
        _ => list(json!([])),
    }
}

#[test]
fn plan_and_explain_fail_without_budgets() {
    let server = HostileServer::of_json(without_budgets);
    for arguments in [
        ["plan", "n1", "--force"].as_slice(),
        &["explain", "pod/web-0", "--ask=false"],
        &["explain", "node/n1", "--ask=false"],
    ] {
        let output = server.run(arguments);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(
            err.contains("not checked: poddisruptionbudgets.policy: ") && err.contains("hint:"),
            "{arguments:?}: {err}"
        );
        let output = server.run(&[arguments, &["--ignore-unreadable"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    }
}

/// Obeyed by terminals, reordering, or invisible.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}1m\u{202e}\u{2066}\u{200b}\r";

/// Asserts that a terminal shows everything that it gets.
fn assert_harmless(output: &Output) {
    for stream in [&output.stdout, &output.stderr] {
        let text = text(stream);
        let evil = text.chars().find(|character| {
            let is_evil = !character.is_ascii_graphic() && EVIL.contains(*character);
            is_evil || (character.is_control() && !"\n\t".contains(*character))
        });
        assert_eq!(evil, None, "{text:?}");
    }
}

#[test]
fn nothing_from_a_server_reaches_the_terminal_unescaped() {
    let server = HostileServer::of_json(|request| {
        let path = request.target.split('?').next().unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "nodes" => list(json!([{"metadata": {"name": format!("n1{EVIL}")}}])),
            "pods" => list(json!([{
                "metadata": {"name": format!("web{EVIL}\nerror: forged"), "namespace": "default",
                    "uid": "u", "labels": {"app": "web"}},
                "spec": {"nodeName": format!("n1{EVIL}"), "containers": [{"name": "c"}]},
                "status": {"phase": format!("Running{EVIL}")},
            }])),
            "poddisruptionbudgets" => list(json!([{
                "metadata": {"name": format!("b{EVIL}\nforged"), "namespace": "default"},
                "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}},
            }])),
            _ => failure(403, "Forbidden", &format!("no{EVIL}\nforged")),
        }
    });
    for arguments in [
        ["lint", "-A"].as_slice(),
        &["lint", "-A", "-o", "json"],
        &["lint", "-A", "-o", "sarif"],
        &["plan", "-l", "x!=y", "--force"],
        &["plan", "-l", "x!=y", "--force", "-o", "json"],
        &["drain", "-l", "x!=y", "--force", "--dry-run"],
        &["drain", "-l", "x!=y", "--force", "--timeout=1s"],
        &["cordon", "-l", "x!=y"],
        &["evict", "-l", "app=web"],
        &["explain", "pod/web-0"],
    ] {
        let output = server.run(arguments);
        assert_harmless(&output);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            !out.lines()
                .chain(err.lines())
                .any(|line| line.starts_with("error: forged") || line.starts_with("forged")),
            "{arguments:?}: {}",
            shown(&output)
        );
    }
}

#[test]
fn arguments_and_file_names_do_not_reach_the_terminal_unescaped() {
    for arguments in [
        [format!("dr{EVIL}ain")].as_slice(),
        &["lint".to_owned(), "-f".to_owned(), format!("/none{EVIL}")],
        &["drain".to_owned(), format!("n{EVIL}")],
        &["explain".to_owned(), format!("pod/{EVIL}")],
        &[
            "serve".to_owned(),
            "--token-auth-file".to_owned(),
            format!("/none{EVIL}"),
        ],
        &[
            "lint".to_owned(),
            "--kubeconfig".to_owned(),
            format!("/none{EVIL}"),
        ],
        &["lint".to_owned(), "--context".to_owned(), EVIL.to_owned()],
    ] {
        let output = exeunt()
            .env("KUBECONFIG", "/does/not/exist")
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{}", shown(&output));
        assert_harmless(&output);
    }
}

#[test]
fn a_name_with_a_path_in_it_sends_no_request() {
    let server = HostileServer::of_json(|_| list(json!([])));
    for arguments in [
        ["evict", "../secrets/x"].as_slice(),
        &["evict", "pod/../../nodes/n1"],
        &["evict", "a%2fb"],
        &["evict", "web-0?dryRun=All"],
        &["evict", "web-0", "-n", "../kube-system"],
        &["drain", "../namespaces/shop"],
        &["drain", "node/../x"],
        &["cordon", "n1#x"],
        &["uncordon", ".."],
        &["explain", "pod/../x"],
        &["lint", "-n", "a/b"],
    ] {
        let output = server.run(arguments);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains("hint: "), "{arguments:?}: {err}");
    }
    assert!(server.received().is_empty(), "{:?}", server.received());
}

/// Serves what a drain of node `n1` with one pod needs. The pod is evicted and never ends.
fn drained_node(request: &Received) -> (u16, Value) {
    let path = request.target.split('?').next().unwrap_or_default();
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "default", "uid": "u",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
                "uid": "r", "controller": true}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running"}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "n"}});
    match (request.method.as_str(), path) {
        ("GET", "/api/v1") => {
            let eviction = json!({"name": "pods/eviction", "singularName": "", "namespaced": true,
                "group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]});
            let resources = json!({"kind": "APIResourceList", "groupVersion": "v1",
                "resources": [eviction]});
            (200, resources)
        }
        ("POST", _) => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Success"});
            (201, status)
        }
        (_, "/api/v1/nodes/n1") => (200, node),
        (_, "/api/v1/pods") => list(json!([pod])),
        (_, "/api/v1/nodes") => list(json!([node])),
        _ => list(json!([])),
    }
}

fn is_watch(request: &Received) -> bool {
    request.target.contains("watch=true")
}

#[test]
fn watches_that_end_at_once_do_not_become_a_flood() {
    let server = HostileServer::start(|request, stream| {
        if is_watch(request) {
            respond(stream, 200, "");
        } else {
            let (code, body) = drained_node(request);
            respond(stream, code, &body.to_string());
        }
    });
    let output = server.run(&["drain", "n1", "--timeout=4s"]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let watches = server
        .received()
        .iter()
        .filter(|request| is_watch(request))
        .count();
    // Three watches, with pauses of 0.1, 0.2, 0.4, 0.8, 1.6 s.
    assert!((3..40).contains(&watches), "{watches} watches");
}

#[test]
fn an_answer_without_end_is_an_error() {
    let server = HostileServer::start(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"));
        let chunk = vec![b' '; 1 << 20];
        while stream.write_all(&chunk).is_ok() {}
    });
    let output = server.run(&["cordon", "n1"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(
        err.contains("sends too much") && err.contains("hint: "),
        "{err}"
    );
}

#[test]
fn a_watch_line_without_end_is_a_failed_watch() {
    let server = HostileServer::start(|request, stream| {
        if is_watch(request) {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"));
            let chunk = vec![b' '; 1 << 20];
            while stream.write_all(&chunk).is_ok() {}
        } else {
            let (code, body) = drained_node(request);
            respond(stream, code, &body.to_string());
        }
    });
    let output = server.run(&["drain", "n1", "--timeout=4s"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(err.contains("larger than 16 MiB"), "{err}");
}
