//! Files that hold secrets: written whole or not at all, and readable by their owner only.

use std::io::Write as _;
use std::path::Path;

use super::{CertsError, Pair};

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> CertsError + 'a {
    move |source| CertsError::File { doing, path: path.display().to_string(), source }
}

/// Makes the directory, closed to others.
pub(super) fn make_dir(dir: &Path) -> Result<(), CertsError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(failed("make", dir))
}

/// Reads `NAME.key`; none when it is missing.
pub(super) fn read_key(dir: &Path, name: &str) -> Result<Option<String>, CertsError> {
    read(&dir.join(format!("{name}.key")))
}

/// Writes `NAME.key`.
pub(super) fn write_key(dir: &Path, name: &str, key: &str) -> Result<(), CertsError> {
    let path = dir.join(format!("{name}.key"));
    write_secret(&path, key).map_err(failed("write", &path))
}

/// Reads `NAME.crt` and `NAME.key`; none when one of them is missing.
pub(super) fn read_pair(dir: &Path, name: &str) -> Result<Option<Pair>, CertsError> {
    let (certificate, key) = (read(&dir.join(format!("{name}.crt")))?, read_key(dir, name)?);
    Ok(certificate.zip(key).map(|(certificate, key)| Pair { certificate, key }))
}

/// Writes `NAME.key` and `NAME.crt`.
pub(super) fn write_pair(dir: &Path, name: &str, pair: &Pair) -> Result<(), CertsError> {
    // The key first: a certificate without its key would look complete after a crash.
    write_key(dir, name, &pair.key)?;
    let path = dir.join(format!("{name}.crt"));
    write_secret(&path, &pair.certificate).map_err(failed("write", &path))
}

fn read(path: &Path) -> Result<Option<String>, CertsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // A left-over of a crash might have other permissions.
    let _ = std::fs::remove_file(fresh);
    let mut file = options.open(fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(fresh, path)
}
