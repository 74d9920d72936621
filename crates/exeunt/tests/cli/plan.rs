//! `exeunt plan` on a file, as a whole command: exit code, standard output and error.

use crate::support::exeunt;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/data/snapshot.yaml");

/// Runs the command; returns exit code, standard output and standard error.
fn plan(arguments: &[&str]) -> String {
    let output = exeunt()
        .arg("plan")
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    format!(
        "exit {}\n{}\n{}",
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[test]
fn plan_reads_a_file_instead_of_a_cluster() {
    insta::assert_snapshot!(plan(&["a", "-f", FILE]));
}

#[test]
fn plan_selects_nodes_by_labels_and_fails_if_the_drain_cannot_finish() {
    insta::assert_snapshot!(plan(&["-l", "pool=blue", "-f", FILE, "--parallel", "2"]));
}

#[test]
fn plan_prints_json() {
    let printed = plan(&["a", "-f", FILE, "-o", "json"]);
    let json = printed.strip_prefix("exit 0\n").expect("it finishes");
    let plan: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(plan["finishes"], true);
    assert_eq!(plan["seconds"], 21.0);
    assert_eq!(plan["nodes"][0]["pods"][0]["fate"], "moves");
}

#[test]
fn plan_errors_come_with_a_hint() {
    insta::assert_snapshot!(plan(&["x", "-f", FILE]));
    let report = plan(&[
        "a",
        "-f",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    assert!(
        report.starts_with("exit 1")
            && report.contains("hint: write a complete snapshot with: kubectl get nodes,"),
        "{report}"
    );
    let report = plan(&["a", "-f", "nowhere.yaml"]);
    assert!(
        report.contains("error: cannot read nowhere.yaml"),
        "{report}"
    );
    assert!(plan(&[]).starts_with("exit 2"));
}
