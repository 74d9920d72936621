//! The file of a store as redb sees it.
//!
//! redb writes when it opens a file: it marks the file as open, and repairs it after an unclean
//! shutdown. A file must not change before its contents have been checked, because a refused start
//! is when somebody needs the file as it was. [`StoreFile`] therefore holds writes in memory until
//! [`WriteControl::release`] is called, and reads see them. What was never released never reaches
//! the disk.
//!
//! redb creates a file in many small steps and syncs each of them. A new file becomes the store
//! only when it is renamed, so its writes are released as one, with one sync. On a disk whose syncs
//! take some milliseconds this saves most of the time of the first start.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// A file whose writes are held in memory until they are released.
#[derive(Debug)]
pub(super) struct StoreFile {
    shared: Arc<SharedFile>,
}

/// Releases the writes of a [`StoreFile`].
#[derive(Debug)]
pub(super) struct WriteControl {
    shared: Arc<SharedFile>,
}

#[derive(Debug)]
struct SharedFile {
    file: FileBackend,
    /// True once the writes are released; from then on nothing is held.
    released: AtomicBool,
    held: Mutex<HeldWrites>,
}

/// The changes since the file was opened, in order.
#[derive(Debug)]
struct HeldWrites {
    changes: Vec<HeldChange>,
    /// The length of the file after all changes.
    length: u64,
}

#[derive(Debug)]
enum HeldChange {
    Write { offset: u64, data: Vec<u8> },
    SetLength(u64),
    Sync,
}

impl StoreFile {
    /// Wraps an open file. Its writes are held.
    pub(super) fn hold(file: File) -> Result<(Self, WriteControl), DatabaseError> {
        let length = file.metadata().map_err(redb::StorageError::from)?.len();
        let shared = Arc::new(SharedFile {
            file: FileBackend::new(file)?,
            released: AtomicBool::new(false),
            held: Mutex::new(HeldWrites {
                changes: Vec::new(),
                length,
            }),
        });
        let control = WriteControl {
            shared: Arc::clone(&shared),
        };
        Ok((Self { shared }, control))
    }
}

impl WriteControl {
    /// Writes what is held, with its syncs in between, so that a crash leaves what redb can
    /// recover. Later writes go to the file at once.
    pub(super) fn release(&self) -> io::Result<()> {
        self.write_held(true)
    }

    /// Like [`WriteControl::release`], with a single sync at the end, for a file that is no store
    /// yet.
    pub(super) fn release_new(&self) -> io::Result<()> {
        self.write_held(false)
    }

    fn write_held(&self, in_order: bool) -> io::Result<()> {
        let shared = &self.shared;
        let mut held = shared.held();
        if shared.released.load(Ordering::Acquire) {
            return Ok(());
        }
        for change in held.changes.drain(..) {
            match change {
                HeldChange::Write { offset, data } => shared.file.write(offset, &data)?,
                HeldChange::SetLength(length) => shared.file.set_len(length)?,
                HeldChange::Sync if in_order => shared.file.sync_data()?,
                HeldChange::Sync => {}
            }
        }
        shared.file.sync_data()?;
        shared.released.store(true, Ordering::Release);
        Ok(())
    }
}

impl SharedFile {
    fn held(&self) -> MutexGuard<'_, HeldWrites> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The held writes, or `None` when they are released.
    fn holding(&self) -> Option<MutexGuard<'_, HeldWrites>> {
        if self.released.load(Ordering::Acquire) {
            return None;
        }
        let held = self.held();
        // They may have been released while this call waited for the lock.
        (!self.released.load(Ordering::Acquire)).then_some(held)
    }
}

impl HeldWrites {
    /// Reads through the held changes: each of them in order over what the file contains.
    fn read(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let in_file = below(out, offset, file.len()?);
        file.read(offset, in_file)?;
        let readable = in_file.len();
        out[readable..].fill(0);
        for change in &self.changes {
            match change {
                HeldChange::Write { offset: at, data } => {
                    let from = offset.max(*at);
                    let to = end.min(at + data.len() as u64);
                    if from < to {
                        let source = &data[index(from - at)..index(to - at)];
                        out[index(from - offset)..index(to - offset)].copy_from_slice(source);
                    }
                }
                HeldChange::SetLength(length) if *length < end => {
                    out[index(length.saturating_sub(offset))..].fill(0);
                }
                HeldChange::SetLength(_) | HeldChange::Sync => {}
            }
        }
        Ok(())
    }
}

/// The part of `out`, which begins at `offset` of the file, that lies below `limit`.
fn below(out: &mut [u8], offset: u64, limit: u64) -> &mut [u8] {
    let length = out.len().min(index(limit.saturating_sub(offset)));
    &mut out[..length]
}

/// A distance inside a buffer as an index. Distances inside buffers always fit.
fn index(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

impl StorageBackend for StoreFile {
    fn len(&self) -> io::Result<u64> {
        match self.shared.holding() {
            Some(held) => Ok(held.length),
            None => self.shared.file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.shared.holding() {
            Some(held) => held.read(&self.shared.file, offset, out),
            None => self.shared.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.shared.holding() {
            Some(mut held) => {
                held.length = len;
                held.changes.push(HeldChange::SetLength(len));
                Ok(())
            }
            None => self.shared.file.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.shared.holding() {
            Some(mut held) => {
                held.changes.push(HeldChange::Sync);
                Ok(())
            }
            None => self.shared.file.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.shared.holding() {
            // It would not make a file longer.
            Some(_) if data.is_empty() => Ok(()),
            Some(mut held) => {
                held.length = held.length.max(offset + data.len() as u64);
                held.changes.push(HeldChange::Write {
                    offset,
                    data: data.to_vec(),
                });
                Ok(())
            }
            None => self.shared.file.write(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.shared.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.shared.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.shared.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.shared.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.shared.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.shared.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.shared.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random changes on a held file and on a plain one: reads agree before and after the release,
    /// and the file stays as it was until then.
    #[test]
    fn held_changes_are_read_back_and_reach_the_file_only_when_released() {
        let mut state = 7_u64;
        let mut below = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % bound
        };
        let open = |contents: &[u8]| {
            let mut file = tempfile::tempfile().expect("a file");
            io::Write::write_all(&mut file, contents).expect("written");
            file
        };
        for _ in 0..50 {
            let original: Vec<u8> = (0..200_u8).collect();
            let under_test = open(&original);
            let copy = under_test.try_clone().expect("a handle");
            let (held, control) = StoreFile::hold(under_test).expect("wrapped");
            let plain = FileBackend::new(open(&original)).expect("wrapped");
            for step in 0..30_u8 {
                if below(4) == 0 {
                    let length = below(300);
                    held.set_len(length).expect("held");
                    plain.set_len(length).expect("set");
                } else {
                    let (offset, data) = (below(250), vec![step; index(below(60))]);
                    held.write(offset, &data).expect("held");
                    plain.write(offset, &data).expect("written");
                }
                held.sync_data().expect("held");
            }
            let contents = |backend: &dyn StorageBackend| {
                let mut out = vec![0; index(backend.len().expect("a length"))];
                backend.read(0, &mut out).expect("read");
                out
            };
            let expected = contents(&plain);
            assert_eq!(contents(&held), expected);
            let untouched = FileBackend::new(copy).expect("wrapped");
            assert_eq!(contents(&untouched), original);
            control.release().expect("released");
            assert_eq!(
                (contents(&held), contents(&untouched)),
                (expected.clone(), expected)
            );
        }
    }
}
