//! `kubectl auth` and tokens of service accounts.

use super::server;
use crate::support::shown;

#[test]
fn rights_are_checked_and_tokens_created() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    server.run(&["create", "serviceaccount", "robot"]);
    server.run(&[
        "create",
        "role",
        "evictor",
        "--verb=create",
        "--resource=pods/eviction",
    ]);
    server.run(&[
        "create",
        "rolebinding",
        "evictor",
        "--role=evictor",
        "--serviceaccount=default:robot",
    ]);
    let robot = "--as=system:serviceaccount:default:robot";
    let can = |what: &[&str]| {
        let output = server
            .kubectl(&[&["auth", "can-i", robot], what].concat())
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    assert_eq!(
        can(&["create", "pods", "--subresource=eviction"]),
        (true, "yes".to_owned())
    );
    assert_eq!(can(&["delete", "pods"]), (false, "no".to_owned()));
    let rules = server.run(&["auth", "can-i", "--list", robot]);
    assert!(
        rules
            .lines()
            .any(|line| line.starts_with("pods/eviction ") && line.ends_with("[create]")),
        "{rules}"
    );
    let refused = server.refused(&["get", "secrets", robot]);
    let expected = r#"User "system:serviceaccount:default:robot" cannot list resource "secrets""#;
    assert!(refused.contains(expected), "{refused}");
    assert!(server.run(&["auth", "whoami"]).contains("system:masters"));

    // The token authenticates the account if no client certificate is sent.
    let token = server.run(&["create", "token", "robot", "--duration=10m"]);
    let mut command = server.kubectl(&[
        "auth",
        "whoami",
        "--insecure-skip-tls-verify",
        "--server",
        &server.url,
        "--token",
        &token,
    ]);
    let output = command.env("KUBECONFIG", "/dev/null").output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("system:serviceaccount:default:robot"),
        "{}",
        shown(&output)
    );
}
