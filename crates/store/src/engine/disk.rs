//! The embedded engine: one redb file, a copy-on-write B-tree with checksummed pages.
//!
//! # Layout
//!
//! The directory of a store holds two files. `lock` is locked while the store is open, and contains
//! the newest acknowledged revision. `store.redb` has one table from keys to entries (see
//! [`codec`](super::codec)). The empty key, which no record can have, holds the summary: format,
//! newest revision, number of records.
//!
//! # Durability
//!
//! A batch is one redb transaction with immediate durability: pages are written beside the old
//! ones and synced, and only then does the header point to them. A new file is created under
//! another name and renamed when it is complete, so an empty or truncated `store.redb` is never the
//! result of a crash.
//!
//! After the sync, the revision is written to `lock` without a sync of its own. It is never too
//! new, and it is not too old unless the machine itself crashed. It detects a case that redb
//! cannot: when the newest transaction is damaged after an unclean shutdown, redb takes it for one
//! that was never finished and opens the one before.
//!
//! # Corruption
//!
//! Files that cannot be read are reported and left unchanged: the writes of redb are held in memory
//! until the first batch is appended (see [`mod@file`]), which happens after [`Engine::load`] has
//! accepted every record. redb verifies its pages after an unclean shutdown; this engine verifies
//! every record and their number at every start.
//!
//! # Removal
//!
//! A batch is acknowledged only if its files are still the ones at their paths after the sync
//! ([`presence`]): what is written to a removed file is lost with the process.
//!
//! # Access
//!
//! The directory and its files belong to this user alone, see the crate `files`.

mod file;
mod lock;
mod presence;

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition,
};

use self::file::{StoreFile, WriteControl};
use self::lock::{DirectoryLock, LOCK_FILE};
use self::presence::OpenFiles;
use crate::engine::codec::{Summary, decode_record, decode_summary, encode_record, encode_summary};
use crate::engine::{
    Batch, Engine, EngineError, OpenError, PresenceCheck, Stored, Write, panic_message,
};
use crate::record::Revision;

const STORE_FILE: &str = "store.redb";
/// The name of a new store until it is complete.
const NEW_FILE: &str = "store.redb.new";

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const SUMMARY_KEY: &[u8] = b"";

/// The size of redb's page cache. The store serves all reads itself, so the cache holds only the
/// upper part of the tree and the pages that one batch touches; a larger one showed no gain.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// An engine that stores records in a redb file, in a directory that it locks for itself.
///
/// Fields are dropped in order: the lock must outlive the database.
pub struct DiskEngine {
    database: Database,
    writes: WriteControl,
    files: OpenFiles,
    lock: DirectoryLock,
}

impl DiskEngine {
    /// Opens the store in `dir`, or creates it.
    ///
    /// # Errors
    ///
    /// [`EngineError::InUse`] when the directory is locked, [`EngineError::Corrupt`] when the file
    /// is damaged, [`EngineError::Untrusted`] when others could have changed it,
    /// [`EngineError::Io`] when it cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        open(dir).map_err(|reason| OpenError {
            path: dir.to_owned(),
            reason,
        })
    }
}

impl std::fmt::Debug for DiskEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskEngine").finish_non_exhaustive()
    }
}

fn open(dir: &Path) -> Result<DiskEngine, EngineError> {
    files::private_dir(dir)?;
    let lock = DirectoryLock::take(dir)?;
    let path = dir.join(STORE_FILE);
    let opened = match files::open_private(&path)? {
        Some(file) => guarded(|| existing(file))?,
        None => create(dir, &path)?,
    };
    let files = OpenFiles::new([(path.as_path(), &opened.file), (lock.path(), lock.file())])?;
    Ok(DiskEngine {
        database: opened.database,
        writes: opened.writes,
        files,
        lock,
    })
}

/// A database, the control of its writes, and another handle to its file.
struct OpenedDatabase {
    database: Database,
    writes: WriteControl,
    file: File,
}

/// Opens a store without changing it.
fn existing(file: File) -> Result<OpenedDatabase, EngineError> {
    // redb would take an empty file for a new one.
    if file.metadata()?.len() == 0 {
        return Err(EngineError::Corrupt("the file is empty".to_owned()));
    }
    let handle = file.try_clone()?;
    let (backend, writes) = StoreFile::hold(file)?;
    Ok(OpenedDatabase {
        database: builder().create_with_backend(backend)?,
        writes,
        file: handle,
    })
}

