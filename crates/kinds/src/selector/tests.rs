//! Tables of selectors: what they select, and the errors of invalid ones. Most rows were recorded
//! from upstream.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::tree::json;
use proptest::prelude::*;

use super::*;
use crate::Tree;

/// The pods of the recorded conversation "Selecting by labels".
fn selected(query: &str) -> Result<String, String> {
    let pods = [
        ("a", json!({"app": "x", "tier": "f"})),
        ("b", json!({"app": "x"})),
        ("c", json!({"app": "y", "tier": "b"})),
        ("d", Tree::Null),
    ];
    let selector = LabelSelector::parse(query).map_err(|error| error.to_string())?;
    Ok(pods
        .iter()
        .filter(|(_, labels)| selector.matches(labels))
        .map(|(name, _)| *name)
        .collect())
}

#[test]
fn queries_select_what_the_api_selects() {
    let table = [
        ("app=x", "ab"),
        ("app==x", "ab"),
        ("app!=x", "cd"),
        ("app", "abc"),
        ("!app", "d"),
        ("app in (x,y)", "abc"),
        ("app notin (x)", "cd"),
        ("app=x,tier", "a"),
        ("app=x,!tier", "b"),
        ("tier in (f,b),app notin (y)", "a"),
        ("app=", ""),
        ("app>1", ""),
        ("", "abcd"),
        ("  ", "abcd"),
        (" app = x ", "ab"),
        ("nope=1", ""),
        ("app in ()", ""),
        ("tier notin (,)", "abcd"),
        ("app in (x,)", "ab"),
        ("in in (in)", ""),
        ("! app", "d"),
    ];
    for (query, names) in table {
        assert_eq!(selected(query).as_deref(), Ok(names), "{query}");
    }
}

#[test]
fn numbers_are_compared_as_numbers() {
    let numbered = |query: &str| -> String {
        let selector = LabelSelector::parse(query).unwrap();
        ["1", "2", "10", "x"]
            .into_iter()
            .filter(|number| selector.matches(&json!({"n": number})))
            .collect()
    };
    for (query, numbers) in [("n>1", "210"), ("n<10", "12"), ("m>1", "")] {
        assert_eq!(numbered(query), numbers, "{query}");
    }
}

#[test]
fn invalid_queries_are_rejected_with_the_messages_of_the_api() {
    let integer = "for 'Gt', 'Lt' operators, the value must be an integer";
    let name_part = crate::names::qualified_name("-a").remove(0);
    let label_value = crate::names::label_value("-b").remove(0);
    let table = [
        (
            "tier>b",
            format!("unable to parse requirement: values[0]: Invalid value: \"b\": {integer}"),
        ),
        (
            "n>",
            format!("unable to parse requirement: values[0]: Invalid value: \"\": {integer}"),
        ),
        (
            "app===x",
            "unable to parse requirement: found '=', expected: identifier".to_owned(),
        ),
        (
            "app=x,",
            "found '', expected: identifier after ','".to_owned(),
        ),
        (
            "=x",
            "found '=', expected: !, identifier, or 'end of string'".to_owned(),
        ),
        (
            "==",
            "found '==', expected: !, identifier, or 'end of string'".to_owned(),
        ),
        (
            "(",
            "found '(', expected: !, identifier, or 'end of string'".to_owned(),
        ),
        (
            "app in x",
            "unable to parse requirement: found 'x' expected: '('".to_owned(),
        ),
        (
            "app in (x",
            "unable to parse requirement: found '', expected: ',' or ')'".to_owned(),
        ),
        (
            "app in (",
            "unable to parse requirement: found '', expected: ',', ')' or identifier".to_owned(),
        ),
        (
            "app in (,=)",
            "unable to parse requirement: found '=', expected: ',', or identifier".to_owned(),
        ),
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
                .to_owned(),
        ),
        (
            "app=v v",
            "found 'v', expected: ',' or 'end of string'".to_owned(),
        ),
        (
            "!a=b",
            "found '=', expected: ',' or 'end of string'".to_owned(),
        ),
        (
            "!!a",
            "unable to parse requirement: found '!', expected: identifier".to_owned(),
        ),
        (
            "-a=b",
            format!("unable to parse requirement: <nil>: Invalid value: \"-a\": {name_part}"),
        ),
        (
            "a=-b",
            format!(
                "unable to parse requirement: values[0][a]: Invalid value: \"-b\": {label_value}"
            ),
        ),
    ];
    for (query, message) in table {
        assert_eq!(selected(query), Err(message), "{query}");
    }
}

