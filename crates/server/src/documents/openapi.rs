//! OpenAPI v3: one document for each group version, and an index. Pure: from the resource table to
//! trees. kubectl validates, computes patches and explains fields with these documents.
//!
//! `v2` makes version 2, one document for everything, from the same parts. `gnostic` encodes it as
//! protobuf.

mod descriptions;
mod gnostic;
mod operations;
mod schemas;
mod v2;

use std::collections::BTreeSet;

use kinds::Tree;
use kinds::facts::{Resource, Type};
use kinds::tree::{Map, json};
use registry::ResourceRef;

use descriptions::Descriptions;
use schemas::Style;

pub(crate) use gnostic::{encode as gnostic, encode_v3 as gnostic_v3};
pub(crate) use v2::document as v2;

/// Returns the names of the documents: `api/v1`, `apis/apps/v1`.
pub(crate) fn names(rows: &[ResourceRef]) -> Vec<String> {
    let mut names: Vec<String> = ["api", "apis", "version"]
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    for row in rows {
        let group = if row.group.is_empty() {
            "api".to_owned()
        } else {
            format!("apis/{}", row.group)
        };
        let version = format!("{group}/{}", row.version);
        for name in [group, version] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Returns the index: the URL of each document, with the hash that makes it cacheable.
pub(crate) fn index(rows: &[ResourceRef], hash: &str) -> Tree {
    let entry = |name: String| {
        let url = format!("/openapi/v3/{name}?hash={hash}");
        (name, json!({"serverRelativeURL": url}))
    };
    json!({"paths": names(rows).into_iter().map(entry).collect::<Map>()})
}

/// Returns a document; `None` for an unknown name.
pub(crate) fn document(rows: &[ResourceRef], name: &str) -> Option<Tree> {
    if !names(rows).iter().any(|known| known == name) {
        return None;
    }
    let prefix = format!("/{name}");
    let rows_here: Vec<ResourceRef> = rows
        .iter()
        .filter(|row| base(row) == prefix)
        .cloned()
        .collect();
    let mut paths = Map::new();
    for row in &rows_here {
        operations::of_resource(row, &mut paths);
    }
    // A document of definitions alone is made by another part of upstream, which names itself.
    let is_custom = !rows_here.is_empty() && rows_here.iter().all(ResourceRef::is_custom);
    let info = if is_custom {
        json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"})
    } else {
        json!({"title": "Kubernetes", "version": kinds::git_version()})
    };
    Some(json!({
        "openapi": "3.0.0",
        "info": info,
        "paths": paths,
        "components": {"schemas": schemas(&rows_here, Style::V3)},
    }))
}

/// Returns the schemas of these resources and of all types that they use, by name.
fn schemas(rows: &[ResourceRef], style: Style) -> Map {
    let mut types: BTreeSet<&'static str> = BTreeSet::new();
    for row in rows {
        types.extend(reachable(row.ty));
        types.extend(row.subresources.iter().flat_map(|sub| reachable(sub.ty)));
    }
    types.extend(
        ["DeleteOptions", "ListMeta", "Status"]
            .into_iter()
            .filter_map(meta)
            .flat_map(reachable),
    );
    let texts = Descriptions::gather();
    let types = types.into_iter().filter_map(kinds::type_named);
    let mut found: Map = types
        .map(|ty| (ty.name.to_owned(), schemas::of_type(ty, style, &texts)))
        .collect();
    let lists = rows.iter().filter(|row| row.verbs.contains(&"list"));
    found.extend(lists.map(|row| (schemas::list_name(row), schemas::list(row, style, &texts))));
    let custom = rows.iter();
    found.extend(custom.filter_map(|row| schemas::of_custom(row, style, &texts)));
    found.extend(schemas::untyped(&texts));
    found
}

/// Returns the path below which a group version is served.
fn base(row: &Resource) -> String {
    if row.group.is_empty() {
        format!("/api/{}", row.version)
    } else {
        format!("/apis/{}/{}", row.group, row.version)
    }
}

fn meta(name: &str) -> Option<&'static Type> {
    kinds::type_named(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"))
}

/// Adds a type and all types that it uses, by name.
fn reachable(ty: &'static Type) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut open = vec![ty];
    while let Some(ty) = open.pop() {
        if found.insert(ty.name) {
            open.extend(
                ty.fields
                    .iter()
                    .filter_map(|field| schemas::structure(field.shape)),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<ResourceRef> {
        kinds::resources().iter().map(ResourceRef::from).collect()
    }

    #[test]
    fn kubectl_finds_the_schemas_that_it_validates_with() {
        let core = document(&rows(), "api/v1").unwrap();
        let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "", "version": "v1", "kind": "Pod"})
        );
        assert!(
            patch["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|parameter| parameter["name"] == "fieldValidation")
        );
        let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
            ["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    }

    #[test]
    fn operations_are_named_and_described_as_upstreams() {
        for (name, path, method, id, text, codes) in [
            (
                "api/v1",
                "/api/v1/namespaces/{namespace}/pods",
                "post",
                "createCoreV1NamespacedPod",
                "create a Pod",
                vec!["200", "201", "202", "401"],
            ),
            (
                "api/v1",
                "/api/v1/namespaces/{namespace}/pods",
                "delete",
                "deleteCoreV1CollectionNamespacedPod",
                "delete collection of Pod",
                vec!["200", "401"],
            ),
            (
                "api/v1",
                "/api/v1/pods",
                "get",
                "listCoreV1PodForAllNamespaces",
                "list or watch objects of kind Pod",
                vec!["200", "401"],
            ),
            (
                "api/v1",
                "/api/v1/namespaces/{namespace}/pods/{name}/exec",
                "get",
                "connectCoreV1GetNamespacedPodExec",
                "connect GET requests to exec of Pod",
                vec!["200", "401"],
            ),
            (
                "apis/rbac.authorization.k8s.io/v1",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}",
                "patch",
                "patchRbacAuthorizationV1ClusterRole",
                "partially update the specified ClusterRole",
                vec!["200", "201", "401"],
            ),
            (
                "apis/networking.k8s.io/v1",
                "/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{name}/status",
                "put",
                "replaceNetworkingV1NamespacedIngressStatus",
                "replace status of the specified Ingress",
                vec!["200", "201", "401"],
            ),
            (
                "apis/networking.k8s.io/v1",
                "/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{name}",
                "delete",
                "deleteNetworkingV1NamespacedIngress",
                "delete an Ingress",
                vec!["200", "202", "401"],
            ),
        ] {
            let document = document(&rows(), name).unwrap();
            let operation = &document["paths"][path][method];
            assert_eq!(operation["operationId"], id, "{path}");
            assert_eq!(operation["description"], text, "{path}");
            let found: Vec<&str> = operation["responses"]
                .as_object()
                .unwrap()
                .keys()
                .map(|code| code.as_str())
                .collect();
            assert_eq!(found, codes, "{path}");
        }
        let core = document(&rows(), "api/v1").unwrap();
        let entry = "io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry";
        let fields = &core["components"]["schemas"][entry]["properties"]["fieldsV1"];
        assert!(fields.to_string().contains("meta.v1.FieldsV1"), "{fields}");
    }

    #[test]
    fn every_reference_resolves() {
        for name in names(&rows()) {
            let document = document(&rows(), &name).unwrap();
            let text = document.to_string();
            for part in text.split("\"#/components/schemas/").skip(1) {
                let target = part.split('"').next().unwrap();
                assert!(
                    document["components"]["schemas"].get(target).is_some(),
                    "{name}: {target}"
                );
            }
        }
    }
}
