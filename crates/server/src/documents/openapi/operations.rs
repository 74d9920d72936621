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
/// Media types of answers; the first two are those of custom resources.
const ANSWERS: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
/// Media types that lists of built-in kinds add for watches.
const STREAMS: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
/// Subresources that connect a client with a node or a pod instead of an object.
const CONNECTIONS: [&str; 4] = ["attach", "exec", "portforward", "proxy"];
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
    add(paths, &collection, of_collection, row.namespaced, None);
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
        Some(&row.kind),
    );
    if row.namespaced && row.verbs.contains(&"list") {
        add(
            paths,
            &format!("{}/{}", base(row), row.plural),
            vec![("get".to_owned(), target.operation_across())],
            false,
            None,
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
            Some(&sub.kind),
        );
    }
}

/// Adds the operations of a path. `named` is the kind whose name is in the path, if one is.
fn add(
    paths: &mut Map,
    path: &str,
    operations: Vec<(String, Tree)>,
    namespaced: bool,
    named: Option<&str>,
) {
    if operations.is_empty() {
        return;
    }
    let mut item: Map = operations.into_iter().collect();
    let mut parameters = Vec::new();
    let of_name = named.map(|kind| ("name", format!("name of the {kind}")));
    let of_namespace = namespaced.then(|| {
        let text = "object name and auth scope, such as for teams and projects";
        ("namespace", text.to_owned())
    });
    for (name, text) in of_name.into_iter().chain(of_namespace) {
        parameters.push(
            json!({"name": name, "in": "path", "description": text, "required": true,
                "schema": {"type": "string", "uniqueItems": true}}),
        );
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

    /// Returns true for a subresource that connects the client with something else.
    fn connects(&self) -> bool {
        self.sub.is_some_and(|sub| CONNECTIONS.contains(&sub.name))
    }

    fn kind(&self) -> Tree {
        // Of a custom kind, all operations name the kind itself.
        let sub = self.sub.filter(|_| !self.row.is_custom());
        let (group, version, kind) = sub.map_or(
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
        reference(self.type_name())
    }

    /// Returns the ID of an operation, for example `patchCoreV1NamespacedPod` or
    /// `createCoreV1NamespacedPodEviction`.
    fn id(&self, verb: &str) -> String {
        let (action, more) = match verb {
            _ if self.connects() => ("connect", method_of(verb)),
            "get" => ("read", ""),
            "update" => ("replace", ""),
            "deletecollection" => ("delete", "Collection"),
            other => (other, ""),
        };
        let scope = if self.row.namespaced {
            "Namespaced"
        } else {
            ""
        };
        let sub = self
            .sub
            .map_or(String::new(), |sub| identifier(sub.name, true));
        format!(
            "{action}{}{}{more}{scope}{}{sub}",
            identifier(self.group(), true),
            identifier(&self.row.version, true),
            self.row.kind
        )
    }

    /// Returns the group as operations name it.
    fn group(&self) -> &str {
        match self.row.group.as_str() {
            "" => "core",
            group => group.strip_suffix(".k8s.io").unwrap_or(group),
        }
    }

    /// Returns what an operation does, in words.
    fn description(&self, verb: &str) -> String {
        let kind = &self.row.kind;
        let sub = self.sub.map_or("", |sub| sub.name);
        let of = if sub.is_empty() {
            String::new()
        } else {
            format!("{sub} of ")
        };
        let (article, the) = (article(kind), "the specified");
        match verb {
            _ if self.connects() => {
                format!(
                    "connect {} requests to {of}{kind}",
                    method_of(verb).to_uppercase()
                )
            }
            "list" if self.row.is_custom() => format!("list objects of kind {kind}"),
            "list" => format!("list or watch objects of kind {kind}"),
            "create" => format!("create {of}{article} {kind}"),
            "update" => format!("replace {of}{the} {kind}"),
            "patch" => format!("partially update {of}{the} {kind}"),
            "delete" => format!("delete {of}{article} {kind}"),
            "deletecollection" => format!("delete collection of {kind}"),
            _ => format!("read {of}{the} {kind}"),
        }
    }

    /// Returns the list of the objects of all namespaces.
    fn operation_across(&self) -> Tree {
        let mut found = self.operation("list");
        let id = format!(
            "list{}{}{}ForAllNamespaces",
            identifier(self.group(), true),
            identifier(&self.row.version, true),
            self.row.kind
        );
        found["operationId"] = id.into();
        found
    }

    fn operation(&self, verb: &str) -> Tree {
        let (action, parameters): (&str, Vec<Tree>) = match verb {
            _ if self.connects() => ("connect", Vec::new()),
            "list" => ("list", LISTING.iter().map(query).collect()),
            "create" => ("post", WRITING.iter().map(query).collect()),
            "update" => ("put", WRITING.iter().map(query).collect()),
            "patch" => ("patch", PATCHING.iter().map(query).collect()),
            "delete" => ("delete", DELETING.iter().map(query).collect()),
            "deletecollection" if self.row.is_custom() => {
                ("deletecollection", LISTING.iter().map(query).collect())
            }
            "deletecollection" => (
                "deletecollection",
                DELETING.iter().chain(&LISTING[1..10]).map(query).collect(),
            ),
            "get" if self.row.is_custom() => ("get", vec![query(&LISTING[5])]),
            _ => ("get", Vec::new()),
        };
        let tag = format!(
            "{}_{}",
            identifier(self.group(), false),
            identifier(&self.row.version, false)
        );
        let mut found = json!({
            "description": self.description(verb),
            "operationId": self.id(verb),
            "tags": [tag],
            "responses": self.responses(verb),
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

    /// Returns the answers of an operation, by code.
    fn responses(&self, verb: &str) -> Tree {
        let more: &[(&str, &str)] = match verb {
            _ if self.connects() => &[],
            "create" => &[("201", "Created"), ("202", "Accepted")],
            "update" => &[("201", "Created")],
            "patch" if !self.row.is_custom() => &[("201", "Created")],
            "delete" => &[("202", "Accepted")],
            _ => &[],
        };
        let content = self.content(verb);
        let mut found = json!({
            "200": {"description": "OK", "content": content},
            "401": {"description": "Unauthorized"},
        });
        for (code, text) in more {
            found[*code] = json!({"description": text, "content": content});
        }
        found
    }

    fn content(&self, verb: &str) -> Tree {
        let is_custom = self.row.is_custom();
        let schema = match verb {
            _ if self.connects() => {
                return json!({"*/*": {"schema": {"type": "string"}}});
            }
            "list" => reference(&schemas::list_name(self.row)),
            "delete" | "deletecollection" => {
                reference("io.k8s.apimachinery.pkg.apis.meta.v1.Status")
            }
            _ => self.schema(),
        };
        let plain = if is_custom { &ANSWERS[..2] } else { &ANSWERS };
        let streams: &[&str] = match verb {
            "list" if !is_custom => &STREAMS,
            _ => &[],
        };
        plain
            .iter()
            .chain(streams)
            .map(|media| ((*media).to_owned(), json!({"schema": schema})))
            .collect::<Map>()
            .into()
    }

    fn body(&self, verb: &str) -> Option<Tree> {
        let of = |schema: &Tree| -> Map {
            let media: &[&str] = if self.row.is_custom() {
                &ANSWERS[..2]
            } else {
                &["*/*"]
            };
            media
                .iter()
                .map(|media| ((*media).to_owned(), json!({"schema": schema})))
                .collect()
        };
        let content: Map = match verb {
            _ if self.connects() => return None,
            "create" | "update" => of(&self.schema()),
            "patch" => {
                let schema = reference(schemas::PATCH);
                PATCHES
                    .iter()
                    .filter(|media| self.takes(media))
                    .map(|media| ((*media).to_owned(), json!({"schema": schema})))
                    .collect()
            }
            // Upstream's collections of custom resources are deleted without options.
            "deletecollection" if self.row.is_custom() => return None,
            "delete" | "deletecollection" => {
                let options = reference("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
                return Some(json!({"content": of(&options)}));
            }
            _ => return None,
        };
        Some(json!({"content": content, "required": true}))
    }
}

fn reference(name: &str) -> Tree {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Returns the method of an operation, as IDs of connections have it.
fn method_of(verb: &str) -> &'static str {
    match verb {
        "create" => "Post",
        "update" => "Put",
        "patch" => "Patch",
        "delete" => "Delete",
        _ => "Get",
    }
}

/// Returns the indefinite article of a kind.
fn article(kind: &str) -> &'static str {
    match kind.chars().next() {
        Some('A' | 'E' | 'I' | 'O' | 'U') => "an",
        _ => "a",
    }
}

/// Returns a text without punctuation, with a capital after each: `shop.example.com` becomes
/// `ShopExampleCom`.
fn identifier(text: &str, capital: bool) -> String {
    let mut out = String::new();
    let mut is_next_capital = capital;
    for (at, character) in text.char_indices() {
        if character.is_alphabetic() || character == '_' || (at != 0 && character.is_ascii_digit())
        {
            if std::mem::take(&mut is_next_capital) {
                out.extend(character.to_uppercase());
            } else {
                out.push(character);
            }
        } else {
            is_next_capital = true;
        }
    }
    out
}
