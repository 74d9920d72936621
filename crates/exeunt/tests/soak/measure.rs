//! Memory and disk use of the server.

use std::path::Path;
use std::time::Instant;

/// The largest growth of memory in the second half of the long run, as a share of the memory
/// before: the allocator and the bounded history vary by this much.
const GROWTH_PERCENT: u64 = 15;
/// The largest growth of memory from the first to the last third of the short runs, as a factor.
const LIVES_PERCENT: u64 = 25;

#[derive(Debug, Default)]
pub(crate) struct Measure {
    /// Resident memory and size of the store, both in KiB, at the end of each short run.
    lives: Vec<(u64, u64)>,
    newest: Option<(u32, u64, u64)>,
    long: Option<Vec<(u64, u64, u64)>>,
    start: Option<Instant>,
}

impl Measure {
    pub(crate) fn begin_long_life(&mut self) {
        self.close_life();
        (self.long, self.start) = (Some(Vec::new()), Some(Instant::now()));
    }

    pub(crate) fn take(&mut self, pid: u32, directory: &Path) {
        let (memory, disk) = (resident(pid), size(&directory.join("store")));
        if self.newest.is_some_and(|(last, ..)| last != pid) {
            self.close_life();
        }
        self.newest = Some((pid, memory, disk));
        if let (Some(long), Some(start)) = (&mut self.long, self.start) {
            long.push((start.elapsed().as_secs(), memory, disk));
        }
    }

    fn close_life(&mut self) {
        if let Some((_, memory, disk)) = self.newest.take()
            && self.long.is_none()
        {
            self.lives.push((memory, disk));
        }
    }

    pub(crate) fn report(&self) -> String {
        let lives: Vec<String> = spread(&self.lives, 10)
            .iter()
            .map(|(memory, disk)| format!("{}/{}", memory / 1024, disk / 1024))
            .collect();
        let long = self.long.as_deref().unwrap_or_default();
        let long: Vec<String> = spread(long, 12)
            .iter()
            .map(|(second, memory, disk)| format!("{second} s: {}/{}", memory / 1024, disk / 1024))
            .collect();
        format!(
            "memory/disk in MiB at the end of short lives: {}\nmemory/disk in MiB in the long life: {}",
            lives.join(", "),
            long.join(", ")
        )
    }

    /// Fails if memory has grown. Short tests do not measure it.
    pub(crate) fn judge(&self, is_long: bool) {
        if !is_long {
            return;
        }
        let mean = |values: &[u64]| {
            values.iter().sum::<u64>() / u64::try_from(values.len().max(1)).unwrap()
        };
        let lives: Vec<u64> = self.lives.iter().map(|(memory, _)| *memory).collect();
        let third = lives.len() / 3;
        let (early, late) = (mean(&lives[..third]), mean(&lives[lives.len() - third..]));
        assert!(
            late * 100 <= early * (100 + LIVES_PERCENT),
            "each life takes more memory than the one before: {early} KiB, then {late} KiB"
        );
        let long: Vec<u64> = self
            .long
            .iter()
            .flatten()
            .map(|(_, memory, _)| *memory)
            .collect();
        let quarter = long.len() / 4;
        let (middle, end) = (
            mean(&long[2 * quarter..3 * quarter]),
            mean(&long[3 * quarter..]),
        );
        assert!(
            end * 100 <= middle * (100 + GROWTH_PERCENT),
            "memory grows: {middle} KiB in the third quarter, {end} KiB in the last"
        );
    }
}

/// Returns at most `count` of the values at equal distances, the last one included.
fn spread<T: Copy>(values: &[T], count: usize) -> Vec<T> {
    let step = values.len().div_ceil(count).max(1);
    let mut some: Vec<T> = values.iter().rev().step_by(step).copied().collect();
    some.reverse();
    some
}

/// Returns the resident memory of a process in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn size(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    files
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len() / 1024)
        .sum()
}
