//! `curl` against the eviction subresource: its three responses.

use std::process::Command;

use crate::support::{Server, has};

/// Creates a pod on a node that does not exist and marks it as Ready.
fn ready_pod(server: &Server, name: &str) {
    let pod = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"a"}}}},"spec":{{"nodeName":"nowhere","containers":[{{"name":"c","image":"i"}}]}}}}"#
    );
    server.feed(&["create", "-f", "-"], &pod);
    let status =
        r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    server.run(&[
        "patch",
        "pod",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
}

fn budget(server: &Server, name: &str, min_available: u32) {
    let budget = format!(
        r#"{{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{{"name":"{name}"}},"spec":{{"minAvailable":{min_available},"selector":{{"matchLabels":{{"app":"a"}}}}}}}}"#
    );
    server.feed(&["create", "-f", "-"], &budget);
    server.until(
        &[
            "get",
            "pdb",
            name,
            "-o",
            "jsonpath={.status.observedGeneration}",
        ],
        |text| text == "1",
    );
}

/// POSTs an eviction; returns the HTTP status code and the body.
fn evict(server: &Server, directory: &std::path::Path, pod: &str) -> (String, serde_json::Value) {
    let body = format!(
        r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{pod}","namespace":"default"}}}}"#
    );
    let file = directory.join("eviction.json");
    std::fs::write(&file, body).unwrap();
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--insecure",
            "--write-out",
            "\n%{http_code}",
            "-H",
            "Content-Type: application/json",
        ])
        .args(["-H", "Authorization: Bearer sesame"])
        .arg("-d")
        .arg(format!("@{}", file.display()))
        .arg(format!(
            "{}/api/v1/namespaces/default/pods/{pod}/eviction",
            server.url
        ))
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text
        .rsplit_once('\n')
        .unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&output.stderr)));
    (code.to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn curl_gets_201_429_and_500() {
    if !has("kubectl") || !has("curl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens.csv");
    std::fs::write(&tokens, "sesame,ali,1,\"system:masters\"\n").unwrap();
    let server = Server::start(
        &directory.path().join("data"),
        &["--token-auth-file", tokens.to_str().unwrap()],
    );
    for name in ["p1", "p2", "p3"] {
        ready_pod(&server, name);
    }

    let (code, body) = evict(&server, directory.path(), "p1");
    assert_eq!((code.as_str(), &body["status"]), ("201", &"Success".into()));

    budget(&server, "b", 2);
    server.until(
        &["get", "pdb", "b", "-o", "jsonpath={.status.currentHealthy}"],
        |text| text == "2",
    );
    let (code, body) = evict(&server, directory.path(), "p2");
    assert_eq!(
        (code.as_str(), &body["reason"]),
        ("429", &"TooManyRequests".into())
    );
    assert_eq!(body["details"]["causes"][0]["reason"], "DisruptionBudget");

    budget(&server, "c", 0);
    let (code, body) = evict(&server, directory.path(), "p2");
    assert_eq!(code, "500");
    assert_eq!(
        body["message"],
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    );
}
