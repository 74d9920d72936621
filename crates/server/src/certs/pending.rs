//! Certificates and keys as private files in a directory, read and written with the crate `files`.

use std::path::{Path, PathBuf};

use files::{FileReplacement, private_dir, read_private};

use super::{CertsError, Pair};

/// Reads `NAME.key`; `None` if it does not exist.
pub(super) fn read_key(dir: &Path, name: &str) -> Result<Option<String>, CertsError> {
    Ok(read_private(&dir.join(format!("{name}.key")))?)
}

/// Reads `NAME.crt` and `NAME.key`; `None` if one of them does not exist.
pub(super) fn read_pair(dir: &Path, name: &str) -> Result<Option<Pair>, CertsError> {
    let (certificate, key) = (
        read_private(&dir.join(format!("{name}.crt")))?,
        read_key(dir, name)?,
    );
    Ok(certificate
        .zip(key)
        .map(|(certificate, key)| Pair { certificate, key }))
}

/// Files to be written together.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingFiles {
    files: Vec<(PathBuf, String)>,
}

impl PendingFiles {
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
    pub(super) fn write(&self, dir: &Path) -> Result<(), CertsError> {
        private_dir(dir)?;
        let written: Vec<FileReplacement> = self
            .files
            .iter()
            .map(|(path, text)| FileReplacement::write(path, text))
            .collect::<Result<_, _>>()?;
        std::thread::scope(|scope| {
            let syncs: Vec<_> = written
                .iter()
                .map(|replacement| scope.spawn(|| replacement.sync()))
                .collect();
            syncs.into_iter().try_for_each(|sync| {
                sync.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        written.into_iter().try_for_each(FileReplacement::finish)?;
        Ok(())
    }
}
