//! The embedded engine: one redb file, a copy-on-write B-tree with checksummed pages.
//!
//! # Layout
//!
//! A directory holds `lock`, which is locked while the store is open, and `store.redb`, which has
//! one table from keys to entries (see [`codec`](super::codec)). The empty key, which no record
//! can have, holds the summary: format, newest revision, number of records. In `lock` stands the
//! newest acknowledged revision.
//!
//! # Update protocol
//!
//! A batch is one redb transaction with immediate durability: pages are written beside the old
//! ones, synced, and only then does the header point to them. A new file is made under another
//! name and renamed when it is complete, so that an empty or half-made `store.redb` is never the
//! work of a crash.
//!
//! After the sync the revision is written into `lock`, without a sync: what stands there is never
//! too new, and after the death of the process, if not of the machine, never too old. By it we
//! notice when redb, after an unclean end, takes a damaged newest commit for one that was not
//! finished, and opens with the one before.
//!
//! What cannot be read is reported and left as it is. redb checks its pages after an unclean end;
//! we check each record and their number at every start.

mod file;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition,
};

use self::file::NewFile;
use crate::engine::codec::{
    Summary, decode_mark, decode_record, decode_summary, encode_mark, encode_record, encode_summary,
};
use crate::engine::{Batch, Engine, EngineError, OpenError, Stored, Write};
use crate::record::Revision;
use crate::writer::text_of_panic;

const LOCK_FILE: &str = "lock";
const STORE_FILE: &str = "store.redb";
/// What a new file is called until it is complete.
const NEW_FILE: &str = "store.redb.new";

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const SUMMARY_KEY: &[u8] = b"";

/// Pages that redb keeps in memory. All reads are served by the store itself, so that this is only
/// the upper part of the tree and what one batch touches; more than that showed no gain.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Keeps records in a file of a directory that it has to itself.
pub struct DiskEngine {
    database: Database,
    /// Unlocked when it is closed, which must be after the database: fields are dropped in order.
    lock: File,
}

impl DiskEngine {
    /// Opens the store in `dir`, or makes one where there is none.
    ///
    /// # Errors
    ///
    /// With [`EngineError::InUse`] when the directory is locked, [`EngineError::Corrupt`] when the
    /// file is damaged, [`EngineError::Io`] when it cannot be read or written.
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

/// Makes an empty store that appears as `file` when it is complete. It stays open while it is
/// renamed: opening it again would cost some more syncs, and a server should start at once.
fn create(dir: &Path, file: &Path) -> Result<Database, EngineError> {
    let unfinished: PathBuf = dir.join(NEW_FILE);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        // It was never a store: somebody was interrupted here before.
        Ok(()) | Err(_) => {}
    }
    let (backend, founding) = NewFile::new(
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
    founding.finish()?;
    fs::rename(&unfinished, file)?;
    // The name is durable only with the directory.
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
    let summary = summary.ok_or_else(|| {
        EngineError::Corrupt("the entry with the newest revision is missing".into())
    })?;
    if count != summary.records {
        return Err(EngineError::Corrupt(format!(
            "there are {count} records, there should be {}",
            summary.records
        )));
    }
    Ok(summary.revision)
}

/// The newest acknowledged revision; 0 when it is not known.
fn read_mark(lock: &mut File) -> Result<Revision, EngineError> {
    let mut mark = Vec::new();
    lock.rewind()?;
    lock.read_to_end(&mut mark)?;
    // Written without a sync, so that any nonsense in it may be the work of a power failure.
    Ok(decode_mark(&mark).unwrap_or_default())
}

/// Damaged pages can run redb into its own assertions; that, too, means a corrupt file.
fn guarded<T>(attempt: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
        Err(EngineError::Corrupt(format!(
            "the engine cannot read it, {}",
            text_of_panic(&*panic)
        )))
    })
}

impl Engine for DiskEngine {
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        let revision = guarded(|| read(&self.database, each))?;
        let acknowledged = read_mark(&mut self.lock)?;
        if revision < acknowledged {
            return Err(EngineError::Corrupt(format!(
                "it goes up to revision {revision}, but {acknowledged} was acknowledged; \
                 if an older copy was put here on purpose, remove the file `{LOCK_FILE}` beside it"
            )));
        }
        Ok(revision)
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        write(&self.database, batch)?;
        self.lock.rewind()?;
        self.lock.write_all(&encode_mark(batch.revision))?;
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
            // A file that ends too early, or that begins with something else.
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
