//! A storage engine that survives the crash of its server and passes every durable write to a
//! [`Ledger`].
//!
//! A [`Disk`] is an engine for [`store::Store::open_inline`]. It outlives the stores that are
//! opened on it. Each opening begins a new session, and writes of earlier sessions fail, as those
//! of a killed process would. The records are in memory or in the embedded engine.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clock::Clock;
use serde_json::Value;
use store::{
    Batch, DiskEngine, Engine, EngineError, OpenError, Revision, Store, StoreOptions, Stored, Write,
};

use super::Ledger;

/// Where the crash happens, relative to the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The write is lost and fails.
    BeforeWrite,
    /// The write is durable and fails: its client gets no response.
    AfterWrite,
}

/// A storage engine with crashes. Clones share the records.
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Mutex<DiskState>>,
    /// The namespace whose pods and budgets the ledger receives.
    namespace: &'static str,
    clock: Clock,
}

struct DiskState {
    session: u64,
    crash: Option<CrashPoint>,
    ledger: Ledger,
    backing: Backing,
}

enum Backing {
    Memory {
        records: BTreeMap<String, Stored>,
        revision: Revision,
    },
    File {
        directory: PathBuf,
        engine: Option<DiskEngine>,
    },
}

impl fmt::Debug for Disk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Disk")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// Creates an empty disk in memory. The ledger receives the pods and budgets of `namespace`.
    #[must_use]
    pub fn in_memory(namespace: &'static str, clock: Clock) -> Self {
        Self::over(
            Backing::Memory {
                records: BTreeMap::new(),
                revision: Revision(0),
            },
            namespace,
            clock,
        )
    }

    /// Creates a disk over the embedded engine in a directory. The ledger receives the pods and
    /// budgets of `namespace`.
    #[must_use]
    pub fn in_directory(directory: &Path, namespace: &'static str, clock: Clock) -> Self {
        Self::over(
            Backing::File {
                directory: directory.to_owned(),
                engine: None,
            },
            namespace,
            clock,
        )
    }

    fn over(backing: Backing, namespace: &'static str, clock: Clock) -> Self {
        let shared = DiskState {
            session: 0,
            crash: None,
            ledger: Ledger::default(),
            backing,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            namespace,
            clock,
        }
    }

    fn shared(&self) -> MutexGuard<'_, DiskState> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new session: opens a store on the durable records. Writes of earlier sessions fail
    /// from now on.
    ///
    /// # Errors
    ///
    /// The embedded engine cannot open its directory.
    pub fn open(&self) -> Result<Store, EngineError> {
        let mut shared = self.shared();
        shared.session += 1;
        shared.crash = None;
        let session = shared.session;
        if let Backing::File { directory, engine } = &mut shared.backing {
            // The old engine holds the lock of the directory.
            drop(engine.take());
            *engine = Some(DiskEngine::open(directory).map_err(|OpenError { reason, .. }| reason)?);
        }
        drop(shared);
        Store::open_inline(
            Box::new(DiskSession {
                disk: self.clone(),
                session,
            }),
            StoreOptions::default(),
        )
    }

    /// Makes the next write of this session its last.
    pub fn crash_on_next_write(&self, crash: CrashPoint) {
        self.shared().crash = Some(crash);
    }

    /// Calls `look` with the ledger, at the current time.
    pub fn ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        let now = self.clock.now();
        let mut shared = self.shared();
        shared.ledger.at(now);
        look(&mut shared.ledger)
    }
}

/// One opening of a disk.
struct DiskSession {
    disk: Disk,
    session: u64,
}

impl Engine for DiskSession {
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        match &mut self.disk.shared().backing {
            Backing::Memory { records, revision } => {
                records.values().cloned().for_each(each);
                Ok(*revision)
            }
            Backing::File { engine, .. } => engine
                .as_mut()
                .map_or_else(|| Err(crashed()), |engine| engine.load(each)),
        }
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        let now = self.disk.clock.now();
        let mut shared = self.disk.shared();
        if shared.session != self.session || shared.crash == Some(CrashPoint::BeforeWrite) {
            return Err(crashed());
        }
        match &mut shared.backing {
            Backing::Memory { records, revision } => {
                *revision = batch.revision;
                batch.writes.iter().for_each(|write| keep(records, write));
            }
            Backing::File { engine, .. } => engine
                .as_mut()
                .map_or_else(|| Err(crashed()), |engine| engine.append(batch))?,
        }
        shared.ledger.at(now);
        record(&mut shared.ledger, self.disk.namespace, batch);
        if shared.crash.is_some() {
            // All later writes are lost.
            shared.crash = Some(CrashPoint::BeforeWrite);
            return Err(crashed());
        }
        Ok(())
    }
}

fn crashed() -> EngineError {
    EngineError::Failed("the server has crashed".to_owned())
}

fn keep(records: &mut BTreeMap<String, Stored>, write: &Write<'_>) {
    match write {
        Write::Put(record) => {
            let (key, value) = (record.key.to_string(), record.value.clone());
            records.insert(
                key.clone(),
                Stored {
                    key,
                    value,
                    created: record.created,
                    modified: record.modified,
                },
            );
        }
        Write::Remove(key) => drop(records.remove(*key)),
    }
}

/// Passes a batch to the ledger in the order of its revisions. A removal carries no revision; it is
/// the last write of its key in the batch.
fn record(ledger: &mut Ledger, namespace: &str, batch: &Batch<'_>) {
    let mut writes: Vec<(u64, &str, Option<Value>)> = Vec::new();
    for write in &batch.writes {
        match write {
            Write::Put(record) if is_watched(&record.key, namespace) => {
                writes.push((
                    record.modified.0,
                    &record.key,
                    serde_json::from_slice(&record.value).ok(),
                ));
            }
            Write::Remove(key) if is_watched(key, namespace) => {
                writes.push((batch.revision.0, key, None))
            }
            _ => {}
        }
    }
    writes.sort_by_key(|(revision, ..)| *revision);
    for (revision, key, value) in writes {
        let name = key.rsplit('/').next().unwrap_or_default();
        if key.starts_with("pods/") {
            ledger.pod(revision, name, value.as_ref())
        } else {
            ledger.budget(revision, name, value.as_ref())
        }
    }
    ledger.settle();
}

fn is_watched(key: &str, namespace: &str) -> bool {
    let rest = key
        .strip_prefix("pods/")
        .or_else(|| key.strip_prefix("poddisruptionbudgets.policy/"));
    rest.is_some_and(|rest| {
        rest.strip_prefix(namespace)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}
