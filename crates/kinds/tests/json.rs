//! Tables of what the JSON codec does to bytes.

use exeunt_kinds as kinds;
use exeunt_kinds::facts::Type;
use exeunt_kinds::{Tree, json};

fn ty(name: &str) -> &'static Type {
    kinds::type_named(name).unwrap_or_else(|| panic!("type {name} not found"))
}

const POD: &str = "io.k8s.api.core.v1.Pod";
const BUDGET: &str = "io.k8s.api.policy.v1.PodDisruptionBudget";
const EVICTION: &str = "io.k8s.api.policy.v1.Eviction";
const LEASE: &str = "io.k8s.api.coordination.v1.Lease";
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const SECRET: &str = "io.k8s.api.core.v1.Secret";
const CRD: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";

/// Decodes and encodes.
fn through(name: &str, text: &str) -> String {
    let decoded =
        json::decode(text.as_bytes(), ty(name)).unwrap_or_else(|error| panic!("{text}: {error}"));
    String::from_utf8(json::encode(&decoded.tree, ty(name))).expect("text")
}

fn refused(name: &str, text: &str) -> String {
    json::decode(text.as_bytes(), ty(name))
        .expect_err(text)
        .to_string()
}

fn warned(name: &str, text: &str) -> Vec<String> {
    json::decode(text.as_bytes(), ty(name))
        .expect(text)
        .warnings
}

#[test]
fn members_are_ordered_and_required_ones_are_written() {
    for (name, text, wire) in [
        (
            POD,
            r#"{"status":{"phase":"Running"},"spec":{"containers":[{"image":"i","name":"c"}],"volumes":[]},"metadata":{"uid":"u","name":"p"},"apiVersion":"v1","kind":"Pod"}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","uid":"u"},"spec":{"containers":[{"name":"c","image":"i","resources":{}}]},"status":{"phase":"Running"}}"#,
        ),
        (
            POD,
            r#"{"status":{"conditions":[{"status":"True","type":"Ready","lastTransitionTime":"2026-01-02T03:04:05.9+01:00"}]}}"#,
            r#"{"metadata":{},"spec":{"containers":null},"status":{"conditions":[{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-02T02:04:05Z"}]}}"#,
        ),
        (
            BUDGET,
            r#"{"spec":{"minAvailable":"50%","selector":{}}}"#,
            r#"{"metadata":{},"spec":{"minAvailable":"50%","selector":{}},"status":{"disruptionsAllowed":0,"currentHealthy":0,"desiredHealthy":0,"expectedPods":0}}"#,
        ),
        (
            EVICTION,
            r#"{"metadata":null,"deleteOptions":{"gracePeriodSeconds":0}}"#,
            r#"{"metadata":{},"deleteOptions":{"gracePeriodSeconds":0}}"#,
        ),
        (
            CONFIG_MAP,
            r#"{"data":{"b":"<&>\u2028é","a":null}}"#,
            "{\"metadata\":{},\"data\":{\"a\":\"\",\"b\":\"\\u003c\\u0026\\u003e\\u2028é\"}}",
        ),
        (
            LEASE,
            r#"{"spec":{"renewTime":"2026-01-02T03:04:05.123456Z"}}"#,
            r#"{"metadata":{},"spec":{"renewTime":"2026-01-02T03:04:05.123456Z"}}"#,
        ),
        (
            POD,
            r#"{"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}}}]}}"#,
            r#"{"metadata":{},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"500m","memory":"1Gi"}}}]},"status":{}}"#,
        ),
    ] {
        assert_eq!(through(name, text), wire);
        assert_eq!(through(name, wire), wire, "the wire form is stable");
    }
}