/// Creates an empty store that appears as `path` when it is complete. The database stays open while
/// the file is renamed, because opening it again would cost several syncs at start-up.
fn create(dir: &Path, path: &Path) -> Result<OpenedDatabase, EngineError> {
    let unfinished: PathBuf = dir.join(NEW_FILE);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        // An unfinished file is left when the creation was interrupted. It holds no data.
        Ok(()) | Err(_) => {}
    }
    let file = files::create_private(&unfinished)?;
    let handle = file.try_clone()?;
    let (backend, writes) = StoreFile::hold(file)?;
    let database = builder().create_with_backend(backend)?;
    write(
        &database,
        &Batch {
            revision: Revision(0),
            records: 0,
            writes: Vec::new(),
        },
    )?;
    writes.release_new()?;
    fs::rename(&unfinished, path)?;
    // The rename is durable only when the directory is synced.
    File::open(dir)?.sync_all()?;
    Ok(OpenedDatabase {
        database,
        writes,
        file: handle,
    })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn write(database: &Database, batch: &Batch<'_>) -> Result<(), EngineError> {
    let txn = database.begin_write().map_err(redb::Error::from)?;
    {
        let mut entries = txn.open_table(ENTRIES).map_err(redb::Error::from)?;
        for write in &batch.writes {
            match write {
                Write::Put(record) => {
                    drop(entries.insert(record.key.as_bytes(), &*encode_record(record))?)
                }
                Write::Remove(key) => drop(entries.remove(key.as_bytes())?),
            }
        }
        entries.insert(SUMMARY_KEY, &*encode_summary(batch))?;
    }
    txn.commit().map_err(redb::Error::from)?;
    Ok(())
}

fn read(database: &Database, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
    let txn = database.begin_read().map_err(redb::Error::from)?;
    let entries = txn
        .open_table(ENTRIES)
        .map_err(|error| EngineError::Corrupt(error.to_string()))?;
    let mut summary: Option<Summary> = None;
    let mut count = 0;
    for entry in entries.iter()? {
        let (key, value) = entry?;
        if key.value() == SUMMARY_KEY {
            summary = Some(decode_summary(value.value())?);
        } else {
            each(decode_record(key.value(), value.value())?);
            count += 1;
        }
    }
    let summary =
        summary.ok_or_else(|| EngineError::Corrupt("the summary entry is missing".into()))?;
    if count != summary.records {
        return Err(EngineError::Corrupt(format!(
            "found {count} records, expected {}",
            summary.records
        )));
    }
    Ok(summary.revision)
}

/// Runs `attempt` and reports a panic as a corrupt file: damaged pages can violate redb's own
/// assertions.
fn guarded<T>(attempt: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
        Err(EngineError::Corrupt(format!(
            "cannot read the file: {}",
            panic_message(&*panic)
        )))
    })
}

impl Engine for DiskEngine {
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        let revision = guarded(|| read(&self.database, each))?;
        let acknowledged = self.lock.read_acknowledged()?;
        if revision < acknowledged {
            return Err(EngineError::Corrupt(format!(
                "its newest revision is {revision}, but revision {acknowledged} was acknowledged; \
                 to restore an older copy, remove the file `{LOCK_FILE}` beside it"
            )));
        }
        Ok(revision)
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        self.lock.keep();
        self.writes.release()?;
        write(&self.database, batch)?;
        // After the commit, so the acknowledged revision is never newer than the file's.
        self.lock.write_acknowledged(batch.revision)?;
        // Last: only what is still at its path survives this process.
        self.files.check()
    }

    fn presence(&self) -> Option<PresenceCheck> {
        let files = self.files.clone();
        Some(Box::new(move || files.check()))
    }
}

impl From<DatabaseError> for EngineError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            DatabaseError::Storage(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::Error> for EngineError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Corrupted(what) => Self::Corrupt(what),
            // redb reports a truncated file, and a file of another type, as errors of this kind.
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
                ) =>
            {
                Self::Corrupt(error.to_string())
            }
            redb::Error::Io(error) => Self::Io(error),
            other => Self::Failed(other.to_string()),
        }
    }
}
