//! A disk that survives the crash of its server, and a witness of every write that becomes durable.
//!
//! A [`Disk`] is an engine for [`store::Store::open_inline`]. It outlives the stores that are
//! opened on it: each opening begins a new life, and what an earlier life still tries to write is
//! refused, as that of a killed process would be. Below it is memory, or any other engine.

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

/// How the next write of a dying server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nothing is written.
    Before,
    /// It is durable, and nobody is told.
    After,
}

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Mutex<Shared>>,
    /// The namespace that is watched.
    namespace: &'static str,
    clock: Clock,
}

struct Shared {
    life: u64,
    death: Option<Death>,
    ledger: Ledger,
    below: Below,
}

enum Below {
    Memory {
        records: BTreeMap<String, Stored>,
        revision: Revision,
    },
    File {
        folder: PathBuf,
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
    /// An empty disk in memory; pods and budgets of `namespace` are watched.
    #[must_use]
    pub fn in_memory(namespace: &'static str, clock: Clock) -> Self {
        Self::over(
            Below::Memory {
                records: BTreeMap::new(),
                revision: Revision(0),
            },
            namespace,
            clock,
        )
    }

    /// The same over the embedded engine in a folder.
    #[must_use]
    pub fn in_folder(folder: &Path, namespace: &'static str, clock: Clock) -> Self {
        Self::over(
            Below::File {
                folder: folder.to_owned(),
                engine: None,
            },
            namespace,
            clock,
        )
    }

    fn over(below: Below, namespace: &'static str, clock: Clock) -> Self {
        let shared = Shared {
            life: 0,
            death: None,
            ledger: Ledger::default(),
            below,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            namespace,
            clock,
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new life: a store on what is durable. Whatever had the disk before has lost it.
    ///
    /// # Errors
    ///
    /// Those of the engine below.
    pub fn open(&self) -> Result<Store, EngineError> {
        let mut shared = self.shared();
        shared.life += 1;
        shared.death = None;
        let life = shared.life;
        if let Below::File { folder, engine } = &mut shared.below {
            // The lock of the folder goes with the old engine.
            drop(engine.take());
            *engine = Some(DiskEngine::open(folder).map_err(|OpenError { reason, .. }| reason)?);
        }
        drop(shared);
        Store::open_inline(
            Box::new(Life {
                disk: self.clone(),
                life,
            }),
            StoreOptions::default(),
        )
    }

    /// The next write of this life is its last.
    pub fn die(&self, death: Death) {
        self.shared().death = Some(death);
    }

    /// Asks, or tells, the observer.
    pub fn ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        let now = self.clock.now();
        let mut shared = self.shared();
        shared.ledger.at(now);
        look(&mut shared.ledger)
    }
}

/// One opening of a disk.
struct Life {
    disk: Disk,
    life: u64,
}

impl Engine for Life {
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        match &mut self.disk.shared().below {
            Below::Memory { records, revision } => {
                records.values().cloned().for_each(each);
                Ok(*revision)
            }
            Below::File { engine, .. } => engine
                .as_mut()
                .map_or_else(|| Err(dead()), |engine| engine.load(each)),
        }
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        let now = self.disk.clock.now();
        let mut shared = self.disk.shared();
        if shared.life != self.life || shared.death == Some(Death::Before) {
            return Err(dead());
        }
        match &mut shared.below {
            Below::Memory { records, revision } => {
                *revision = batch.revision;
                batch.writes.iter().for_each(|write| keep(records, write));
            }
            Below::File { engine, .. } => engine
                .as_mut()
                .map_or_else(|| Err(dead()), |engine| engine.append(batch))?,
        }
        shared.ledger.at(now);
        witness(&mut shared.ledger, self.disk.namespace, batch);
        if shared.death.is_some() {
            // One write and no more.
            shared.death = Some(Death::Before);
            return Err(dead());
        }
        Ok(())
    }
}

fn dead() -> EngineError {
    EngineError::Failed("the server is dead".to_owned())
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

/// Tells the ledger about a batch, in the order of its revisions; removals do not tell theirs, and
/// are the end of what happened to a key.
fn witness(ledger: &mut Ledger, namespace: &str, batch: &Batch<'_>) {
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
