//! The data directory: who may read it, what is refused, and what happens when it disappears.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::support::{Server, exeunt, shown};

/// All files below a directory, relative to it, with their contents; `None` for directories.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let contents = if path.is_dir() {
                directories.push(path.clone());
                None
            } else {
                Some(std::fs::read(&path).unwrap())
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), contents);
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs `serve`, which must be refused with these words.
fn refused(data: &Path, words: &[&str]) {
    let output = exeunt()
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .output()
        .expect("the binary starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    for word in words {
        assert!(err.contains(word), "no {word:?} in {err}");
    }
}

/// Asserts that nobody else can read anything below the directory.
fn assert_private(root: &Path) {
    assert_eq!(mode(root), 0o700, "{}", root.display());
    for (path, contents) in tree(root) {
        let expected = if contents.is_some() { 0o600 } else { 0o700 };
        assert_eq!(mode(&root.join(&path)), expected, "{}", path.display());
    }
}

#[test]
fn everything_in_the_data_directory_is_private_whatever_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    for umask in ["000", "022", "027"] {
        let data = directory.path().join(umask);
        let server = Server::start_with_umask(umask, &data, &["--nodes", "1"]);
        assert_private(&data);
        server.terminate();
        assert_private(&data);
    }
}

#[test]
fn what_an_older_version_left_readable_is_narrowed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    Server::start(&data, &[]).terminate();
    for (path, contents) in tree(&data) {
        set_mode(
            &data.join(path),
            if contents.is_some() { 0o644 } else { 0o755 },
        );
    }
    set_mode(&data, 0o755);
    Server::start(&data, &[]).terminate();
    assert_private(&data);
}

#[test]
fn what_others_could_have_changed_is_refused_with_a_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    Server::start(&data, &[]).terminate();
    let before = tree(&data);
    for (path, bad, good) in [
        ("", 0o777, 0o700),
        ("pki", 0o770, 0o700),
        ("pki/ca.key", 0o660, 0o600),
        ("store", 0o703, 0o700),
        ("store/store.redb", 0o606, 0o600),
        ("store/lock", 0o666, 0o600),
    ] {
        set_mode(&data.join(path), bad);
        refused(&data, &["other users may write", "hint:", "chmod"]);
        set_mode(&data.join(path), good);
    }
    let lock = data.join("store/lock");
    let target = directory.path().join("target");
    std::fs::rename(&lock, &target).unwrap();
    symlink(&target, &lock).unwrap();
    refused(&data, &["symbolic link", "hint:"]);
    std::fs::remove_file(&lock).unwrap();
    std::fs::rename(&target, &lock).unwrap();
    // Only root can give files away.
    if std::fs::metadata(&data).unwrap().uid() == 0 {
        for path in ["", "pki/ca.key", "store/store.redb"] {
            chown(data.join(path), Some(12345), None).unwrap();
            refused(&data, &["belongs to user 12345", "hint:", "chown"]);
            chown(data.join(path), Some(0), None).unwrap();
        }
    }
    assert_eq!(tree(&data), before);
    Server::start(&data, &[]).terminate();
}

#[test]
fn a_refused_start_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    // Killed: redb has to repair such a file.
    Server::start(&original, &[]).kill();
    let files = tree(&original);
    let restore = |data: &Path| {
        drop(std::fs::remove_dir_all(data));
        std::fs::create_dir(data).unwrap();
        set_mode(data, 0o700);
        for (path, contents) in &files {
            match contents {
                Some(contents) => {
                    std::fs::write(data.join(path), contents).unwrap();
                    set_mode(&data.join(path), 0o600);
                }
                None => {
                    std::fs::create_dir(data.join(path)).unwrap();
                    set_mode(&data.join(path), 0o700);
                }
            }
        }
    };
    let data = directory.path().join("data");
    let store = &files[Path::new("store/store.redb")].clone().unwrap();
    let half = store.len() / 2;
    let future = 9_999_999_u64.to_be_bytes();
    let damages: [(&str, &str, Vec<u8>); 5] = [
        ("the store", "store/store.redb", vec![0xff; 4096]),
        ("an empty store", "store/store.redb", Vec::new()),
        (
            "half of the store",
            "store/store.redb",
            store[..half].to_vec(),
        ),
        ("the authority's key", "pki/ca.key", b"rubbish".to_vec()),
        ("the account key", "pki/sa.key", future.to_vec()),
    ];
    for (name, path, contents) in damages {
        restore(&data);
        std::fs::write(data.join(path), contents).unwrap();
        let before = tree(&data);
        refused(&data, &["error: "]);
        assert_eq!(tree(&data), before, "{name}: something changed");
        // Also without a lock file, which must not be left behind.
        std::fs::remove_file(data.join("store/lock")).unwrap();
        let before = tree(&data);
        refused(&data, &["error: "]);
        assert_eq!(tree(&data), before, "{name}: something changed");
    }
    restore(&data);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = exeunt()
        .args(["serve", "--data-dir"])
        .arg(&data)
        .args(["--listen", &taken.local_addr().unwrap().to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert_eq!(tree(&data), files, "the port is taken");
    Server::start(&data, &[]).terminate();
}

/// Asks for the health of a server over its own client.
async fn ready(client: &kube::Client) -> (bool, String) {
    let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
    match client.request_text(request).await {
        Ok(text) => (true, text),
        Err(kube::Error::Api(status)) => (false, status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn writes_are_not_acknowledged_after_the_data_directory_is_gone() {
    type Removal = fn(&Path);
    let removals: [(&str, Removal); 4] = [
        ("removed", |data| std::fs::remove_dir_all(data).unwrap()),
        ("moved", |data| {
            std::fs::rename(data, data.with_extension("away")).unwrap()
        }),
        ("replaced", |data| {
            let file = data.join("store/store.redb");
            let copy = std::fs::read(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, copy).unwrap();
        }),
        ("unlocked", |data| {
            std::fs::remove_file(data.join("store/lock")).unwrap()
        }),
    ];
    for (name, remove) in removals {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let server = Server::start(&data, &[]);
        let client = server.client().await;
        assert_eq!(ready(&client).await, (true, "ok".to_owned()));
        remove(&data);
        let maps = Api::<ConfigMap>::namespaced(client.clone(), "default");
        let map = serde_json::from_value(json!({"metadata": {"name": "late"}})).unwrap();
        // The health check, or the write, is the first to notice; both must.
        let checked_first = name == "moved" || name == "unlocked";
        if checked_first {
            let (is_ready, text) = ready(&client).await;
            assert!(
                !is_ready && text.contains("of the store was"),
                "{name}: {text}"
            );
        }
        let written = maps.create(&PostParams::default(), &map).await;
        assert!(written.is_err(), "{name}: the write was acknowledged");
        let (is_ready, text) = ready(&client).await;
        assert!(
            !is_ready && text.contains("of the store was"),
            "{name}: {text}"
        );
    }
}
