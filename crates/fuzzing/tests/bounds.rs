//! What one input may cost at most: instructions for each byte, and memory.
//!
//! Valgrind counts instructions, so the result depends neither on the machine nor on its load. Each
//! measurement runs in a process of its own.

#![expect(
    clippy::print_stderr,
    reason = "a test that skips says so, and its numbers are small"
)]

use std::path::PathBuf;
use std::process::Command;

use fuzzing::{Mutator, TARGETS};

/// Name of the measured target, in the measured process.
const TARGET: &str = "EXEUNT_BOUND_TARGET";
/// First and last round of mutations, in the measured process: `0..32`.
const ROUNDS: &str = "EXEUNT_BOUND_ROUNDS";
/// Rounds of one measurement.
const BATCH: u64 = 48;
/// Instructions that an input may cost, whatever its length: a request, its log line, the
/// controllers that it wakes.
const MAX_PER_INPUT: f64 = 10e6;
/// Further instructions for each byte of input.
const MAX_PER_BYTE: f64 = 10e3;
/// The most memory of a process with a cluster that takes a batch, in KiB.
const MAX_MEMORY_KIB: u64 = 128 * 1024;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let entries = std::fs::read_dir(&folder).expect("a directory of seeds");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a seed"))
        .collect()
}

/// The inputs of some rounds.
fn inputs(target: &str, rounds: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let seeds = seeds(target);
    rounds
        .map(|round| {
            let mut mutator = Mutator::seeded(round + 1_000_001);
            let (one, other) = (mutator.below(seeds.len()), mutator.below(seeds.len()));
            mutator.change(&seeds[one], &seeds[other])
        })
        .collect()
}

/// The measured process: feeds the inputs, the first one before all others so that what a cluster
/// costs to start is part of every measurement, and prints its peak of memory.
fn feed(target: &str, rounds: &str) {
    let (from, to) = rounds.split_once("..").expect("a range");
    let (_, run) = TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .expect("a target");
    run(&seeds(target)[0]);
    for input in inputs(
        target,
        from.parse().expect("a number")..to.parse().expect("a number"),
    ) {
        run(&input);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_default();
    eprintln!("peak {}", peak.trim());
}

fn measured(program: &str, arguments: &[&str], target: &str, to: u64) -> String {
    let test = std::env::current_exe().expect("the test program");
    let mut command = Command::new(program);
    command.args(arguments);
    if program == "valgrind" {
        command.arg(test);
    }
    let output = command
        .args(["bounds_hold", "--exact", "--nocapture", "--test-threads=1"])
        .env(TARGET, target)
        .env(ROUNDS, format!("0..{to}"))
        .output()
        .expect("the process runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{target}: {text}");
    text
}

/// Returns the number behind a label.
fn number(text: &str, label: &str) -> u64 {
    let (_, rest) = text
        .rsplit_once(label)
        .unwrap_or_else(|| panic!("no {label:?} in {text}"));
    let line = rest.lines().next().unwrap_or_default();
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn bounds_hold() {
    if let (Ok(target), Ok(rounds)) = (std::env::var(TARGET), std::env::var(ROUNDS)) {
        return feed(&target, &rounds);
    }
    let itself = std::env::current_exe().expect("the test program");
    let itself = itself.to_str().expect("a path in UTF-8");
    for target in ["request", "query"] {
        let peak = number(&measured(itself, &[], target, BATCH), "peak ");
        assert!(peak <= MAX_MEMORY_KIB, "{target}: {peak} KiB of memory");
        if Command::new("valgrind").arg("--version").output().is_err() {
            assert!(
                std::env::var("EXEUNT_REQUIRE_TOOLS").as_deref() != Ok("1"),
                "valgrind is required here and is not installed"
            );
            eprintln!("SKIPPED: valgrind is not installed");
            return;
        }
        let count = |to| {
            let arguments = [
                "--tool=cachegrind",
                "--cache-sim=no",
                "--cachegrind-out-file=/dev/null",
            ];
            let text = measured("valgrind", &arguments, target, to).replace("I   refs:", "I refs:");
            number(&text, "I refs:") as f64
        };
        let cost = count(BATCH) - count(0);
        let bytes: usize = inputs(target, 0..BATCH).iter().map(Vec::len).sum();
        let limit = BATCH as f64 * MAX_PER_INPUT + bytes as f64 * MAX_PER_BYTE;
        assert!(
            cost <= limit,
            "{target}: {cost} instructions for {BATCH} inputs of {bytes} bytes, at most {limit}"
        );
        eprintln!("{target}: {cost} instructions for {BATCH} inputs of {bytes} bytes, {peak} KiB");
    }
}
