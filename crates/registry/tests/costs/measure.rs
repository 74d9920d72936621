//! Measures how a cost grows with the size of the input: in instructions, which valgrind counts.
//!
//! Instructions depend neither on the speed of the machine nor on what else it does. Each size is
//! measured in a process of its own, so that what a process costs anyway cancels out. Hash maps are
//! seeded at random, which changes the counts by less than a percent.

use std::process::Command;

/// Defines tests of this form: name, size of the input, and what is measured for a size.
macro_rules! costs {
    ($($name:ident: $size:literal, $run:expr;)*) => {
        $(#[test]
        fn $name() {
            let test = concat!(module_path!(), "::", stringify!($name));
            let (_, test) = test.split_once("::").expect("the crate comes first");
            $crate::measure::grows_in_proportion(test, $size, $run);
        })*
    };
}
pub(crate) use costs;

/// The variable with the size of the input in the measured process.
const SIZE: &str = "EXEUNT_COST_SIZE";
/// How much faster than the input the cost may grow when the input doubles. In proportion it grows
/// twice as fast, with sorting a little faster, with the square four times.
const MAX_GROWTH: f64 = 2.7;

/// Checks that the cost of `run` grows in proportion to its input. `test` is the name of the
/// calling test, which is started again in each measured process.
pub(crate) fn grows_in_proportion(test: &str, size: usize, run: impl FnOnce(usize)) {
    if let Ok(size) = std::env::var(SIZE) {
        return run(size.parse().expect("a number"));
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(
            std::env::var("EXEUNT_REQUIRE_TOOLS").as_deref() != Ok("1"),
            "valgrind is required here and is not installed"
        );
        eprintln!("SKIPPED: valgrind is not installed");
        return;
    }
    let [one, two, four] = [size, 2 * size, 4 * size].map(|size| instructions(test, size));
    let growth = (four - two) / (two - one);
    assert!(
        growth < MAX_GROWTH,
        "{one}, {two} and {four} instructions for {size}, twice and four times as much: the cost \
         grows {growth:.1} times when the input doubles"
    );
}

#[expect(clippy::cast_precision_loss, reason = "the counts are far below 2^53")]
fn instructions(test: &str, size: usize) -> f64 {
    let program = std::env::current_exe().expect("the test program");
    let output = Command::new("valgrind")
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(program)
        .args([test, "--exact", "--test-threads=1"])
        .env(SIZE, size.to_string())
        .output()
        .expect("valgrind runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{test} of size {size}: {}{text}",
        String::from_utf8_lossy(&output.stdout)
    );
    let (_, count) = text
        .rsplit_once("I refs:")
        .or_else(|| text.rsplit_once("I   refs:"))
        .expect("valgrind prints the count");
    let digits: String = count
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse::<u64>().expect("a number") as f64
}
