//! How much memory this process may use: that of the machine, or less if a control group limits it.
//!
//! Caches take a share of it. In a container with 512 MiB a cache of 256 MiB, which is nothing on a
//! machine, is what ends the process.

use std::path::Path;

/// The memory that caches assume if the system does not report any.
const FALLBACK_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// How many bytes the caches may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheSizes {
    /// Encodings of objects for readers: protobuf, rows of tables.
    pub(crate) encodings_bytes: usize,
    /// Objects in other versions than the stored one.
    pub(crate) converted_bytes: usize,
}

impl CacheSizes {
    /// Returns the sizes for this machine.
    pub(crate) fn of_machine() -> Self {
        Self::of(available_below(Path::new("/")))
    }

    /// Returns a sixteenth and a sixty-fourth of the memory, within bounds: the protobuf of 50,000
    /// pods of three kilobytes, and 10,000 converted events, are as much as a large cluster needs.
    fn of(memory_bytes: u64) -> Self {
        const MEBIBYTE: usize = 1024 * 1024;
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        Self {
            encodings_bytes: (memory / 16).clamp(8 * MEBIBYTE, 256 * MEBIBYTE),
            converted_bytes: (memory / 64).clamp(4 * MEBIBYTE, 64 * MEBIBYTE),
        }
    }
}

/// Reads the files of `/proc` and `/sys` below `root`.
fn available_below(root: &Path) -> u64 {
    let read = |path: &str| std::fs::read_to_string(root.join(path.trim_start_matches('/'))).ok();
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups)
        .into_iter()
        .filter_map(|file| limit(&read(&file)?));
    machine
        .into_iter()
        .chain(limits)
        .min()
        .unwrap_or(FALLBACK_BYTES)
}

/// Returns `MemTotal` of `/proc/meminfo` in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Parses a limit of a control group; `None` for `max`. Version 1 writes a number near 2^63 for no
/// limit, which is more than any machine has.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Returns the files with the limits that apply to the process with these lines of
/// `/proc/self/cgroup`: those of its groups and of all groups above them. Inside a container the
/// group is the root of what is mounted.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (
            parts.next(),
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            controllers if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // A path with `..` is outside of what the container sees.
        let mut group = if path.contains("..") { "" } else { path }.trim_end_matches('/');
        loop {
            files.push(format!("{mount}{group}/{file}"));
            match group.rsplit_once('/') {
                Some((above, _)) => group = above,
                None => break,
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: u64 = 1024 * 1024;

    fn machine(files: &[(&str, &str)]) -> u64 {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            std::fs::write(path, text).expect("written");
        }
        available_below(dir.path()) / MEBIBYTE
    }

    #[test]
    fn caches_take_a_share_of_the_memory() {
        let sizes = |memory: u64| {
            let sizes = CacheSizes::of(memory * MEBIBYTE);
            [sizes.encodings_bytes, sizes.converted_bytes].map(|bytes| bytes / 1024 / 1024)
        };
        assert_eq!(sizes(512), [32, 8]);
        assert_eq!(sizes(64), [8, 4]);
        assert_eq!(sizes(1_000_000), [256, 64]);
    }

    #[test]
    fn the_smallest_limit_counts() {
        let total = (
            "proc/meminfo",
            "MemTotal:       24576000 kB\nMemFree:  1 kB\n",
        );
        let unified = ("proc/self/cgroup", "0::/a.slice/b.service\n");
        assert_eq!(machine(&[total]), 24_000);
        assert_eq!(
            machine(&[
                total,
                unified,
                ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n"),
                ("sys/fs/cgroup/a.slice/memory.max", "536870912\n"),
            ]),
            512
        );
        let container = ("proc/self/cgroup", "0::/\n");
        let limit = ("sys/fs/cgroup/memory.max", "268435456\n");
        assert_eq!(machine(&[total, container, limit]), 256);
        let legacy = ("proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/x\n");
        assert_eq!(
            machine(&[
                total,
                legacy,
                (
                    "sys/fs/cgroup/memory/x/memory.limit_in_bytes",
                    "134217728\n"
                ),
            ]),
            128
        );
        let unlimited = (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(machine(&[total, legacy, unlimited]), 24_000);
        assert_eq!(machine(&[]), 4_096, "a system that reports nothing");
    }
}
