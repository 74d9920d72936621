//! Tables of what the YAML codec does.

use exeunt_kinds::Tree;
use exeunt_kinds::tree::json;
use exeunt_kinds::{json, yaml};
use proptest::prelude::*;

fn read(text: &str) -> Tree {
    yaml::decode_untyped(text.as_bytes())
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .tree
}

#[test]
fn plain_scalars_follow_yaml_1_1() {
    for (text, value) in [
        ("y", json!(true)),
        ("Off", json!(false)),
        ("\"yes\"", json!("yes")),
        ("'on'", json!("on")),
        ("~", json!(null)),
        ("", json!(null)),
        ("0777", json!(511)),
        ("0x1F", json!(31)),
        ("1_000", json!(1000)),
        ("-5", json!(-5)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("500m", json!("500m")),
        ("1.2.3", json!("1.2.3")),
        ("2026-01-02T03:04:05Z", json!("2026-01-02T03:04:05Z")),
        ("!!str 5", json!("5")),
        ("-", json!([null])),
        ("--", json!("--")),
        ("+", json!("+")),
    ] {
        assert_eq!(read(text), value, "{text}");
    }
}

#[test]
fn hand_written_documents_decode() {
    for (text, value) in [
        (
            "data:\n  multi: |\n    one\n    two\n  quoted: \"yes\"\n",
            json!({"data": {"multi": "one\ntwo\n", "quoted": "yes"}}),
        ),
        (
            "a: {yes: no, 1: x}\n",
            json!({"a": {"true": false, "1": "x"}}),
        ),
        ("a: 1\n---\na: 2\n", json!({"a": 1})),
        (
            "data: {k: &x v, l: *x}",
            json!({"data": {"k": "v", "l": "v"}}),
        ),
        (
            "base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  x: 3\n",
            json!({"base": {"x": 1, "true": 2}, "c": {"x": 3, "true": 2}}),
        ),
        ("# nothing\n", json!(null)),
        ("{\"a\": [1, \"y\"]}", json!({"a": [1, "y"]})),
    ] {
        assert_eq!(read(text), value, "{text}");
    }
}

#[test]
fn invalid_yaml_is_rejected() {
    for (text, error) in [
        ("{{{", "yaml: line 1: did not find expected node content"),
        ("a: 1\n{{{", "yaml: line 3: could not find expected ':'"),
        (
            "a: b: c",
            "yaml: mapping values are not allowed in this context",
        ),
        ("a: &x [*x]", "yaml: anchor contains itself"),
        (
            "a: .inf",
            "yaml: infinity and not-a-number cannot be written as JSON",
        ),
    ] {
        assert_eq!(
            yaml::decode_untyped(text.as_bytes())
                .expect_err(text)
                .to_string(),
            error
        );
    }
    for text in ["{{{", "[a", "a: *nobody", "\"x", "%x"] {
        assert!(yaml::decode_untyped(text.as_bytes()).is_err(), "{text}");
    }
    let bomb = (0..20).fold("a0: &a0 [x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
        let next = level + 1;
        text + &format!(
            "a{next}: &a{next} [*a{level},*a{level},*a{level},*a{level},*a{level},*a{level}]\n"
        )
    });
    let error = yaml::decode_untyped(bomb.as_bytes())
        .expect_err("a bomb")
        .to_string();
    assert!(error.contains("excessive aliasing"), "{error}");
    assert!(yaml::decode_untyped("[".repeat(5000).as_bytes()).is_err());
}

#[test]
fn aliases_are_limited_by_the_bytes_that_they_expand_to() {
    let excessive = |text: &str| {
        let decoded = yaml::to_json(text.as_bytes());
        decoded.is_err_and(|error| error.to_string().contains("excessive aliasing"))
    };
    let listed =
        |value: &str, aliases: usize| format!("a: &a {value}\nb:\n{}", "- *a\n".repeat(aliases));
    let long = "x".repeat(100_000);
    assert!(!excessive(&listed(&long, 30)), "three megabytes");
    assert!(excessive(&listed(&long, 32)));
    // Keys, and characters that JSON escapes, take bytes, too.
    let keys: Vec<String> = (0..100)
        .map(|at| format!("{}{at}: 1", "k".repeat(1_000)))
        .collect();
    assert!(excessive(&listed(&format!("{{{}}}", keys.join(", ")), 32)));
    let control = format!("\"{}\"", "\\x01".repeat(20_000));
    assert!(excessive(&listed(&control, 32)));
    let html = format!("\"{}\"", "<".repeat(20_000));
    assert!(excessive(&listed(&html, 32)));
    let merged = format!("a: &a {{k: {long}}}\nb:\n{}", "- <<: *a\n".repeat(32));
    assert!(excessive(&merged));
    // Aliases of aliases, and anchors within anchors.
    let twice = format!("a: &a {long}\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b, *b]\n");
    assert!(excessive(&twice));
    let nested = format!("a: &a [&b {long}, *b]\nc: [{}]\n", "*a,".repeat(16));
    assert!(excessive(&nested));
}

