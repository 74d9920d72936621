//! What is a phrase, and what only looks like one.

use super::*;

fn found(source: &str) -> Vec<String> {
    let passages = passages(source, false);
    passages
        .iter()
        .flat_map(|passage| check("a.rs", passage))
        .collect()
}

#[test]
fn a_phrase_is_found_in_comments_strings_and_names() {
    let source = "// The node is not\n// there.\nfn it_tells_more() { f(\"a Folder\") }\n";
    let faults = found(source);
    let lines: Vec<&str> = faults.iter().map(|fault| &fault[..7]).collect();
    assert_eq!(lines, ["a.rs:1:", "a.rs:3:", "a.rs:3:"]);
}

#[test]
fn code_whole_words_and_questions_are_left_alone() {
    let source =
        "// `told` retold; Who knows? The folders_of.\n//\n// ```\n// tell\n// ```\nlet told = 1;";
    assert_eq!(found(source), [""; 0]);
}

#[test]
fn a_headless_sentence_is_found_where_it_begins() {
    assert_eq!(found("// It waits. Who waits longer fails.").len(), 1);
    assert_eq!(found("// The user who waits.").len(), 0);
    assert_eq!(found("/// The same as before.").len(), 1);
    assert_eq!(found("/// Returns the same.").len(), 0);
}

#[test]
fn neighbours_make_a_phrase_right_english() {
    assert_eq!(
        found("// If there is none, it waits. None is none of them."),
        [""; 0]
    );
    assert_eq!(found("// The name is none.").len(), 1);
    assert_eq!(found("// It figures out the figure.").len(), 2);
}

#[test]
fn strings_of_tests_are_not_read() {
    let source = "#[cfg(test)]\nmod tests { fn a() { f(\"told\") } }\n// told";
    assert_eq!(found(source).len(), 1);
}

#[test]
fn a_mark_with_a_reason_lets_a_phrase_stand() {
    assert_eq!(
        found("// tidy: allow, upstream says so\nf(\"two letters\");"),
        [""; 0]
    );
}

#[test]
fn markdown_is_read_without_its_code() {
    let text = "A `folder`.\n\n```console\n$ tell\n```\n\n| a folder |\n";
    let faults: Vec<String> = markdown(text)
        .iter()
        .flat_map(|passage| check("a.md", passage))
        .collect();
    assert_eq!(faults, ["a.md:7: \"folder\": write directory instead"]);
}
