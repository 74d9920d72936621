//! `exeunt plan` from a file, as a whole command: what is printed, and the exit code.

use crate::support::exeunt;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/data/snapshot.yaml");

/// Exit code, standard output and standard error.
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
fn a_plan_is_made_from_a_file_alone() {
    insta::assert_snapshot!(plan(&["a", "-f", FILE]));
}

#[test]
fn nodes_are_chosen_by_labels_and_a_drain_of_all_of_them_cannot_finish() {
    insta::assert_snapshot!(plan(&["-l", "pool=blue", "-f", FILE, "--parallel", "2"]));
}

#[test]
fn a_plan_is_json_for_programs() {
    let printed = plan(&["a", "-f", FILE, "-o", "json"]);
    let json = printed.strip_prefix("exit 0\n").expect("it finishes");
    let plan: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(plan["finishes"], true);
    assert_eq!(plan["seconds"], 21.0);
    assert_eq!(plan["nodes"][0]["pods"][0]["fate"], "moves");
}

#[test]
fn what_is_wrong_with_files_and_nodes_is_told_with_a_way_out() {
    insta::assert_snapshot!(plan(&["x", "-f", FILE]));
    let told = plan(&[
        "a",
        "-f",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    assert!(
        told.starts_with("exit 1")
            && told.contains("hint: make a whole one with: kubectl get nodes,"),
        "{told}"
    );
    let told = plan(&["a", "-f", "nowhere.yaml"]);
    assert!(told.contains("error: cannot read nowhere.yaml"), "{told}");
    assert!(plan(&[]).starts_with("exit 2"));
}