#[test]
fn the_reported_duplicate_keys_are_limited() {
    let text = format!("data:\n{}", "  k: 1\n".repeat(10_000));
    let decoded = yaml::decode_untyped(text.as_bytes()).expect("decodes");
    assert_eq!(decoded.warnings[0].matches("already set").count(), 100);
}

#[test]
fn duplicate_keys_are_reported_and_the_last_one_counts() {
    let decoded = yaml::decode_untyped(b"data:\n  k: 1\n  k: 2\n").expect("decodes");
    assert_eq!(decoded.tree, json!({"data": {"k": 2}}));
    assert_eq!(
        decoded.warnings,
        ["yaml: unmarshal errors:\n  line 3: key \"k\" already set in map"]
    );
}

#[test]
fn a_typed_document_is_checked_like_json() {
    let ty = exeunt_kinds::type_named("io.k8s.api.core.v1.ConfigMap").expect("known");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: n}\ndata: {yes: no, num: 1}\n";
    let error = yaml::decode(text.as_bytes(), ty)
        .expect_err("a number")
        .to_string();
    assert_eq!(
        error,
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    );
    let decoded = yaml::decode(b"metadata: {name: x, nope: 1}", ty).expect("decodes");
    assert_eq!(decoded.warnings, [r#"unknown field "metadata.nope""#]);
}

#[test]
fn documents_are_encoded_as_recorded() {
    for (value, text) in [
        (
            json!({"kind": "ConfigMap", "data": {"multi": "one\ntwo\n", "quoted": "yes"},
                "metadata": {"creationTimestamp": "2026-01-02T03:04:05Z", "uid": "6e1b"}}),
            "data:\n  multi: |\n    one\n    two\n  quoted: \"yes\"\nkind: ConfigMap\nmetadata:\n  creationTimestamp: \"2026-01-02T03:04:05Z\"\n  uid: 6e1b\n",
        ),
        (
            json!({"details": {}, "message": "406: Not Acceptable\n\nAvailable", "code": 406}),
            "code: 406\ndetails: {}\nmessage: |-\n  406: Not Acceptable\n\n  Available\n",
        ),
        (
            json!({"resources": [{"name": "a/status", "singularName": "", "verbs": ["get",
                "patch"]}, {"x": [[1, 2], []]}]}),
            "resources:\n- name: a/status\n  singularName: \"\"\n  verbs:\n  - get\n  - patch\n- x:\n  - - 1\n    - 2\n  - []\n",
        ),
        (
            json!({"m": "configmaps \"none\" not found", "p": "a: b", "q": "*"}),
            "m: configmaps \"none\" not found\np: 'a: b'\nq: '*'\n",
        ),
    ] {
        assert_eq!(yaml::encode_untyped(&value), text);
        assert_eq!(read(text), value);
    }
}

fn any_value() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        "[ -~\n\téü:#'\"-]{0,12}".prop_map(Tree::from),
        "(y|no|0x1|1e3|~|null|[0-9:.e_-]{1,8}|2026-01-02)".prop_map(Tree::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::from),
            prop::collection::btree_map("[ -~\n]{0,6}", inner, 0..4).prop_map(Tree::from_iter),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn encoded_documents_decode_to_the_same(value in any_value()) {
        let text = yaml::encode_untyped(&value);
        prop_assert_eq!(yaml::decode_untyped(text.as_bytes()).map(|decoded| decoded.tree),
            Ok(value), "{}", text);
    }

    #[test]
    fn any_string_decodes_or_is_rejected(text in "\\PC{0,60}|[-:{}\\[\\]&*a \n\"'|>]{0,40}") {
        let _ = yaml::decode_untyped(text.as_bytes());
        let _ = json::decode_untyped(text.as_bytes());
    }
}
