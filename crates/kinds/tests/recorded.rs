//! The table and the codecs against recorded responses (`golden/`). Every object must decode and
//! encode unchanged: a missing field, or an empty member that upstream writes, fails the test.

use std::collections::BTreeSet;
use std::path::Path;

use exeunt_kinds as kinds;
use exeunt_kinds::tree::Text;
use exeunt_kinds::{Tree, json, yaml};

/// Returns every recorded JSON response and where it was recorded.
fn answers() -> Vec<(String, Tree)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the recordings are there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let text = std::fs::read(&path).expect("readable");
        let area: Tree = serde_json::from_slice(&text).expect("a recording is JSON");
        for scenario in area["scenarios"].as_array().expect("scenarios") {
            for step in scenario["steps"].as_array().expect("steps") {
                found.push((
                    format!("{}: {} {}", path.display(), scenario["name"], step["do"]),
                    step["expect"]["body"].clone(),
                ));
            }
        }
    }
    assert!(found.len() > 1000, "only {} answers", found.len());
    found
}

/// Replaces masked values by ones that decode.
fn unmask(tree: &mut Tree, name: &str) {
    match tree {
        Tree::String(text) if text.contains("<time>") => {
            let time = if matches!(
                name,
                "renewTime" | "acquireTime" | "eventTime" | "lastObservedTime"
            ) {
                "2026-01-02T03:04:05.000006Z"
            } else {
                "2026-01-02T03:04:05Z"
            };
            *text = text.replace("<time>", time).into();
        }
        Tree::Array(items) => items.iter_mut().for_each(|item| unmask(item, name)),
        Tree::Object(members) => members
            .iter_mut()
            .for_each(|(name, member)| unmask(member, name)),
        _ => {}
    }
}

