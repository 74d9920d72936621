//! The kubeconfig of the administrator: address, authority and client certificate in one file.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use files::FileError;

use crate::certs::Certs;

/// The text of a kubeconfig for a server at `url` (`https://127.0.0.1:6443`).
#[must_use]
pub fn render(url: &str, certs: &Certs) -> String {
    let authority = STANDARD.encode(&certs.authority);
    let certificate = STANDARD.encode(&certs.admin.certificate);
    let key = STANDARD.encode(&certs.admin.key);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: exeunt
  cluster:
    server: {url}
    certificate-authority-data: {authority}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: exeunt
  context:
    cluster: exeunt
    user: kubernetes-admin
current-context: exeunt
"
    )
}

/// Writes a kubeconfig: whole or not at all, and readable by its owner only.
///
/// # Errors
/// What the file system reports.
pub fn write(path: &Path, url: &str, certs: &Certs) -> Result<(), FileError> {
    files::write_private(path, &render(url, certs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_yaml_that_names_server_and_user() {
        let dir = tempfile::tempdir().expect("a directory");
        let certs = Certs::make(&[], jiff::Timestamp::UNIX_EPOCH).expect("made");
        let path = dir.path().join("kubeconfig");
        write(&path, "https://127.0.0.1:1", &certs).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        let tree: kinds::Tree = kinds::yaml::decode_untyped(text.as_bytes())
            .expect("YAML")
            .tree;
        assert_eq!(
            tree["clusters"][0]["cluster"]["server"],
            "https://127.0.0.1:1"
        );
        let key = tree["users"][0]["user"]["client-key-data"]
            .as_str()
            .expect("text");
        assert_eq!(
            STANDARD.decode(key).expect("base64"),
            certs.admin.key.as_bytes()
        );
    }
}
