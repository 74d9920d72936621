//! Modes and refusals, on a real file system.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail by panicking, their helpers too"
)]

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with one file of this mode in it.
fn with_file(bits: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "secret").unwrap();
    set_mode(&path, bits);
    (dir, path)
}

#[test]
fn what_is_created_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    private_dir(&nested).unwrap();
    assert_eq!((mode(&nested), mode(&dir.path().join("a"))), (0o700, 0o700));
    create_private(&nested.join("new")).unwrap();
    write_private(&nested.join("text"), "x").unwrap();
    let (_, created) = open_or_create_private(&nested.join("lock")).unwrap();
    assert!(created);
    for name in ["new", "text", "lock"] {
        assert_eq!(mode(&nested.join(name)), 0o600, "{name}");
    }
}

#[test]
fn what_others_may_read_is_narrowed() {
    let (dir, path) = with_file(0o644);
    set_mode(dir.path(), 0o755);
    private_dir(dir.path()).unwrap();
    assert_eq!(read_private(&path).unwrap().as_deref(), Some("secret"));
    assert_eq!((mode(dir.path()), mode(&path)), (0o700, 0o600));
    set_mode(&path, 0o640);
    open_private(&path).unwrap().unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn what_others_may_write_is_refused_and_left_alone() {
    let (dir, path) = with_file(0o666);
    for error in [
        open_private(&path).unwrap_err(),
        read_private(&path).unwrap_err(),
        read_prepared(&path).unwrap_err(),
        open_or_create_private(&path).unwrap_err(),
    ] {
        assert!(
            matches!(error, FileError::Writable { mode: 0o666, .. }),
            "{error:?}"
        );
        assert!(error.remedy().unwrap().contains("chmod"), "{error:?}");
    }
    set_mode(dir.path(), 0o777);
    let error = private_dir(dir.path()).unwrap_err();
    assert!(
        matches!(error, FileError::Writable { mode: 0o777, .. }),
        "{error:?}"
    );
    assert_eq!((mode(dir.path()), mode(&path)), (0o777, 0o666));
}

#[test]
fn an_empty_directory_is_narrowed_whatever_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o1777);
    private_dir(dir.path()).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
}

#[test]
fn a_link_is_not_followed_where_a_file_is_written() {
    let (dir, path) = with_file(0o600);
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    for error in [
        open_private(&link).unwrap_err(),
        open_or_create_private(&link).unwrap_err(),
    ] {
        assert!(matches!(error, FileError::Link { .. }), "{error:?}");
        assert!(error.remedy().unwrap().contains("link"), "{error:?}");
    }
    let dangling = dir.path().join("dangling");
    symlink(dir.path().join("nowhere"), &dangling).unwrap();
    open_or_create_private(&dangling).unwrap_err();
    assert!(!dir.path().join("nowhere").exists());

    symlink(&path, dir.path().join("text.new")).unwrap();
    write_private(&dir.path().join("text"), "other").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
}

#[test]
fn something_other_than_a_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let error = open_private(&pipe).unwrap_err();
    assert!(matches!(error, FileError::NotRegular { .. }), "{error:?}");
}

#[test]
fn a_file_without_end_is_not_read_into_memory() {
    let (_dir, path) = with_file(0o600);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(MAX_READ_BYTES + 1).unwrap();
    let error = read_private(&path).unwrap_err();
    assert!(
        matches!(&error, FileError::Io { source, .. }
            if source.kind() == io::ErrorKind::FileTooLarge),
        "{error:?}"
    );
}

/// Only root can give a file away; for other users `owner::tests` covers the decision.
#[test]
fn what_another_user_owns_is_refused() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let (dir, path) = with_file(0o600);
    chown(&path, Some(12345), None).unwrap();
    for error in [
        open_private(&path).unwrap_err(),
        read_private(&path).unwrap_err(),
        read_prepared(&path).unwrap_err(),
    ] {
        assert!(
            matches!(error, FileError::Foreign { owner: 12345, .. }),
            "{error:?}"
        );
        assert!(error.remedy().unwrap().contains("chown"), "{error:?}");
    }
    chown(dir.path(), Some(12345), None).unwrap();
    let error = private_dir(dir.path()).unwrap_err();
    assert!(matches!(error, FileError::Foreign { .. }), "{error:?}");
}

#[test]
fn an_identity_shows_whether_a_path_still_leads_to_the_open_file() {
    let (dir, path) = with_file(0o600);
    let file = File::open(&path).unwrap();
    let identity = FileIdentity::of(&file).unwrap();
    assert_eq!(FileIdentity::at(&path).unwrap(), Some(identity));
    fs::rename(&path, dir.path().join("moved")).unwrap();
    assert_eq!(FileIdentity::at(&path).unwrap(), None);
    fs::write(&path, "other").unwrap();
    assert_ne!(FileIdentity::at(&path).unwrap(), Some(identity));
}
