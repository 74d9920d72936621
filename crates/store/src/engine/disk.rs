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
//! Files that cannot be read are reported and left unchanged. redb verifies its pages after an
//! unclean shutdown; this engine verifies every record and their number at every start.

mod file;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition,
};

use self::file::DeferredSync;
use crate::engine::codec::{
    Summary, decode_acknowledged, decode_record, decode_summary, encode_acknowledged,
    encode_record, encode_summary,
};
use crate::engine::{Batch, Engine, EngineError, OpenError, Stored, Write, panic_message};
use crate::record::Revision;

const LOCK_FILE: &str = "lock";
const STORE_FILE: &str = "store.redb";
/// The name of a new store until it is complete.
const NEW_FILE: &str = "store.redb.new";

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const SUMMARY_KEY: &[u8] = b"";

/// The size of redb's page cache. The store serves all reads itself, so the cache holds only the
/// upper part of the tree and the pages that one batch touches; a larger one showed no gain.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// An engine that stores records in a redb file, in a directory that it locks for itself.
pub struct DiskEngine {
    database: Database,
    /// Declared last: fields are dropped in order, and the lock must outlive the database.
    lock: File,
}

impl DiskEngine {
    /// Opens the store in `dir`, or creates it.
    ///
    /// # Errors
    ///
    /// [`EngineError::InUse`] when the directory is locked, [`EngineError::Corrupt`] when the file
    /// is damaged, [`EngineError::Io`] when it cannot be read or written.
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
    fs::create_dir_all(dir)?;
    let lock = lock(dir)?;
    let file = dir.join(STORE_FILE);
    let database = if file.try_exists()? {
        guarded(|| builder().open(&file).map_err(Into::into))?
    } else {
        create(dir, &file)?
    };
    Ok(DiskEngine { database, lock })
}

fn lock(dir: &Path) -> Result<File, EngineError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(dir.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EngineError::InUse),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Creates an empty store that appears as `file` when it is complete. The database stays open while
/// the file is renamed, because opening it again would cost several syncs at start-up.
fn create(dir: &Path, file: &Path) -> Result<Database, EngineError> {
    let unfinished: PathBuf = dir.join(NEW_FILE);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        // An unfinished file is left when the creation was interrupted. It holds no data.
        Ok(()) | Err(_) => {}
    }
    let (backend, sync) = DeferredSync::new(
        File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&unfinished)?,
    )?;
    let database = builder().create_with_backend(backend)?;
    write(
        &database,
        &Batch {
            revision: Revision(0),
            records: 0,
            writes: Vec::new(),
        },
    )?;
    sync.enable()?;
    fs::rename(&unfinished, file)?;
    // The rename is durable only when the directory is synced.
    File::open(dir)?.sync_all()?;
    Ok(database)
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

/// Reads the newest acknowledged revision; 0 when it is unknown.
fn read_acknowledged(lock: &mut File) -> Result<Revision, EngineError> {
    let mut bytes = Vec::new();
    lock.rewind()?;
    lock.read_to_end(&mut bytes)?;
    // The file is written without a sync, so a power failure can leave any bytes in it.
    Ok(decode_acknowledged(&bytes).unwrap_or_default())
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
        let acknowledged = read_acknowledged(&mut self.lock)?;
        if revision < acknowledged {
            return Err(EngineError::Corrupt(format!(
                "its newest revision is {revision}, but revision {acknowledged} was acknowledged; \
                 to restore an older copy, remove the file `{LOCK_FILE}` beside it"
            )));
        }
        Ok(revision)
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        write(&self.database, batch)?;
        // After the commit, so the acknowledged revision is never newer than the file's.
        self.lock.rewind()?;
        self.lock.write_all(&encode_acknowledged(batch.revision))?;
        Ok(())
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
