//! OpenAPI v2: one document for everything, for older clients. kubectl up to 1.26 validates with it
//! and looks up whether a resource supports dry runs.
//!
//! Pure. Schemas are made in the style of version 2, and the operations of version 3 are rewritten.

use kinds::Tree;
use kinds::tree::{Map, json};
use registry::ResourceRef;

use super::operations;
use super::schemas::Style;

/// Returns the document of these resources.
pub(crate) fn document(rows: &[ResourceRef]) -> Tree {
    let mut paths = Map::new();
    for row in rows {
        operations::of_resource(row, &mut paths);
    }
    paths
        .values_mut()
        .filter_map(Tree::as_object_mut)
        .for_each(rewrite_item);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": kinds::git_version()},
        "paths": paths,
        "definitions": super::schemas(rows, Style::V2),
    })
}

fn rewrite_item(item: &mut Map) {
    for (name, part) in item.iter_mut() {
        match part {
            Tree::Array(parameters) if name == "parameters" => {
                parameters.iter_mut().for_each(rewrite_parameter)
            }
            Tree::Object(operation) => rewrite_operation(operation),
            _ => {}
        }
    }
}

/// Version 2 has the type of a parameter beside its name and not in a schema.
fn rewrite_parameter(parameter: &mut Tree) {
    let Some(Tree::Object(schema)) = parameter
        .as_object_mut()
        .and_then(|members| members.remove("schema"))
    else {
        return;
    };
    for (name, value) in schema {
        parameter[name] = value;
    }
}

/// Version 2 has the body among the parameters, and media types beside the schemas.
fn rewrite_operation(operation: &mut Map) {
    let mut parameters = Vec::new();
    if let Some(body) = operation.remove("requestBody") {
        let (media, schema) = content(&body);
        parameters.push(
            json!({"name": "body", "in": "body", "required": body["required"] == true,
            "schema": schema}),
        );
        operation.insert("consumes".to_owned(), media);
    }
    if let Some(Tree::Array(mut old)) = operation.remove("parameters") {
        old.iter_mut().for_each(rewrite_parameter);
        parameters.extend(old);
    }
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), Tree::from(parameters));
    }
    let mut produces = Tree::Null;
    for response in operation
        .get_mut("responses")
        .and_then(Tree::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
    {
        if response.get("content").is_some() {
            let (media, schema) = content(response);
            produces = media;
            *response = json!({"description": response["description"], "schema": schema});
        }
    }
    if !produces.is_null() {
        operation.insert("produces".to_owned(), produces);
    }
}

/// Returns the media types of some content, and the schema that they share.
fn content(part: &Tree) -> (Tree, Tree) {
    let Some(Tree::Object(content)) = part.get("content") else {
        return (json!([]), json!({}));
    };
    let schema = content
        .values()
        .next()
        .and_then(|first| first.get("schema"))
        .cloned()
        .unwrap_or_default();
    let target = schema
        .get("$ref")
        .and_then(Tree::as_str)
        .and_then(|target| target.rsplit('/').next());
    let schema = target.map_or_else(|| schema.clone(), |name| Style::V2.reference(name));
    (content.keys().cloned().collect(), schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Tree {
        document(
            &kinds::resources()
                .iter()
                .map(registry::ResourceRef::from)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn every_reference_resolves() {
        let document = whole();
        let text = document.to_string();
        assert!(
            !text.contains("#/components/"),
            "references of version 3 are rewritten"
        );
        for part in text.split("\"#/definitions/").skip(1) {
            let target = part.split('"').next().unwrap();
            assert!(document["definitions"].get(target).is_some(), "{target}");
        }
    }

    #[test]
    fn an_old_kubectl_finds_the_dry_run_parameter() {
        let document = whole();
        let patch =
            &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "apps", "version": "v1", "kind": "Deployment"})
        );
        let parameters = patch["parameters"].as_array().unwrap();
        assert_eq!(
            parameters[0],
            json!({"name": "body", "in": "body", "required": true, "schema":
                {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Patch"}})
        );
        assert!(parameters.contains(
            &json!({"name": "dryRun", "in": "query", "type": "string", "uniqueItems": true})
        ));
        assert_eq!(
            patch["responses"]["200"]["schema"]["$ref"],
            "#/definitions/io.k8s.api.apps.v1.Deployment"
        );
    }
}
