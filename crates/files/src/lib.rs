//! Files that belong to the user of this process alone: the store, keys, the kubeconfig, tokens.
//!
//! Whatever is created here has mode 0600 (files) or 0700 (directories), whatever the umask.
//! Whatever exists is checked through the opened handle, not through the path, so that nothing can
//! be exchanged in between:
//!
//! * Another user's file or directory is refused: its owner can change it at any time.
//! * What others may write is refused: they may have changed it already. An empty directory is
//!   narrowed instead, because it contains nothing that could have been changed.
//! * What others may only read is narrowed to this user. Versions before 0.2 left it that way.
//! * A symbolic link in place of a file that is written is refused.
//!
//! Not checked: directories above the given one, access control lists, and what root does. On
//! systems other than Unix nothing is checked.

mod error;
mod identity;
mod owner;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

pub use error::FileError;
pub use identity::FileIdentity;
use owner::Trust;

/// The largest file that is read as a whole. Keys, certificates and token files are far smaller.
const MAX_READ_BYTES: u64 = 16 * 1024 * 1024;

/// Makes sure that the directory exists and that only this user can read or change it. Missing
/// parents are created with the same mode.
///
/// # Errors
/// The directory cannot be created or opened, another user owns it, or it has contents and others
/// may write to it.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(FileError::io("create directory", path))?;
    owner::check_link(path)?;
    let dir = File::open(path).map_err(FileError::io("open directory", path))?;
    owner::narrow_dir(&dir, path)
}

/// Opens a private file for reading and writing; `None` if it does not exist.
///
/// # Errors
/// The file cannot be opened, is a symbolic link, belongs to another user, or others may write it.
pub fn open_private(path: &Path) -> Result<Option<File>, FileError> {
    let mut options = File::options();
    options.read(true).write(true);
    opened(path, &mut options, Trust::OwnOnly)
}

/// Opens a private file for reading and writing, and creates it if it does not exist. Returns
/// whether it was created.
///
/// # Errors
/// Those of [`open_private`] and [`create_private`].
pub fn open_or_create_private(path: &Path) -> Result<(File, bool), FileError> {
    // Another process may create or remove the file between the two attempts.
    for _ in 0..3 {
        if let Some(file) = open_private(path)? {
            return Ok((file, false));
        }
        match create_private(path) {
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (file, true)),
        }
    }
    let unstable = io::Error::other("it appears and disappears");
    Err(FileError::io("open", path)(unstable))
}

/// Creates a private file, which must not exist, for reading and writing.
///
/// # Errors
/// The file exists or cannot be created.
pub fn create_private(path: &Path) -> Result<File, FileError> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(FileError::io("create", path))?;
    // The umask may have taken rights from this user, too.
    owner::narrow_file(&file, path, Trust::OwnOnly)?;
    Ok(file)
}

/// Reads a private file; `None` if it does not exist. A symbolic link is followed. Root may own the
/// file.
///
/// # Errors
/// The file cannot be read, is larger than 16 MiB, belongs to a third user, or others may write it.
pub fn read_private(path: &Path) -> Result<Option<String>, FileError> {
    let Some(file) = opened(path, File::options().read(true), Trust::OwnOrRoot)? else {
        return Ok(None);
    };
    read_text(&file, path).map(Some)
}

/// Reads a file that an administrator has prepared, for example with tokens. A symbolic link is
/// followed, and root may own the file. Its mode stays: where others may read it, a warning is
/// logged.
///
/// # Errors
/// The file does not exist or cannot be read, is larger than 16 MiB, belongs to a third user, or
/// others may write it.
pub fn read_prepared(path: &Path) -> Result<String, FileError> {
    let file = open_checked(path, File::options().read(true), Trust::OwnOrRoot)
        .map_err(FileError::io("read", path))?;
    owner::check_prepared(&file, path)?;
    read_text(&file, path)
}

/// A private file that replaces the one at its path when it is complete. Readers see the old
/// contents or the new ones, never a part.
///
/// Dropping it before [`FileReplacement::finish`] leaves the old file in place.
#[derive(Debug)]
pub struct FileReplacement {
    path: PathBuf,
    written_to: PathBuf,
    file: File,
}

impl FileReplacement {
    /// Writes the text beside the path.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn write(path: &Path, text: &str) -> Result<Self, FileError> {
        let mut written_to = path.as_os_str().to_owned();
        written_to.push(".new");
        let written_to = PathBuf::from(written_to);
        // Left by a crash, or a link that somebody placed: removing it removes the link only.
        let _ = fs::remove_file(&written_to);
        let mut file = create_private(&written_to)?;
        file.write_all(text.as_bytes())
            .map_err(FileError::io("write", path))?;
        Ok(Self {
            path: path.to_owned(),
            written_to,
            file,
        })
    }

    /// Makes the text durable.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file
            .sync_all()
            .map_err(FileError::io("write", &self.path))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn finish(self) -> Result<(), FileError> {
        fs::rename(&self.written_to, &self.path).map_err(FileError::io("write", &self.path))
    }
}

/// Replaces a private file atomically and durably, see [`FileReplacement`].
///
/// # Errors
/// What the file system reports.
pub fn write_private(path: &Path, text: &str) -> Result<(), FileError> {
    let replacement = FileReplacement::write(path, text)?;
    replacement.sync()?;
    replacement.finish()
}

fn opened(path: &Path, options: &mut OpenOptions, trust: Trust) -> Result<Option<File>, FileError> {
    let file = match open_checked(path, options, trust) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(owner::open_error(path, trust, error)),
    };
    owner::narrow_file(&file, path, trust)?;
    Ok(Some(file))
}

#[cfg(unix)]
fn open_checked(path: &Path, options: &mut OpenOptions, trust: Trust) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Without NONBLOCK, opening a named pipe would wait for its other end.
    let mut flags = rustix::fs::OFlags::NONBLOCK;
    if trust == Trust::OwnOnly {
        flags |= rustix::fs::OFlags::NOFOLLOW;
    }
    let bits = i32::try_from(flags.bits()).unwrap_or_default();
    options.custom_flags(bits).open(path)
}

#[cfg(not(unix))]
fn open_checked(path: &Path, options: &mut OpenOptions, _: Trust) -> io::Result<File> {
    options.open(path)
}

fn read_text(file: &File, path: &Path) -> Result<String, FileError> {
    let mut text = String::new();
    let mut limited = file.take(MAX_READ_BYTES + 1);
    limited
        .read_to_string(&mut text)
        .map_err(FileError::io("read", path))?;
    if limited.limit() == 0 {
        let large = io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB");
        return Err(FileError::io("read", path)(large));
    }
    Ok(text)
}

#[cfg(all(test, unix))]
mod tests;