#[test]
fn an_absent_selector_selects_nothing_and_an_empty_one_everything() {
    let labels = json!({"a": "b"});
    assert!(
        !LabelSelector::from_tree(&Tree::Null)
            .unwrap()
            .matches(&labels)
    );
    assert!(
        LabelSelector::from_tree(&json!({}))
            .unwrap()
            .matches(&Tree::Null)
    );
}

#[test]
fn selectors_of_objects_match_by_labels_and_expressions() {
    let expression = |operator: &str, values: &[&str]| {
        json!({"matchExpressions": [{"key": "a",
        "operator": operator, "values": values}]})
    };
    let table = [
        (json!({"matchLabels": {"a": "b"}}), true),
        (json!({"matchLabels": {"a": "b", "c": "d"}}), false),
        (expression("In", &["x", "b"]), true),
        (expression("NotIn", &["x", "b"]), false),
        (expression("Exists", &[]), true),
        (expression("DoesNotExist", &[]), false),
    ];
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    for (selector, expected) in table {
        assert_eq!(
            LabelSelector::from_tree(&selector)
                .unwrap()
                .matches(&Some(&labels)),
            expected,
            "{selector}"
        );
    }
    let error = LabelSelector::from_tree(&expression("Near", &[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"Near\" is not a valid label selector operator"
    );
    let error = LabelSelector::from_tree(&expression("In", &[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
    );
}

#[test]
fn selectors_and_labels_are_formatted_for_tables() {
    let tree = json!({"matchLabels": {"foo": "bar", "a": "b"}, "matchExpressions": [{"key": "c",
        "operator": "In", "values": ["y", "x"]}, {"key": "d", "operator": "DoesNotExist"}]});
    assert_eq!(formatted(&tree), "a=b,c in (x,y),!d,foo=bar");
    assert_eq!(formatted(&Tree::Null), "<none>");
    assert_eq!(
        formatted(&json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})),
        "<error>"
    );
    assert_eq!(formatted_labels(&json!({"x": "1", "a": ""})), "a=,x=1");
}

#[test]
fn field_selectors_compare_what_the_caller_reads() {
    let pod = |field: &str| match field {
        "spec.nodeName" => Some(Cow::Borrowed("n1")),
        "status.phase" => Some(Cow::Borrowed("Running")),
        "odd" => Some(Cow::Borrowed("a,b=c\\d")),
        _ => None,
    };
    let table = [
        ("", true),
        ("spec.nodeName=n1", true),
        ("spec.nodeName==n1", true),
        ("spec.nodeName!=n1", false),
        ("spec.nodeName=n1,status.phase!=Failed,", true),
        ("spec.nodeName=", false),
        ("absent=", true),
        (r"odd=a\,b\=c\\d", true),
    ];
    for (query, expected) in table {
        let selector = FieldSelector::parse(query).unwrap();
        assert_eq!(selector.matches(pod), expected, "{query}");
        assert_eq!(
            FieldSelector::parse(&selector.to_string()).unwrap(),
            selector,
            "{query}"
        );
    }
    assert_eq!(
        FieldSelector::parse("metadata.name=a,x!=y")
            .unwrap()
            .required_value("metadata.name"),
        Some("a")
    );
}

#[test]
fn invalid_field_selectors_are_rejected_with_the_messages_of_the_api() {
    let table = [
        (
            "spec.nodeName",
            "invalid selector: 'spec.nodeName'; can't understand 'spec.nodeName'",
        ),
        (
            "a=b,spec.nodeName>a",
            "invalid selector: 'a=b,spec.nodeName>a'; can't understand 'spec.nodeName>a'",
        ),
        (
            r"a=\x",
            r"invalid field selector: invalid escape sequence: \x",
        ),
        (
            "a=\\",
            "invalid field selector: invalid escape sequence: \\",
        ),
        (
            "a=b=c",
            "invalid field selector: unescaped character in value: 61",
        ),
    ];
    for (query, message) in table {
        assert_eq!(
            FieldSelector::parse(query).unwrap_err().to_string(),
            message
        );
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_formatted_selectors_are_equal(
        query in "[ab!=<>(), \\\\é]{0,12}|((a|b|!a|x/y)(=|==|!=|>| in | notin )?(1|x|\\(a,b\\)|\\(\\))?,?){0,3}",
        labels in proptest::collection::btree_map("a|b|x/y", "|1|2|x|a", 0..3),
    ) {
        let _ = FieldSelector::parse(&query);
        if let Ok(selector) = LabelSelector::parse(&query) {
            let again = LabelSelector::parse(&selector.to_string()).unwrap();
            prop_assert_eq!(selector.matches(&labels), again.matches(&labels));
        }
    }
}
