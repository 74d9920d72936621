//! Discovery: which resources are served, as one document for each version and as one aggregated
//! document. Pure: from rows of the resource table to trees.

use kinds::Tree;
use kinds::facts::{Resource, Subresource};
use kinds::tree::{Map, json};
use registry::ResourceRef;

/// Returns the document at `/api`. Upstream leaves its `apiVersion` out.
pub(crate) fn versions(server_address: &str) -> Tree {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0",
            "serverAddress": server_address}],
    })
}

/// Returns the document at `/apis`.
pub(crate) fn groups(rows: &[ResourceRef]) -> Tree {
    let mut names: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| !row.group.is_empty()) {
        if !names.contains(&&*row.group) {
            names.push(&row.group);
        }
    }
    let groups: Vec<Tree> = names
        .into_iter()
        .map(|name| Tree::Object(group_members(rows, name)))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// Returns the document at `/apis/{group}`.
pub(crate) fn group(rows: &[ResourceRef], name: &str) -> Tree {
    let mut members = group_members(rows, name);
    members.insert("kind".to_owned(), json!("APIGroup"));
    members.insert("apiVersion".to_owned(), json!("v1"));
    Tree::Object(members)
}

fn group_members(rows: &[ResourceRef], name: &str) -> Map {
    let version =
        |version: &str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<Tree> = versions_of(rows, name).into_iter().map(version).collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    Map::from_iter([
        ("name".to_owned(), json!(name)),
        ("versions".to_owned(), Tree::from(versions)),
        ("preferredVersion".to_owned(), preferred),
    ])
}

/// Returns the versions of a group, the preferred one first, in the order of the table.
fn versions_of<'a>(rows: &'a [ResourceRef], group: &str) -> Vec<&'a str> {
    let mut versions: Vec<&str> = Vec::new();
    if let Some(known) = kinds::groups().iter().find(|known| known.name == group) {
        versions.extend(known.versions);
    }
    for row in rows.iter().filter(|row| row.group == group) {
        if !versions.contains(&&*row.version) {
            versions.push(&row.version);
        }
    }
    versions
}

/// Returns the document at `/api/v1` or `/apis/{group}/{version}`. That of the core group has no
/// `apiVersion`.
pub(crate) fn resources(rows: &[ResourceRef], group: &str, version: &str) -> Tree {
    let mut list: Vec<Tree> = Vec::new();
    for row in rows
        .iter()
        .filter(|row| row.group == group && row.version == version)
    {
        list.push(resource(row));
        list.extend(row.subresources.iter().map(|sub| subresource(row, sub)));
    }
    list.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    let mut members = Map::from_iter([
        ("kind".to_owned(), json!("APIResourceList")),
        ("resources".to_owned(), Tree::from(list)),
    ]);
    if group.is_empty() {
        members.insert("groupVersion".to_owned(), json!(version));
    } else {
        members.insert("apiVersion".to_owned(), json!("v1"));
        members.insert(
            "groupVersion".to_owned(),
            json!(format!("{group}/{version}")),
        );
    }
    Tree::Object(members)
}

fn resource(row: &Resource) -> Tree {
    let mut found = json!({
        "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced,
        "kind": row.kind, "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        found["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        found["categories"] = json!(row.categories);
    }
    if row.stored {
        found["storageVersionHash"] = json!(kinds::storage_version_hash(
            &row.storage_group,
            &row.storage_version,
            &row.kind
        ));
    }
    found
}

fn subresource(row: &Resource, sub: &Subresource) -> Tree {
    let mut found = json!({
        "name": format!("{}/{}", row.plural, sub.name), "singularName": "",
        "namespaced": row.namespaced, "kind": sub.kind, "verbs": sub.verbs,
    });
    if is_foreign(row, sub) {
        found["group"] = json!(sub.group);
        found["version"] = json!(sub.version);
    }
    found
}

/// Group and version are given only for kinds of another group version.
fn is_foreign(row: &Resource, sub: &Subresource) -> bool {
    (&sub.group, &sub.version) != (&row.group, &row.version)
}

/// Returns the aggregated document at `/api` (the core group) or at `/apis` (all others).
pub(crate) fn aggregated(rows: &[ResourceRef], core: bool) -> Tree {
    let mut names: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.group.is_empty() == core) {
        if !names.contains(&&*row.group) {
            names.push(&row.group);
        }
    }
    let items: Vec<Tree> = names
        .into_iter()
        .map(|name| aggregated_group(rows, name))
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items})
}

fn aggregated_group(rows: &[ResourceRef], group: &str) -> Tree {
    let version = |version: &str| {
        let of_version = rows
            .iter()
            .filter(|row| row.group == group && row.version == version);
        let resources: Vec<Tree> = of_version.map(|row| aggregated_resource(row)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let versions: Vec<Tree> = versions_of(rows, group).into_iter().map(version).collect();
    let metadata = if group.is_empty() {
        json!({})
    } else {
        json!({"name": group})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(row: &Resource) -> Tree {
    let mut found = json!({
        "resource": row.plural,
        "responseKind": {"group": "", "version": "", "kind": row.kind},
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        found["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        found["categories"] = json!(row.categories);
    }
    if !row.subresources.is_empty() {
        let subs: Vec<Tree> = row
            .subresources
            .iter()
            .map(|sub| aggregated_subresource(row, sub))
            .collect();
        found["subresources"] = Tree::from(subs);
    }
    found
}

fn aggregated_subresource(row: &Resource, sub: &Subresource) -> Tree {
    let (group, version) = if is_foreign(row, sub) {
        (&*sub.group, &*sub.version)
    } else {
        ("", "")
    };
    json!({"subresource": sub.name, "responseKind": {"group": group, "version": version,
        "kind": sub.kind}, "verbs": sub.verbs})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<ResourceRef> {
        kinds::resources().iter().map(ResourceRef::from).collect()
    }

    #[test]
    fn kubectl_finds_the_eviction_subresource() {
        let list = resources(&rows(), "", "v1");
        let eviction = list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == "pods/eviction")
            .unwrap();
        let expected = json!({"name": "pods/eviction", "singularName": "", "namespaced": true,
            "group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]});
        assert_eq!(*eviction, expected);
        assert!(list.get("apiVersion").is_none());
    }

    #[test]
    fn the_core_group_is_not_among_the_groups() {
        let names = groups(&rows());
        assert!(
            names["groups"]
                .as_array()
                .unwrap()
                .iter()
                .all(|group| group["name"] != "")
        );
        assert_eq!(
            group(&rows(), "policy")["preferredVersion"]["groupVersion"],
            "policy/v1"
        );
        assert_eq!(
            aggregated(&rows(), true)["items"].as_array().unwrap().len(),
            1
        );
    }
}
