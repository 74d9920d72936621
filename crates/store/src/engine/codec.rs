//! The encoding of a record as the value of an engine: a checksum and two revisions, then the
//! bytes.
//!
//! Engines check their own structure. The checksum here also covers the key, so it detects a value
//! that ended up under another key.

use bytes::Bytes;

use crate::engine::{Batch, EngineError, Stored};
use crate::record::{Record, Revision};

/// The version of this encoding. A store in another format is refused, never converted silently.
const FORMAT: u32 = 1;

/// The size of the checksum, the creation revision and the modification revision.
const HEADER_BYTES: usize = 4 + 8 + 8;

/// The entry that is stored beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) revision: Revision,
    /// The number of records, by which `load` detects a lost one.
    pub(crate) records: u64,
}

pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    let mut entry = Vec::with_capacity(HEADER_BYTES + record.value.len());
    entry.extend([0; 4]);
    entry.extend(record.created.0.to_be_bytes());
    entry.extend(record.modified.0.to_be_bytes());
    entry.extend(&record.value);
    let checksum = checksum(record.key.as_bytes(), &entry[4..]);
    entry[..4].copy_from_slice(&checksum);
    entry
}

pub(crate) fn decode_record(key: &[u8], entry: &[u8]) -> Result<Stored, EngineError> {
    let corrupt = |what: &str| {
        EngineError::Corrupt(format!(
            "the record of key {:?} {what}",
            String::from_utf8_lossy(key)
        ))
    };
    let (sum, body) = entry
        .split_first_chunk::<4>()
        .ok_or_else(|| corrupt("is truncated"))?;
    if *sum != checksum(key, body) {
        return Err(corrupt("does not match its checksum"));
    }
    let truncated = || corrupt("is truncated");
    let (created, rest) = body.split_first_chunk::<8>().ok_or_else(truncated)?;
    let (modified, value) = rest.split_first_chunk::<8>().ok_or_else(truncated)?;
    Ok(Stored {
        key: String::from_utf8(key.to_vec())
            .map_err(|_| corrupt("has a key that is not valid UTF-8"))?,
        value: Bytes::copy_from_slice(value),
        created: Revision(u64::from_be_bytes(*created)),
        modified: Revision(u64::from_be_bytes(*modified)),
    })
}

pub(crate) fn encode_summary(batch: &Batch<'_>) -> Vec<u8> {
    let mut entry = Vec::new();
    entry.extend(FORMAT.to_be_bytes());
    entry.extend(batch.revision.0.to_be_bytes());
    entry.extend((batch.records as u64).to_be_bytes());
    entry.extend(checksum(&[], &entry));
    entry
}

pub(crate) fn decode_summary(entry: &[u8]) -> Result<Summary, EngineError> {
    let corrupt = || EngineError::Corrupt("the summary entry is damaged".into());
    let (format, rest) = entry.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let found = u32::from_be_bytes(*format);
    if found != FORMAT {
        return Err(EngineError::Format {
            found,
            known: FORMAT,
        });
    }
    let (revision, rest) = rest.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let (records, sum) = rest.split_first_chunk::<8>().ok_or_else(corrupt)?;
    if sum != checksum(&[], &entry[..entry.len() - sum.len()]) {
        return Err(corrupt());
    }
    Ok(Summary {
        revision: Revision(u64::from_be_bytes(*revision)),
        records: u64::from_be_bytes(*records),
    })
}

/// Encodes the newest acknowledged revision for the lock file.
pub(crate) fn encode_acknowledged(revision: Revision) -> Vec<u8> {
    let mut bytes = revision.0.to_be_bytes().to_vec();
    bytes.extend(checksum(&[], &bytes));
    bytes
}

/// Decodes the newest acknowledged revision; `None` when its checksum does not match.
pub(crate) fn decode_acknowledged(bytes: &[u8]) -> Option<Revision> {
    let (revision, sum) = bytes.split_first_chunk::<8>()?;
    (sum == checksum(&[], revision)).then(|| Revision(u64::from_be_bytes(*revision)))
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}
