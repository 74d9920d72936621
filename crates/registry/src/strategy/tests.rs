//! Tests of strategies, as tables of defaults and faults by kind.
//!
//! Each entry gives an object in YAML and the value or the messages that clients see.

mod all_kinds;
mod budgets;
mod defaulting;
mod names;
mod pods;

use kinds::Tree;
use kinds::facts::Resource;

use super::{Gates, StrategyContext};
use crate::kind::{self, Rules};
use crate::tree::{at, put};

const ON: Gates = Gates {
    unhealthy_pod_eviction_policy: true,
};
const OFF: Gates = Gates {
    unhealthy_pod_eviction_policy: false,
};

fn rules(resource: &str) -> (Rules, &'static Resource) {
    let (group, version, plural) = match resource.split('/').collect::<Vec<_>>()[..] {
        [version, plural] => ("", version, plural),
        [group, version, plural] => (group, version, plural),
        _ => panic!("{resource}"),
    };
    let resource = kinds::resource(group, version, plural).expect("a resource");
    (kind::rules(&resource.into()), resource)
}

fn context(subresource: &str, gates: Gates) -> StrategyContext<'_> {
    StrategyContext {
        subresource,
        gates,
        now: "2026-01-02T03:04:05.678Z".parse().expect("a time"),
    }
}

/// Decodes an object and applies its defaults.
fn object(resource: &str, yaml: &str) -> Tree {
    let (rules, resource) = rules(resource);
    let mut tree = kinds::yaml::decode(yaml.as_bytes(), resource.ty)
        .expect("sound YAML")
        .tree;
    if at(&tree, &["metadata", "name"]).is_null() {
        put(&mut tree, &["metadata", "name"], "x");
    }
    if resource.namespaced {
        put(&mut tree, &["metadata", "namespace"], "ns");
    }
    put(&mut tree, &["metadata", "uid"], "u-1");
    rules.default(&mut tree);
    tree
}

fn made(resource: &str, yaml: &str, gates: Gates) -> Tree {
    let mut tree = object(resource, yaml);
    rules(resource)
        .0
        .prepare_create(&context("", gates), &mut tree);
    put(&mut tree, &["metadata", "resourceVersion"], "7");
    tree
}

/// Returns the part of a new object at a path.
#[track_caller]
fn check_part(resource: &str, yaml: &str, path: &[&str], expected: &str) {
    let made = made(resource, yaml, ON);
    let expected: Tree = serde_json::from_str(expected).expect("JSON");
    assert_eq!(at(&made, path), &expected, "{made:#}");
}

fn texts(faults: &[kinds::status::FieldError]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// Returns the faults of a new object.
#[track_caller]
fn check_faults(resource: &str, yaml: &str, expected: &[&str]) {
    let made = made(resource, yaml, ON);
    let faults = texts(&rules(resource).0.validate_create(&context("", ON), &made));
    assert_eq!(faults, expected);
}

/// Updates an object, through a subresource if one is given. Returns the result and its faults.
fn change(
    resource: &str,
    old: &str,
    new: &str,
    subresource: &str,
    gates: Gates,
) -> (Tree, Vec<String>) {
    let (rules, _) = rules(resource);
    let stored = made(resource, old, ON);
    let mut next = object(resource, new);
    let context = context(subresource, gates);
    rules.prepare_update(&context, &mut next, &stored);
    let faults = texts(&rules.validate_update(&context, &next, &stored));
    (next, faults)
}

/// Returns the generation after a valid update.
#[track_caller]
fn check_generation(resource: &str, old: &str, new: &str, expected: u64) {
    let (next, faults) = change(resource, old, new, "", ON);
    assert_eq!(faults, [""; 0]);
    assert_eq!(
        at(&next, &["metadata", "generation"]),
        &Tree::from(expected),
        "{new}"
    );
}

#[track_caller]
fn check_change(resource: &str, old: &str, new: &str, expected: &[&str]) {
    let (_, faults) = change(resource, old, new, "", ON);
    let firsts: Vec<&str> = faults
        .iter()
        .map(|fault| fault.split('\n').next().unwrap_or_default())
        .collect();
    assert_eq!(firsts, expected);
}

const POD: &str = "spec: {containers: [{name: c, image: img}]}";
const TEMPLATE: &str =
    "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: img}]}}";
