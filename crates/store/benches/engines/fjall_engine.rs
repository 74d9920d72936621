//! An engine on fjall, a log-structured merge tree with a journal.

use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use store::{Batch, Engine, EngineError, Revision, Stored, Write};

pub(crate) struct Fjall {
    database: Database,
    records: Keyspace,
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(error.to_string())
}

impl Fjall {
    pub(crate) fn open(dir: &Path) -> Result<Self, EngineError> {
        let database = Database::builder(dir)
            .cache_size(1 << 20)
            .worker_threads(1)
            .max_journaling_size(64 << 20)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let records = database
            .keyspace("records", || {
                KeyspaceCreateOptions::default().max_memtable_size(8 << 20)
            })
            .map_err(failed)?;
        Ok(Self { database, records })
    }
}

impl Engine for Fjall {
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        let mut revision = 0;
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
        for entry in self.records.iter() {
            let (key, value) = entry.into_inner().map_err(failed)?;
            let Some(key) = key.strip_prefix(b"r") else {
                revision = number(&value);
                continue;
            };
            let body = &value[4..];
            crc32fast::hash(body);
            each(Stored {
                key: String::from_utf8(key.to_vec()).map_err(failed)?,
                value: Bytes::copy_from_slice(&body[16..]),
                created: Revision(number(&body[..8])),
                modified: Revision(number(&body[8..16])),
            });
        }
        Ok(Revision(revision))
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        let mut writes = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        let key_of = |key: &str| [b"r", key.as_bytes()].concat();
        for write in &batch.writes {
            match write {
                Write::Put(record) => {
                    let mut entry = vec![0; 4];
                    entry.extend(record.created.0.to_be_bytes());
                    entry.extend(record.modified.0.to_be_bytes());
                    entry.extend(&record.value);
                    let sum = crc32fast::hash(&entry[4..]);
                    entry[..4].copy_from_slice(&sum.to_be_bytes());
                    writes.insert(&self.records, key_of(&record.key), entry);
                }
                Write::Remove(key) => writes.remove(&self.records, key_of(key)),
            }
        }
        writes.insert(&self.records, "m", batch.revision.0.to_be_bytes());
        writes.commit().map_err(failed)
    }
}
