//! Files that hold secrets: written atomically, and readable by their owner only.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{CertsError, Pair};

fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> CertsError + 'a {
    move |source| CertsError::File {
        doing,
        path: path.display().to_string(),
        source,
    }
}

/// Creates the directory, accessible to its owner only.
pub(super) fn make_dir(dir: &Path) -> Result<(), CertsError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(failed("create", dir))
}

/// Reads `NAME.key`; `None` if it does not exist.
pub(super) fn read_key(dir: &Path, name: &str) -> Result<Option<String>, CertsError> {
    read(&dir.join(format!("{name}.key")))
}

/// Reads `NAME.crt` and `NAME.key`; `None` if one of them does not exist.
pub(super) fn read_pair(dir: &Path, name: &str) -> Result<Option<Pair>, CertsError> {
    let (certificate, key) = (
        read(&dir.join(format!("{name}.crt")))?,
        read_key(dir, name)?,
    );
    Ok(certificate
        .zip(key)
        .map(|(certificate, key)| Pair { certificate, key }))
}

/// Files to be written together.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: Vec<(PathBuf, String)>,
}

impl Files {
    /// Adds `NAME.key`.
    pub(super) fn add_key(&mut self, dir: &Path, name: &str, key: &str) {
        self.files
            .push((dir.join(format!("{name}.key")), key.to_owned()));
    }

    /// Adds `NAME.key` and `NAME.crt`.
    pub(super) fn add_pair(&mut self, dir: &Path, name: &str, pair: &Pair) {
        // The key comes first: after a crash, a certificate without its key would look complete.
        self.add_key(dir, name, &pair.key);
        self.files
            .push((dir.join(format!("{name}.crt")), pair.certificate.clone()));
    }

    /// Writes each file atomically and renames them in order. They are synced in parallel, because
    /// a disk takes several syncs in little more time than one.
    pub(super) fn write(&self) -> Result<(), CertsError> {
        let fresh: Vec<Fresh<'_>> = self
            .files
            .iter()
            .map(|(path, text)| Fresh::write(path, text))
            .collect::<Result<_, _>>()?;
        std::thread::scope(|scope| {
            let syncs: Vec<_> = fresh
                .iter()
                .map(|fresh| scope.spawn(|| fresh.sync()))
                .collect();
            syncs.into_iter().try_for_each(|sync| {
                sync.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        fresh.into_iter().try_for_each(Fresh::rename)
    }
}

fn read(path: &Path) -> Result<Option<String>, CertsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Writes a file atomically that only its owner can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = create(path, text)?;
    fresh.file.sync_all()?;
    std::fs::rename(&fresh.written_to, path)
}

/// A file with a temporary name, until it is complete.
struct Fresh<'a> {
    path: &'a Path,
    written_to: PathBuf,
    file: File,
}

impl<'a> Fresh<'a> {
    fn write(path: &'a Path, text: &str) -> Result<Self, CertsError> {
        create(path, text).map_err(failed("write", path))
    }

    fn sync(&self) -> Result<(), CertsError> {
        self.file.sync_all().map_err(failed("write", self.path))
    }

    fn rename(self) -> Result<(), CertsError> {
        std::fs::rename(&self.written_to, self.path).map_err(failed("write", self.path))
    }
}

fn create<'a>(path: &'a Path, text: &str) -> std::io::Result<Fresh<'a>> {
    let mut written_to = path.as_os_str().to_owned();
    written_to.push(".new");
    let written_to = PathBuf::from(written_to);
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // A file that a crash left behind might have other permissions.
    let _ = std::fs::remove_file(&written_to);
    let mut file = options.open(&written_to)?;
    file.write_all(text.as_bytes())?;
    Ok(Fresh {
        path,
        written_to,
        file,
    })
}