/// Returns the objects of a response: itself, the items of a list, the objects of a watch.
fn objects(answer: &Tree) -> Vec<Tree> {
    match answer {
        Tree::Array(events) => events
            .iter()
            .filter_map(|event| event.get("object"))
            .flat_map(objects)
            .collect(),
        Tree::Object(members) => match members.get("items") {
            Some(Tree::Array(items)) => {
                let (kind, version) = (
                    members
                        .get("kind")
                        .and_then(Tree::as_str)
                        .unwrap_or_default(),
                    members.get("apiVersion").cloned(),
                );
                let kind = kind.trim_end_matches("List");
                items
                    .iter()
                    .map(|item| {
                        let mut item = item.clone();
                        item["kind"] = kind.into();
                        item["apiVersion"] = version.clone().unwrap_or_default();
                        item
                    })
                    .collect()
            }
            _ if members.contains_key("metadata") && members.contains_key("kind") => {
                vec![answer.clone()]
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn type_of(object: &Tree) -> Option<&'static kinds::facts::Type> {
    let (kind, version) = (object["kind"].as_str()?, object["apiVersion"].as_str()?);
    if (kind, version) == ("Status", "v1") {
        return kinds::type_named("io.k8s.apimachinery.pkg.apis.meta.v1.Status");
    }
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    kinds::resource_by_kind(group, version, kind).map(|found| found.ty)
}

#[test]
fn every_recorded_object_passes_through_unchanged() {
    let (mut count, mut faults) = (0, BTreeSet::new());
    for (place, answer) in answers() {
        for mut object in objects(&answer) {
            let Some(ty) = type_of(&object) else { continue };
            unmask(&mut object, "");
            let text = object.to_string();
            // Some responses are recorded in part, by path.
            if object
                .as_object()
                .is_some_and(|members| members.keys().any(|name| name.contains('.')))
            {
                continue;
            }
            // Masks in other positions (a port, a list of fields) make some responses undecodable.
            if text.contains("\"<any>\"") || text.contains("<continue>") {
                continue;
            }
            let decoded = match json::decode(text.as_bytes(), ty) {
                Ok(decoded) => decoded,
                Err(error) => {
                    faults.insert(format!("{place}: {error}"));
                    continue;
                }
            };
            count += 1;
            let again: Tree =
                serde_json::from_slice(&json::encode(&decoded.tree, ty)).expect("JSON");
            if !decoded.warnings.is_empty() || again != object {
                faults.insert(format!(
                    "{place}\n  {:?}\n  {}",
                    decoded.warnings,
                    difference(&object, &again, "")
                ));
            }
        }
    }
    assert!(count > 500, "only {count} objects");
    assert!(
        faults.is_empty(),
        "{} of {count}:\n{}",
        faults.len(),
        faults.into_iter().collect::<Vec<_>>().join("\n")
    );
}

fn difference(one: &Tree, other: &Tree, path: &str) -> String {
    match (one, other) {
        (Tree::Object(a), Tree::Object(b)) => {
            let names: BTreeSet<&str> = a
                .keys()
                .map(Text::as_str)
                .chain(b.keys().map(Text::as_str))
                .collect();
            let parts = names.into_iter().filter(|name| a.get(name) != b.get(name));
            parts
                .map(|name| match (a.get(name), b.get(name)) {
                    (Some(one), Some(other)) => difference(one, other, &format!("{path}.{name}")),
                    (one, other) => format!("{path}.{name}: {one:?} {other:?}; "),
                })
                .collect()
        }
        (Tree::Array(a), Tree::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .filter(|(_, (a, b))| a != b)
            .map(|(at, (a, b))| difference(a, b, &format!("{path}[{at}]")))
            .collect(),
        _ => format!("{path}: {one} {other}; "),
    }
}

/// Returns a row of the table as discovery shows it.
fn shown(name: &str, group: &str, version: &str) -> Option<Tree> {
    let (plural, subresource) = name
        .split_once('/')
        .map_or((name, None), |(plural, sub)| (plural, Some(sub)));
    let row = kinds::resource(group, version, plural)?;
    let Some(subresource) = subresource else {
        let mut entry = exeunt_kinds::tree::json!({
            "name": name, "singularName": row.singular, "namespaced": row.namespaced,
                "kind": row.kind, "verbs": row.verbs,
        });
        for (member, list) in [
            ("shortNames", &row.short_names),
            ("categories", &row.categories),
        ] {
            if !list.is_empty() {
                entry[member] = list
                    .iter()
                    .map(|name| Tree::from(name.as_str()))
                    .collect::<Vec<_>>()
                    .into();
            }
        }
        if row.stored {
            entry["storageVersionHash"] =
                kinds::storage_version_hash(&row.storage_group, &row.storage_version, &row.kind)
                    .into();
        }
        return Some(entry);
    };
    let sub = row.subresource(subresource)?;
    let mut entry = exeunt_kinds::tree::json!({"name": name, "singularName": "",
        "namespaced": row.namespaced, "kind": sub.kind, "verbs": sub.verbs});
    if (&*sub.group, &*sub.version) != (group, version) {
        entry["group"] = sub.group.as_str().into();
        entry["version"] = sub.version.as_str().into();
    }
    Some(entry)
}

#[test]
fn the_resource_table_is_what_discovery_shows() {
    let mut count = 0;
    for (place, answer) in answers() {
        let Some(members) = answer.as_object() else {
            continue;
        };
        let Some(path) = place
            .split("GET /api")
            .nth(1)
            .map(|path| path.trim_end_matches(['"', '/']))
        else {
            continue;
        };
        let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
            ["", "v1"] => ("", "v1"),
            ["s", group, version] => (*group, *version),
            _ => continue,
        };
        let one = |name: &str, entry: &Tree| {
            Some((
                name.strip_prefix("resources[?name=")?
                    .trim_end_matches(']')
                    .to_owned(),
                entry.clone(),
            ))
        };
        let all = |list: &Tree| {
            let entries = list.as_array().cloned().unwrap_or_default();
            entries
                .into_iter()
                .map(|entry| (entry["name"].as_str().unwrap_or_default().to_owned(), entry))
                .collect::<Vec<_>>()
        };
        let mut entries: Vec<(String, Tree)> = members
            .iter()
            .filter_map(|(name, entry)| one(name, entry))
            .collect();
        entries.extend(members.get("resources").map(all).unwrap_or_default());
        for (name, entry) in entries {
            count += 1;
            assert_eq!(
                shown(&name, group, version).unwrap_or_default(),
                entry,
                "{place}"
            );
        }
    }
    assert!(count > 50, "only {count} entries");
}

#[test]
fn recorded_yaml_is_encoded_byte_for_byte() {
    let mut count = 0;
    for (place, answer) in answers() {
        let Some(text) = answer
            .as_str()
            .filter(|text| text.starts_with("apiVersion:"))
        else {
            continue;
        };
        count += 1;
        let text = text.replace("<time>", "2026-01-02T03:04:05Z");
        let tree = yaml::decode_untyped(text.as_bytes())
            .unwrap_or_else(|error| panic!("{place}: {error}"))
            .tree;
        assert_eq!(yaml::encode_untyped(&tree), text, "{place}");
    }
    assert!(count > 5, "only {count} answers");
}
