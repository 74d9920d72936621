//! Client certificates of X.509 version 1, which `openssl x509 -req` makes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Server, exeunt, has, shown};

/// Runs openssl, which must succeed.
fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .current_dir(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{arguments:?}: {}", shown(&output));
}

/// Makes `user.crt` and `user.key` in the directory, signed by the server's authority, without any
/// extension and so of version 1.
fn make_version_1(dir: &Path, pki: &Path) {
    openssl(
        dir,
        &[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "user.key",
            "-out",
            "user.csr",
            "-subj",
            "/O=system:masters/CN=ali",
        ],
    );
    let path = |name: &str| pki.join(name).to_str().unwrap().to_owned();
    openssl(
        dir,
        &[
            "x509",
            "-req",
            "-in",
            "user.csr",
            "-CA",
            &path("ca.crt"),
            "-CAkey",
            &path("ca.key"),
            "-CAcreateserial",
            "-CAserial",
            "serial",
            "-days",
            "1",
            "-out",
            "user.crt",
        ],
    );
}

/// Writes a kubeconfig with this certificate.
fn kubeconfig(dir: &Path, url: &str, pki: &Path) {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"{url}\", certificate-authority: {}}}}}]\n\
         users: [{{name: u, user: {{client-certificate: user.crt, client-key: user.key}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
        pki.join("ca.crt").display()
    );
    std::fs::write(dir.join("kubeconfig"), text).unwrap();
}

fn drain(dir: &Path) -> (Option<i32>, String) {
    let output = exeunt()
        .env("KUBECONFIG", dir.join("kubeconfig"))
        .args(["cordon", "n1"])
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), err)
}

/// `openssl s_server`, killed when it is dropped.
struct TlsServer {
    process: Child,
    url: String,
}

impl TlsServer {
    /// Starts a server that demands a client certificate and accepts one of version 1.
    fn start(pki: &Path) -> Self {
        let mut process = Command::new("openssl")
            .current_dir(pki)
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-cert",
                "apiserver.crt",
                "-key",
                "apiserver.key",
                "-CAfile",
                "ca.crt",
                "-Verify",
                "1",
                "-verify_return_error",
                "-www",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned))
            .expect("openssl reports its address");
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            url: format!("https://{address}"),
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_version_1_certificate_is_sent_and_a_server_that_refuses_it_is_reported() {
    if !has("openssl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let server = Server::start(&dir.join("data"), &[]);
    let pki = dir.join("data/pki");
    make_version_1(dir, &pki);

    kubeconfig(dir, &server.url, &pki);
    let (code, err) = drain(dir);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("rejects your own client certificate")
            && err.contains("X.509 version 1")
            && err.contains("-extfile"),
        "{err}"
    );

    // The answer is a page of openssl: the handshake has succeeded.
    let tls = TlsServer::start(&pki);
    kubeconfig(dir, &tls.url, &pki);
    let (code, err) = drain(dir);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("does not respond as a Kubernetes API server"),
        "{err}"
    );
}

#[test]
fn a_certificate_that_does_not_belong_to_its_key_is_the_users_own() {
    if !has("openssl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let server = Server::start(&dir.join("data"), &[]);
    let pki = dir.join("data/pki");
    std::fs::copy(pki.join("admin.crt"), dir.join("user.crt")).unwrap();
    std::fs::copy(pki.join("sa.key"), dir.join("user.key")).unwrap();
    kubeconfig(dir, &server.url, &pki);
    let (code, err) = drain(dir);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("your own client certificate") && err.contains("hint: check"),
        "{err}"
    );
}
