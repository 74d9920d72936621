//! Paths and operations of a resource: its verbs and their parameters.

use kinds::Tree;
use kinds::facts::Subresource;
use kinds::tree::{Map, json};
use registry::ResourceRef;

use super::{base, schemas};

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const LISTING: [(&str, &str); 11] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITING: [(&str, &str); 3] = [
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];
const PATCHING: [(&str, &str); 4] = [
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
];
const DELETING: [(&str, &str); 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
    ),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// Kind of the objects of an operation.
struct OperationTarget<'a> {
    row: &'a ResourceRef,
    sub: Option<&'a Subresource>,
}

/// Adds the paths of a resource and of its subresources.
pub(super) fn of_resource(row: &ResourceRef, paths: &mut Map) {
    let target = OperationTarget { row, sub: None };
    let collection = if row.namespaced {
        format!("{}/namespaces/{{namespace}}/{}", base(row), row.plural)
    } else {
        format!("{}/{}", base(row), row.plural)
    };
    let pick = |verbs: &[(&str, &str)]| -> Vec<(String, Tree)> {
        let served = verbs.iter().filter(|(verb, _)| row.verbs.contains(verb));
        served
            .map(|(verb, method)| ((*method).to_owned(), target.operation(verb)))
            .collect()
    };
    let of_collection = pick(&[
        ("list", "get"),
        ("create", "post"),
        ("deletecollection", "delete"),
    ]);
    add(paths, &collection, of_collection, row.namespaced, false);
    let of_object = pick(&[
        ("get", "get"),
        ("update", "put"),
        ("patch", "patch"),
        ("delete", "delete"),
    ]);
    add(
        paths,
        &format!("{collection}/{{name}}"),
        of_object,
        row.namespaced,
        true,
    );
    if row.namespaced && row.verbs.contains(&"list") {
        add(
            paths,
            &format!("{}/{}", base(row), row.plural),
            vec![("get".to_owned(), target.operation("list"))],
            false,
            false,
        );
    }
    for sub in row.subresources.iter() {
        let target = OperationTarget {
            row,
            sub: Some(sub),
        };
        let methods = [
            ("get", "get"),
            ("update", "put"),
            ("patch", "patch"),
            ("create", "post"),
            ("delete", "delete"),
        ];
        let served = methods.iter().filter(|(verb, _)| sub.verbs.contains(verb));
        let operations = served
            .map(|(verb, method)| ((*method).to_owned(), target.operation(verb)))
            .collect();
        add(
            paths,
            &format!("{collection}/{{name}}/{}", sub.name),
            operations,
            row.namespaced,
            true,
        );
    }
}

fn add(
    paths: &mut Map,
    path: &str,
    operations: Vec<(String, Tree)>,
    namespaced: bool,
    named: bool,
) {
    if operations.is_empty() {
        return;
    }
    let mut item: Map = operations.into_iter().collect();
    let mut parameters = Vec::new();
    for (wanted, name) in [(named, "name"), (namespaced, "namespace")] {
        if wanted {
            parameters.push(
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
            );
        }
    }
    parameters.push(query(&("pretty", "string")));
    item.insert("parameters".to_owned(), Tree::from(parameters));
    paths.insert(path.to_owned(), Tree::Object(item));
}

fn query((name, kind): &(&str, &str)) -> Tree {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

impl OperationTarget<'_> {
    /// Custom resources support all patch types but the strategic one, which needs a type.
    fn takes(&self, media: &str) -> bool {
        !self.row.is_custom() || media != "application/strategic-merge-patch+json"
    }

    fn kind(&self) -> Tree {
        let (group, version, kind) = self.sub.map_or(
            (&self.row.group, &self.row.version, &self.row.kind),
            |sub| (&sub.group, &sub.version, &sub.kind),
        );
        json!({"group": group, "version": version, "kind": kind})
    }

    /// The name of the schema of what the operation takes and answers.
    fn type_name(&self) -> &str {
        match self.sub {
            Some(sub) if !std::ptr::eq(sub.ty, self.row.ty) => sub.ty.name,
            _ => schemas::type_name(self.row),
        }
    }

    fn schema(&self) -> Tree {
        json!({"$ref": format!("#/components/schemas/{}", self.type_name())})
    }

    /// Returns the ID of an operation, for example `patchCoreV1NamespacedPod` or
    /// `createCoreV1NamespacedPodEviction`.
    fn id(&self, verb: &str) -> String {
        let action = match verb {
            "get" => "read",
            "update" => "replace",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        let group = self
            .row
            .group
            .split('.')
            .next()
            .filter(|group| !group.is_empty())
            .unwrap_or("core");
        let scope = if self.row.namespaced {
            "Namespaced"
        } else {
            ""
        };
        let sub = self.sub.map_or(String::new(), |sub| capital(sub.name));
        format!(
            "{action}{}{}{scope}{}{sub}",
            capital(group),
            capital(&self.row.version),
            self.row.kind
        )
    }

    fn operation(&self, verb: &str) -> Tree {
        let (action, parameters): (&str, Vec<Tree>) = match verb {
            "list" => ("list", LISTING.iter().map(query).collect()),
            "create" => ("post", WRITING.iter().map(query).collect()),
            "update" => ("put", WRITING.iter().map(query).collect()),
            "patch" => ("patch", PATCHING.iter().map(query).collect()),
            "delete" => ("delete", DELETING.iter().map(query).collect()),
            "deletecollection" => (
                "deletecollection",
                DELETING.iter().chain(&LISTING[1..10]).map(query).collect(),
            ),
            _ => ("get", Vec::new()),
        };
        let mut found = json!({
            "operationId": self.id(verb),
            "tags": [format!("{}_{}",
                self.row.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or(
                "core"), self.row.version)],
            "responses": {"200": {"description": "OK", "content": self.content(verb)},
                "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self.kind(),
        });
        if !parameters.is_empty() {
            found["parameters"] = Tree::from(parameters);
        }
        if let Some(body) = self.body(verb) {
            found["requestBody"] = body;
        }
        found
    }

    fn content(&self, verb: &str) -> Tree {
        let schema = match verb {
            "list" => {
                json!({"$ref": format!("#/components/schemas/{}",
                    super::schemas::list_name(self.row))})
            }
            "delete" | "deletecollection" => {
                json!({"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Status"})
            }
            _ => self.schema(),
        };
        let media = [
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ];
        media
            .into_iter()
            .map(|media| (media.to_owned(), json!({"schema": schema})))
            .collect::<Map>()
            .into()
    }

    fn body(&self, verb: &str) -> Option<Tree> {
        let content: Map = match verb {
            "create" | "update" => {
                Map::from_iter([("*/*".to_owned(), json!({"schema": self.schema()}))])
            }
            "patch" => PATCHES
                .iter()
                .filter(|media| self.takes(media))
                .map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}})))
                .collect(),
            "delete" | "deletecollection" => {
                let name = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
                let options = json!({"$ref": format!("#/components/schemas/{name}")});
                return Some(json!({"content": {"*/*": {"schema": options}}}));
            }
            _ => return None,
        };
        Some(json!({"content": content, "required": true}))
    }
}

fn capital(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}