#[test]
fn schemas_keep_their_unions() {
    let text = r#"{"metadata":{},"spec":{"group":"g","names":{"plural":"p","kind":"K"},"scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","default":{"z":[1,null]},"maximum":1,"items":{"type":"string"},"properties":{"a":{"additionalProperties":false},"b":{"items":[{"type":"string"}],"additionalProperties":{"type":"string"}}},"x-kubernetes-preserve-unknown-fields":true}}}]},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}}"#;
    assert_eq!(through(CRD, text), text);
    assert_eq!(
        warned(CRD, &text.replace(r#""a":{"#, r#""a":{"nope":1,"#)),
        [r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.nope""#]
    );
}

#[test]
fn unknown_and_duplicate_fields_are_reported_with_their_paths() {
    assert_eq!(
        warned(
            BUDGET,
            r#"{"metadata":{"name":"a"},"spec":{"minAvailable":1,"minAvailable":2,"min":3},"extra":true}"#
        ),
        [
            r#"duplicate field "spec.minAvailable""#,
            r#"unknown field "spec.min""#,
            r#"unknown field "extra""#
        ]
    );
    assert_eq!(
        warned(
            POD,
            r#"{"spec":{"containers":[{"name":"a"},{"Name":"b"}]},"metadata":{"labels":{"x":"1","x":"2"}}}"#
        ),
        [
            r#"unknown field "spec.containers[1].Name""#,
            r#"duplicate field "metadata.labels.x""#
        ]
    );
    assert_eq!(
        through(
            BUDGET,
            r#"{"spec":{"maxUnavailable":1,"maxUnavailable":2}}"#
        ),
        through(BUDGET, r#"{"spec":{"maxUnavailable":2}}"#)
    );
}

#[test]
fn values_of_the_wrong_type_are_rejected_with_their_field() {
    for (name, text, error) in [
        (
            EVICTION,
            r#"{"deleteOptions":{"gracePeriodSeconds":"5"}}"#,
            "json: cannot unmarshal string into Go struct field DeleteOptions.deleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            EVICTION,
            r#"{"deleteOptions":{"gracePeriodSeconds":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeleteOptions.deleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            EVICTION,
            r#"{"deleteOptions":[]}"#,
            "json: cannot unmarshal array into Go struct field Eviction.deleteOptions of type v1.DeleteOptions",
        ),
        (
            BUDGET,
            r#"{"spec":{"minAvailable":2147483648}}"#,
            "json: cannot unmarshal number 2147483648 into Go struct field PodDisruptionBudgetSpec.spec.minAvailable of type int32",
        ),
        (
            CONFIG_MAP,
            r#"{"data":{"k":5}}"#,
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            CONFIG_MAP,
            r#"{"data":"x"}"#,
            "json: cannot unmarshal string into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            CONFIG_MAP,
            r#"{"binaryData":{"k":"%%"}}"#,
            "illegal base64 data at input byte 0",
        ),
        (
            SECRET,
            r#"{"data":{"a":"not base64!"}}"#,
            "illegal base64 data at input byte 3",
        ),
        (
            LEASE,
            r#"{"spec":{"renewTime":"2026-01-02T03:04:05Z"}}"#,
            r#"parsing time "2026-01-02T03:04:05Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#,
        ),
        (
            POD,
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
        ),
        (
            POD,
            r#"{"metadata":{"creationTimestamp":"2026-13-02T03:04:05Z"}}"#,
            r#"parsing time "2026-13-02T03:04:05Z": month out of range"#,
        ),
    ] {
        assert_eq!(refused(name, text), error);
    }
}

#[test]
fn invalid_json_is_rejected_with_the_messages_of_go() {
    for (text, error) in [
        (
            "rubbish",
            "invalid character 'r' looking for beginning of value",
        ),
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        (r#"{"kind":"Pod""#, "unexpected end of JSON input"),
        (
            r#"{kind:1}"#,
            "invalid character 'k' looking for beginning of object key string",
        ),
        (r#"{"kind" 1}"#, "invalid character '1' after object key"),
        (
            r#"{"kind":"Pod" 1}"#,
            "invalid character '1' after object key:value pair",
        ),
        (
            r#"{"kind":"Pod"} x"#,
            "invalid character 'x' after top-level value",
        ),
        (
            r#"{"kind":nul}"#,
            "invalid character '}' in literal null (expecting 'l')",
        ),
        (
            "{\"kind\":\"a\nb\"}",
            r"invalid character '\n' in string literal",
        ),
    ] {
        assert_eq!(refused(POD, text), error, "{text}");
    }
    let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    assert!(refused(POD, &deep).starts_with("exceeded max depth"));
}

#[test]
fn invalid_utf_8_becomes_replacement_characters() {
    let decoded = json::decode(b"{\"data\":{\"a\":\"\xff\"}}", ty(CONFIG_MAP)).expect("decodes");
    assert_eq!(decoded.tree["data"]["a"], "\u{fffd}");
    assert_eq!(
        through(CONFIG_MAP, r#"{"data":{"a":"\ud83d\ude00\ud83d"}}"#),
        "{\"metadata\":{},\"data\":{\"a\":\"😀\u{fffd}\"}}"
    );
}

#[test]
fn kind_and_version_are_read_without_the_rest() {
    let peek = |text: &str| {
        json::peek_type_meta(text.as_bytes())
            .map(|found| (found.api_version, found.kind))
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        peek(r#"{"spec":{"kind":"no"},"kind":"Pod","apiVersion":"v1"}"#),
        Ok(("v1".into(), "Pod".into()))
    );
    assert_eq!(peek("null"), Ok((String::new(), String::new())));
    assert_eq!(
        peek("rubbish"),
        Err("couldn't get version/kind; json parse error: invalid character 'r' looking for beginning of value".into())
    );
    assert_eq!(
        peek("[]"),
        Err(r#"couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#.into())
    );
}

#[test]
fn a_patched_tree_is_normalised_like_a_decoded_one() {
    let mut tree = exeunt_kinds::tree::json!({"spec": {"minAvailable": 1, "nope": 1,
        "selector": null}, "x": 1});
    assert_eq!(
        json::normalize(&mut tree, ty(BUDGET)),
        Ok(vec![
            r#"unknown field "spec.nope""#.into(),
            r#"unknown field "x""#.into()
        ])
    );
    assert_eq!(
        tree,
        exeunt_kinds::tree::json!({"spec": {"minAvailable": 1}})
    );
    let mut tree = exeunt_kinds::tree::json!({"spec": 1});
    let error = json::normalize(&mut tree, ty(BUDGET))
        .expect_err("a number is not a spec")
        .to_string();
    assert_eq!(
        error,
        "json: cannot unmarshal number into Go struct field PodDisruptionBudget.spec of type v1.PodDisruptionBudgetSpec"
    );
}

#[test]
fn absent_null_and_empty_are_equal_unless_the_type_distinguishes_them() {
    for (name, one, other, same) in [
        (
            POD,
            exeunt_kinds::tree::json!({"metadata": {"labels": {}}}),
            exeunt_kinds::tree::json!({"spec": {"containers": []}}),
            true,
        ),
        (
            POD,
            exeunt_kinds::tree::json!({"spec": {"hostNetwork": false}}),
            exeunt_kinds::tree::json!({}),
            true,
        ),
        (
            POD,
            exeunt_kinds::tree::json!({"spec": {"automountServiceAccountToken": false}}),
            exeunt_kinds::tree::json!({}),
            false,
        ),
        (
            BUDGET,
            exeunt_kinds::tree::json!({"spec": {"selector": {}}}),
            exeunt_kinds::tree::json!({"spec": {}}),
            false,
        ),
        (
            CONFIG_MAP,
            exeunt_kinds::tree::json!({"data": {"a": "1"}}),
            exeunt_kinds::tree::json!({"data": {"a": "2"}}),
            false,
        ),
    ] {
        assert_eq!(json::equal(&one, &other, ty(name)), same, "{one} {other}");
    }
}

#[test]
fn untyped_objects_keep_all_members_and_are_sorted() {
    let decoded =
        json::decode_untyped(br#"{"b":{"x":1,"x":2.50},"a":[null,{"y":1,"y":1}],"c":null}"#)
            .expect("decodes");
    assert_eq!(
        decoded.warnings,
        [r#"duplicate field "b.x""#, r#"duplicate field "a[1].y""#]
    );
    assert_eq!(
        json::encode_untyped(&decoded.tree),
        br#"{"a":[null,{"y":1}],"b":{"x":2.5},"c":null}"#
    );
    let pretty = String::from_utf8(json::encode_untyped_pretty(
        &exeunt_kinds::tree::json!({"a": {"b": [1, {}], "c": []}}),
    ))
    .expect("text");
    assert_eq!(
        pretty,
        "{\n  \"a\": {\n    \"b\": [\n      1,\n      {}\n    ],\n    \"c\": []\n  }\n}"
    );
    assert!(json::decode_untyped(b"1e999").is_err());
}

#[test]
fn the_deepest_document_can_be_encoded_and_compared() {
    let depth = json::MAX_DEPTH - 3;
    let nested = |depth: usize| {
        format!(
            "{}{}",
            r#"{"a":["#.repeat(depth / 2),
            "]}".repeat(depth / 2)
        )
    };
    let text = format!(
        r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{}}}]}}}}"#,
        nested(depth - 1)
    );
    let decoded = json::decode(text.as_bytes(), ty(CONFIG_MAP)).expect("decodes");
    assert_eq!(
        decoded.tree,
        json::decode(&json::encode(&decoded.tree, ty(CONFIG_MAP)), ty(CONFIG_MAP))
            .expect("decodes")
            .tree
    );
    assert!(json::equal(
        &decoded.tree,
        &decoded.tree.clone(),
        ty(CONFIG_MAP)
    ));
    let schema = format!(
        r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{}{}"#,
        r#"{"not":"#.repeat(json::MAX_DEPTH - 10),
        "{}".to_owned() + &"}".repeat(json::MAX_DEPTH - 10) + "}}]}}"
    );
    let decoded = json::decode(schema.as_bytes(), ty(CRD)).expect("decodes");
    assert!(json::equal(&decoded.tree, &decoded.tree.clone(), ty(CRD)));
    assert!(json::normalize(&mut decoded.tree.clone(), ty(CRD)).is_ok());
    let stored = json::encode(&decoded.tree, ty(CRD));
    assert!(
        serde_json::from_str::<serde_json::Value>(&format!(
            r#"{{"items":[{}]}}"#,
            String::from_utf8_lossy(&stored)
        ))
        .is_ok()
    );
    let body = exeunt_kinds::protobuf::encode_message(&decoded.tree, ty(CRD));
    assert!(exeunt_kinds::protobuf::decode_message(&body, ty(CRD)).is_ok());
    assert!(exeunt_kinds::yaml::decode(schema.as_bytes(), ty(CRD)).is_ok());
    let text = exeunt_kinds::yaml::encode(&decoded.tree, ty(CRD));
    assert!(exeunt_kinds::yaml::decode(text.as_bytes(), ty(CRD)).is_ok());
}

#[test]
fn empty_members_are_equal_inside_a_list_in_place_of_a_structure() {
    let schema = exeunt_kinds::type_named(
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
    )
    .expect("known");
    let one =
        exeunt_kinds::tree::json!({"items": [{"id": "a", "x-kubernetes-int-or-string": false}]});
    assert!(json::equal(
        &one,
        &exeunt_kinds::tree::json!({"items": [{"id": "a"}]}),
        schema
    ));
    assert!(!json::equal(
        &one,
        &exeunt_kinds::tree::json!({"items": [{"id": "b"}]}),
        schema
    ));
}

#[test]
fn negative_zero_decodes_to_zero() {
    let decoded = json::decode_untyped(b"[-0e-5, -0.0, -0]").expect("decodes");
    let written = json::encode_untyped(&decoded.tree);
    assert_eq!(written, b"[0,0,0]");
}

#[test]
fn what_an_object_shares_with_an_earlier_state_is_copied() {
    let bytes = br#"{"metadata":{"name":"p","labels":{"a":"1"}},"spec":{"containers":[]},"status":{"phase":"Running"}}"#;
    let earlier: Tree = serde_json::from_slice(bytes).expect("JSON");
    let mut now = earlier.clone();
    now["metadata"]["resourceVersion"] = "7".into();
    // The bytes differ from the tree, so that the output shows which of them were copied.
    let marked = String::from_utf8_lossy(bytes)
        .replace("\"1\"", "\"copied\"")
        .replace("[]", "[\"copied\"]")
        .replace("Running", "copied");
    let (written, _) = json::encode_and_reread(
        &now,
        ty(POD),
        Some(json::EncodedTree {
            tree: &earlier,
            bytes: marked.as_bytes(),
        }),
    );
    let wire = r#"{"metadata":{"name":"p","resourceVersion":"7","labels":{"a":"copied"}},"spec":{"containers":["copied"]},"status":{"phase":"copied"}}"#;
    assert_eq!(String::from_utf8_lossy(&written), wire);
}
