//! Errors of the binary have a message, a hint and an exit code; errors of the API are a Status.

use std::io::Write as _;

use crate::support::{Server, exeunt, has, shown};

/// Runs the binary and asserts its exit code and that standard error contains these words.
fn check(arguments: &[&str], code: i32, words: &[&str]) {
    let output = exeunt()
        .args(arguments)
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        shown(&output)
    );
    for word in words {
        assert!(
            stderr.contains(word),
            "{arguments:?} does not print {word:?}: {stderr}"
        );
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn invalid_flags_are_named() {
    check(
        &["serve", "--listen", "nonsense"],
        2,
        &["--listen", "nonsense"],
    );
    check(&["serve", "--nodes=-1"], 2, &["--nodes"]);
    check(
        &["serve", "--store", "tape"],
        2,
        &["tape", "disk", "memory"],
    );
    check(
        &["serve", "--feature-gates=NoSuchGate=true"],
        2,
        &["unrecognized feature gate: NoSuchGate", "hint:"],
    );
    check(
        &["serve", "--token-auth-file", "/does/not/exist"],
        2,
        &["/does/not/exist", "hint:"],
    );
    check(&["sevre"], 2, &["sevre"]);
}

#[test]
fn an_invalid_token_file_is_refused_with_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens.csv");
    std::fs::write(&tokens, "good,ali,1\nbad\n").unwrap();
    check(
        &[
            "serve",
            "--store",
            "memory",
            "--listen",
            "127.0.0.1:0",
            "--token-auth-file",
            tokens.to_str().unwrap(),
        ],
        2,
        &["line 2", "hint:"],
    );
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _server = Server::start(directory.path(), &[]);
    let path = directory.path().to_str().unwrap();
    check(
        &["serve", "--listen", "127.0.0.1:0", "--data-dir", path],
        1,
        &["in use", "hint:"],
    );
}

#[test]
fn a_port_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let path = directory.path().to_str().unwrap();
    check(
        &["serve", "--listen", &address, "--data-dir", path],
        1,
        &[&address, "hint:"],
    );
}

#[test]
fn a_corrupt_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    Server::start(directory.path(), &[]).terminate();
    let store = directory.path().join("store");
    let mut spoilt = 0;
    let mut directories = vec![store];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if !path.to_string_lossy().contains("lock") {
                std::fs::File::create(&path)
                    .unwrap()
                    .write_all(&[0xff; 4096])
                    .unwrap();
                spoilt += 1;
            }
        }
    }
    assert!(spoilt > 0, "the store has files");
    check(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            directory.path().to_str().unwrap(),
        ],
        1,
        &["store", "hint:"],
    );
}

#[test]
fn invalid_requests_get_a_status() {
    if !has("curl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens.csv");
    std::fs::write(&tokens, "sesame,ali,1,\"system:masters\"\n").unwrap();
    let server = Server::start(
        &directory.path().join("data"),
        &["--token-auth-file", tokens.to_str().unwrap()],
    );
    let large = directory.path().join("large.json");
    std::fs::write(
        &large,
        format!(r#"{{"data":{{"a":"{}"}}}}"#, "x".repeat(3 * 1024 * 1024)),
    )
    .unwrap();
    let large = format!("@{}", large.display());
    for (path, body, code, reason) in [
        (
            "/api/v1/namespaces/default/configmaps",
            "{\"metadata\":",
            400,
            "BadRequest",
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            large.as_str(),
            413,
            "RequestEntityTooLarge",
        ),
        ("/api/v1/namespaces/default/nonsense", "{}", 404, "NotFound"),
        (
            "/apis/policy/v7/namespaces/default/poddisruptionbudgets",
            "{}",
            404,
            "NotFound",
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            r#"{"kind":"Secret","apiVersion":"v1"}"#,
            400,
            "BadRequest",
        ),
    ] {
        let output = std::process::Command::new("curl")
            .args([
                "--silent",
                "--insecure",
                "-H",
                "Content-Type: application/json",
                "-H",
                "Authorization: Bearer sesame",
                "--data-binary",
                body,
            ])
            .arg(format!("{}{path}", server.url))
            .output()
            .expect("curl runs");
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{path}: {}", shown(&output)));
        assert_eq!(
            (status["code"].as_u64(), status["reason"].as_str()),
            (Some(code), Some(reason)),
            "{path}: {status}"
        );
    }
    // The server still works.
    let output = std::process::Command::new("curl")
        .args(["--silent", "--insecure"])
        .arg(format!("{}/readyz", server.url))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok");
}
