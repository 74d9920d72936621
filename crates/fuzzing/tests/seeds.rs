//! Runs the fuzz targets with the committed seeds and mutations of them: a short form of what
//! `cargo fuzz` does.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: a panic is how it fails, and its bytes are masked"
)]

use std::path::PathBuf;

use fuzzing::{Mutator, TARGETS};

/// Number of mutations for each target. `EXEUNT_FUZZ_ROUNDS` overrides it.
const ROUNDS: usize = 1500;
/// Number of mutations for each target that sends requests to a cluster.
const REQUEST_ROUNDS: usize = 300;

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", folder.display());
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// Calls a target. Prints the input if the target panics.
fn feed(name: &str, target: fn(&[u8]), input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| target(input));
    assert!(
        outcome.is_ok(),
        "{name} panics on b\"{}\"",
        input.escape_ascii()
    );
}

fn check(name: &str) {
    check_rounds(name, ROUNDS);
}

fn check_rounds(name: &str, rounds: usize) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a known target");
    let seeds = seeds(name);
    for (_, seed) in &seeds {
        feed(name, *target, seed);
    }
    let rounds = std::env::var("EXEUNT_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(rounds);
    for round in 0..rounds {
        let mut mutator = Mutator::seeded(round as u64 + 1);
        let (one, other) = (mutator.below(seeds.len()), mutator.below(seeds.len()));
        feed(
            name,
            *target,
            &mutator.change(&seeds[one].1, &seeds[other].1),
        );
    }
}

#[test]
fn apply_keeps_its_properties() {
    check("apply");
}

#[test]
fn schedules_keep_their_properties() {
    check("cron");
}

#[test]
fn kubeconfigs_keep_their_properties() {
    check("kubeconfig");
}

#[test]
fn queries_are_answered() {
    check_rounds("query", REQUEST_ROUNDS);
}

#[test]
fn requests_are_answered() {
    check_rounds("request", REQUEST_ROUNDS);
}

#[test]
fn tokens_that_nobody_signed_authenticate_nobody() {
    check_rounds("token", REQUEST_ROUNDS);
}

#[test]
fn websockets_end_whatever_a_client_sends() {
    check_rounds("websocket", REQUEST_ROUNDS);
}

#[test]
fn json_keeps_its_properties() {
    check("json");
}

#[test]
fn patches_keep_their_properties() {
    check("patch");
}

#[test]
fn protobuf_keeps_its_properties() {
    check("protobuf");
}

#[test]
fn quantities_keep_their_properties() {
    check("quantity");
}

#[test]
fn selectors_keep_their_properties() {
    check("selector");
}

#[test]
fn yaml_keeps_its_properties() {
    check("yaml");
}

/// Fuzzers have a large stack; a worker thread of the server has two megabytes.
#[test]
fn the_deepest_input_fits_the_stack_of_a_worker() {
    let nested =
        |open: &str, close: &str, depth: usize| [open.repeat(depth), close.repeat(depth)].concat();
    let run = move || {
        for depth in [99, 100, 101, 128, 100_000] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"a\":[", "]}")] {
                let text = nested(open, close, depth);
                for choice in [0, 3, 7] {
                    fuzzing::json(format!("{choice}{text}").as_bytes());
                    fuzzing::yaml(format!("{choice}{text}").as_bytes());
                    fuzzing::patch(format!("{choice}{{}}\0{text}").as_bytes());
                    fuzzing::patch(format!("{choice}{text}\0{text}").as_bytes());
                }
            }
            let fields = nested("{\"f:a\":", "{}}", depth).replace("{}}{}}", "}}");
            let managed = format!(
                "03{{\"metadata\":{{\"managedFields\":[{{\"fieldsV1\":{fields}}}]}}}}\x003{{\"metadata\":{{}}}}"
            );
            fuzzing::apply(managed.as_bytes());
            // JSON schemas contain JSON schemas. In protobuf only the lengths limit how deep.
            let mut message = Vec::new();
            for _ in 0..depth.min(2000) {
                let length = message.len();
                let mut outer = vec![0xa2, 0x01];
                let mut left = length;
                while left >= 0x80 {
                    outer.push((left & 0x7f) as u8 | 0x80);
                    left >>= 7;
                }
                outer.push(left as u8);
                outer.extend_from_slice(&message);
                message = outer;
            }
            let schema = kinds::type_named(
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
            )
            .unwrap();
            let _ = kinds::protobuf::decode_message(&message, schema);
            fuzzing::selector(nested("(", ")", depth).as_bytes());
        }
    };
    std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}
