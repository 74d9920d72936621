//! Tables, which `kubectl get` shows. `columns` defines the columns of each kind; the other modules
//! fill the cells. Every kind has a table, if only with names and ages.

mod cells;
mod cluster;
mod columns;
mod network;
mod pods;
mod system;
mod workloads;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kinds::encodings::CachedEncoding;
use kinds::facts::Resource;
use kinds::status::{ListMeta, Status};
use registry::ResourceRef;
use registry::custom::CustomVersion;
use serde::Serialize;

use crate::encode::{JsonList, metadata_only};
use crate::encodings::Encodings;
use crate::json;
use cells::AgeClock;
use columns::Printer;

/// What a row includes beside its cells (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    /// The metadata of the object.
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Nothing: `"object": null`.
    Nothing,
}

impl IncludeObject {
    /// Parses the parameter.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            "None" => Ok(Self::Nothing),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                kinds::status::quoted(other)
            ))),
        }
    }
}

/// The input of a table.
pub(crate) struct TableInput<'a> {
    /// Resource of the objects.
    pub(crate) resource: &'a ResourceRef,
    /// `meta.k8s.io/v1beta1` instead of `v1`.
    pub(crate) beta: bool,
    /// Metadata of the table.
    pub(crate) metadata: &'a ListMeta,
    /// JSON of each object, one for each row.
    pub(crate) objects: &'a [Bytes],
    /// Whether the columns are described. A watch describes them with its first event only.
    pub(crate) columns: bool,
    /// What rows include beside the cells.
    pub(crate) include: IncludeObject,
    /// Time of the request, for ages.
    pub(crate) now: Timestamp,
}

/// Returns whether the answers of a resource, or of one of its subresources, can be shown as a
/// table. Upstream converts what it stores, with status and scale; reviews, bindings and the other
/// subresources have no table.
pub(crate) fn can_render(resource: &Resource, subresource: Option<&str>) -> bool {
    match subresource {
        None => resource.stored || resource.plural == "componentstatuses",
        Some("status") => resource.plural != "customresourcedefinitions",
        Some("scale") => true,
        Some(_) => false,
    }
}

/// Renders a table as compact JSON.
pub(crate) fn render(shown: &TableInput<'_>, encodings: &Encodings) -> Vec<u8> {
    let printer = printer(shown);
    let mut out = head(shown, &printer);
    for (at, object) in shown.objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        render_row(&mut out, object, &printer, &shown.row(), encodings);
    }
    out.extend_from_slice(b"]}");
    out
}

/// Returns a table whose rows are rendered while they are sent.
pub(crate) fn streamed(shown: &TableInput<'_>, encodings: &Arc<Encodings>) -> JsonList {
    let printer = printer(shown);
    let head = head(shown, &printer).into();
    let is_scale = printer.is_scale();
    let (resource, encodings) = (shown.resource.clone(), encodings.clone());
    let (beta, include, now) = (shown.beta, shown.include, shown.now);
    JsonList {
        head,
        member: "rows",
        items: shown.objects.to_vec(),
        item: Box::new(move |object, out| {
            let row = RowInput {
                resource: &resource,
                beta,
                include,
                now,
            };
            let printer = RowPrinter::of(&resource, is_scale);
            render_row(out, object, &printer, &row, &encodings);
        }),
    }
}

fn printer<'a>(shown: &TableInput<'a>) -> RowPrinter<'a> {
    let is_scale = shown
        .objects
        .first()
        .is_some_and(|object| json::text_member(object, "kind") == Some("Scale"));
    RowPrinter::of(shown.resource, is_scale)
}

