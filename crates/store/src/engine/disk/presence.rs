//! Whether the open files of a store are still the ones at their paths.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::FileIdentity;

use crate::engine::EngineError;

/// The paths of open files with their identities. Clones are cheap.
#[derive(Clone, Debug)]
pub(super) struct OpenFiles {
    files: Arc<[(PathBuf, FileIdentity)]>,
}

impl OpenFiles {
    /// Remembers the identities of open files.
    pub(super) fn new<const N: usize>(files: [(&Path, &File); N]) -> io::Result<Self> {
        let files = files
            .into_iter()
            .map(|(path, file)| Ok((path.to_owned(), FileIdentity::of(file)?)));
        Ok(Self {
            files: files.collect::<io::Result<_>>()?,
        })
    }

    /// Compares each file with what is at its path now, which takes one system call for each.
    ///
    /// # Errors
    /// [`EngineError::Replaced`] for the first file that differs.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        for (path, identity) in &*self.files {
            let what = match FileIdentity::at(path)? {
                Some(found) if found == *identity => continue,
                Some(_) => "replaced",
                None => "removed or moved away",
            };
            tracing::error!(path = %path.display(), "an open file of the store was {what}");
            return Err(EngineError::Replaced {
                path: path.clone(),
                what,
            });
        }
        Ok(())
    }
}
