//! The resource table, from the paths of the OpenAPI document.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::{ResourceModel, SubresourceModel};
use crate::schema::facts::{DefinitionFacts, SchemaFacts};

#[derive(Default)]
struct ResourceRow {
    namespaced: bool,
    gvk: Option<(String, String, String)>,
    verbs: BTreeSet<&'static str>,
}

/// All resources of the served versions, groups in discovery order, resources by name.
pub(super) fn build(facts: &SchemaFacts) -> Result<Vec<ResourceModel>> {
    let mut found = Vec::new();
    for (group, versions) in &facts.resources.served {
        for version in versions {
            let rows = rows(facts, group, version);
            for (plural, row) in rows.iter().filter(|(name, _)| !name.contains('/')) {
                found.push(resource(facts, (group, version), plural, row, &rows)?);
            }
        }
    }
    Ok(found)
}

fn rows(facts: &SchemaFacts, group: &str, version: &str) -> BTreeMap<String, ResourceRow> {
    let prefix = if group.is_empty() {
        format!("/api/{version}/")
    } else {
        format!("/apis/{group}/{version}/")
    };
    let mut rows: BTreeMap<String, ResourceRow> = BTreeMap::new();
    for (path, operations) in &facts.paths {
        let Some(rest) = path.strip_prefix(&prefix) else {
            continue;
        };
        let mut parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        // A namespace itself is `namespaces/{name}`, so only `{namespace}` marks what lies inside
        // one.
        let namespaced = parts.len() > 2 && parts.starts_with(&["namespaces", "{namespace}"]);
        if namespaced {
            parts.drain(..2);
        }
        let name = match parts.as_slice() {
            ["watch", ..] => continue,
            [plural] | [plural, "{name}"] => (*plural).to_owned(),
            [plural, "{name}", subresource] => format!("{plural}/{subresource}"),
            _ => continue,
        };
        let row = rows.entry(name).or_default();
        row.namespaced |= namespaced;
        for (method, operation) in operations {
            if let Some(verb) = verb(operation.action.as_deref(), method) {
                row.verbs.insert(verb);
                row.gvk = row.gvk.take().or_else(|| operation.gvk.clone());
            }
        }
    }
    for row in rows.values_mut() {
        if row.verbs.contains("list") && row.verbs.contains("create") {
            row.verbs.insert("watch");
        }
    }
    rows
}

/// The verb under which discovery lists an operation.
fn verb(action: Option<&str>, method: &str) -> Option<&'static str> {
    Some(match (action?, method) {
        ("get", _) | ("connect", "get") => "get",
        ("list", _) => "list",
        ("post", _) | ("connect", "post") => "create",
        ("put", _) | ("connect", "put") => "update",
        ("patch", _) | ("connect", "patch") => "patch",
        ("delete", _) | ("connect", "delete") => "delete",
        ("deletecollection", _) => "deletecollection",
        _ => return None,
    })
}

fn resource(
    facts: &SchemaFacts,
    (group, version): (&str, &str),
    plural: &str,
    row: &ResourceRow,
    rows: &BTreeMap<String, ResourceRow>,
) -> Result<ResourceModel> {
    let gvk = row
        .gvk
        .clone()
        .with_context(|| format!("{group}/{version} {plural} has no kind"))?;
    let prefix = format!("{plural}/");
    let subresources = rows
        .iter()
        .filter_map(|(name, row)| Some((name.strip_prefix(&prefix)?, row)))
        .map(|(name, row)| {
            let gvk = row
                .gvk
                .clone()
                .with_context(|| format!("{plural}/{name} has no kind"))?;
            Ok(SubresourceModel {
                name: name.to_owned(),
                type_name: type_name(facts, &gvk)?,
                gvk,
                verbs: texts(&row.verbs),
            })
        })
        .collect::<Result<_>>()?;
    let discovery = &facts.resources;
    let storage = discovery
        .stored_as
        .get(&format!("{group}/{version}/{plural}"))
        .cloned();
    Ok(ResourceModel {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: gvk.2.to_lowercase(),
        short_names: discovery
            .short_names
            .get(plural)
            .cloned()
            .unwrap_or_default(),
        categories: discovery
            .categories
            .get(plural)
            .cloned()
            .unwrap_or_default(),
        namespaced: row.namespaced,
        verbs: texts(&row.verbs),
        subresources,
        type_name: type_name(facts, &gvk)?,
        stored: !discovery.not_stored.iter().any(|name| name == plural),
        storage: storage.unwrap_or_else(|| (group.to_owned(), version.to_owned())),
        kind: gvk.2,
    })
}

fn texts(verbs: &BTreeSet<&'static str>) -> Vec<String> {
    verbs.iter().map(|verb| (*verb).to_owned()).collect()
}

/// The type of a kind: the definition that claims it, or one that only protobuf knows.
fn type_name(facts: &SchemaFacts, gvk: &(String, String, String)) -> Result<String> {
    let claims =
        |definition: &DefinitionFacts| definition.gvk.len() == 1 && definition.gvk[0] == *gvk;
    if let Some((name, _)) = facts
        .definitions
        .iter()
        .find(|(_, definition)| claims(definition))
    {
        return Ok(name.clone());
    }
    let ending = format!(".{}.{}", gvk.1, gvk.2);
    let found = facts
        .resources
        .protobuf_only
        .iter()
        .find(|name| name.ends_with(&ending));
    found
        .cloned()
        .with_context(|| format!("no definition claims {gvk:?}"))
}