/// Renders a table up to its rows.
fn head(shown: &TableInput<'_>, printer: &RowPrinter<'_>) -> Vec<u8> {
    let version = if shown.beta {
        "meta.k8s.io/v1beta1"
    } else {
        "meta.k8s.io/v1"
    };
    let mut out = format!(r#"{{"kind":"Table","apiVersion":"{version}","metadata":"#).into_bytes();
    write(&mut out, shown.metadata);
    out.extend_from_slice(br#","columnDefinitions":"#);
    if shown.columns {
        printer.write_columns(&mut out);
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(br#","rows":["#);
    out
}

/// What the rows of a table have in common.
struct RowInput<'a> {
    resource: &'a ResourceRef,
    beta: bool,
    include: IncludeObject,
    now: Timestamp,
}

impl<'a> TableInput<'a> {
    fn row(&self) -> RowInput<'a> {
        RowInput {
            resource: self.resource,
            beta: self.beta,
            include: self.include,
            now: self.now,
        }
    }
}

/// The printer of a resource.
enum RowPrinter<'a> {
    BuiltIn(&'static Printer),
    /// A custom resource, by the columns of its definition.
    Custom(&'a CustomVersion),
}

impl<'a> RowPrinter<'a> {
    fn of(resource: &'a ResourceRef, is_scale: bool) -> Self {
        match resource.custom() {
            _ if is_scale => Self::BuiltIn(&columns::SCALE),
            Some(version) => Self::Custom(version),
            None => Self::BuiltIn(columns::of(resource)),
        }
    }

    fn is_scale(&self) -> bool {
        matches!(self, Self::BuiltIn(printer) if std::ptr::eq(*printer, &columns::SCALE))
    }

    fn write_columns(&self, out: &mut Vec<u8>) {
        match self {
            Self::BuiltIn(printer) => write(out, printer.columns),
            Self::Custom(version) => {
                let more = version.columns().iter().map(|column| {
                    kinds::tree::json!({
                        "name": column.name, "type": column.kind, "format": column.format,
                        "description": column.description, "priority": column.priority,
                    })
                });
                let all: Vec<kinds::Tree> = std::iter::once(kinds::tree::json!(columns::NAME))
                    .chain(more)
                    .collect();
                write(out, &all);
            }
        }
    }

    fn cells(&self, object: &kinds::Tree, now: &AgeClock) -> Vec<kinds::Tree> {
        match self {
            Self::BuiltIn(printer) => (printer.cells)(object, now),
            Self::Custom(version) => {
                let more = version
                    .columns()
                    .iter()
                    .map(|column| registry::custom::cell(column, object, |then| now.age(then)));
                std::iter::once(cells::name(object)).chain(more).collect()
            }
        }
    }

    fn conditions(&self, object: &kinds::Tree) -> Option<kinds::Tree> {
        match self {
            Self::BuiltIn(printer) => (printer.conditions)(object),
            Self::Custom(_) => None,
        }
    }
}

fn render_row(
    out: &mut Vec<u8>,
    object: &Bytes,
    printer: &RowPrinter<'_>,
    shown: &RowInput<'_>,
    encodings: &Encodings,
) {
    let now = shown.now.as_second();
    out.extend_from_slice(&encodings.cells(object, shown.resource, now, || {
        render_cells(object, printer, now)
    }));
    out.extend_from_slice(br#","object":"#);
    match shown.include {
        IncludeObject::Metadata => out.extend_from_slice(&metadata_only(object, shown.beta)),
        IncludeObject::Object => out.extend_from_slice(object),
        IncludeObject::Nothing => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

/// Renders a row up to its object, and until when it stays valid: until the first of its ages
/// changes.
fn render_cells(object: &[u8], printer: &RowPrinter<'_>, now: i64) -> CachedEncoding {
    let tree: kinds::Tree = serde_json::from_slice(object).unwrap_or_default();
    let now = AgeClock::at(now);
    let mut out = br#"{"cells":"#.to_vec();
    write(&mut out, &printer.cells(&tree, &now));
    if let Some(conditions) = printer.conditions(&tree) {
        out.extend_from_slice(br#","conditions":"#);
        write(&mut out, &conditions);
    }
    CachedEncoding {
        bytes: out.into(),
        until: now.until(),
    }
}

fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("writing into memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn rows_include_what_the_request_names() {
        let object =
            Bytes::from_static(br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","creationTimestamp":"2026-01-01T00:00:00Z"}}"#);
        for (include, expected) in [
            (
                "Metadata",
                r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a","creationTimestamp":"2026-01-01T00:00:00Z"}}"#,
            ),
            ("Object", std::str::from_utf8(&object).expect("text")),
            ("None", "null"),
        ] {
            let include = IncludeObject::parse(include).expect("known");
            let shown = TableInput {
                resource: &(&testing::RESOURCES[0]).into(),
                beta: false,
                metadata: &ListMeta::default(),
                objects: std::slice::from_ref(&object),
                columns: false,
                include,
                now: Timestamp::UNIX_EPOCH,
            };
            let text = String::from_utf8(render(&shown, &Encodings::default())).expect("text");
            assert!(
                text.contains(r#""columnDefinitions":null,"rows":[{"cells":["a","0/0","","0","#),
                "{text}"
            );
            assert!(
                text.ends_with(&format!(r#","object":{expected}}}]}}"#)),
                "{text}"
            );
        }
        assert_eq!(IncludeObject::parse("All").expect_err("unknown").code, 400);
    }
}
