//! Validation of the versions of a definition: schemas, subresources, printer columns and
//! selectable fields.
//!
//! What is the same in all versions is validated once, and faults name it where the old form of
//! definitions had it: `spec.validation`, not `spec.versions[0].schema`.

use std::collections::BTreeSet;

use kinds::Tree;
use kinds::names;
use kinds::status::FieldError;

use super::super::checks::{Faults, too_many};
use super::super::meta::invalid_text;
use super::super::path::Path;
use super::structural;
use crate::tree::{at, flag, list, text};

/// The formats and types that a printer column may have.
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
/// Upper bound on the selectable fields of a version.
const MAX_SELECTABLE: usize = 8;
/// Upper bound on the characters of a deprecation warning.
const MAX_WARNING: usize = 256;

/// Validates each version, and all of them together.
pub(super) fn validate(spec: &Tree, root: &Path<'_>, faults: &mut Faults) {
    let versions = list(spec, &["versions"]);
    let all = root.child("versions");
    let names: Vec<&str> = versions
        .iter()
        .map(|version| text(version, &["name"]))
        .collect();
    let shown = Tree::from(names.clone());
    if versions.iter().all(|version| schema_of(version).is_null()) {
        for index in 0..versions.len() {
            let path = all.index(index);
            let path = path.child("schema");
            let path = path.child("openAPIV3Schema");
            faults.push(FieldError::required(path, "schemas are required"));
        }
    }
    let common = Common::of(versions);
    for (index, version) in versions.iter().enumerate() {
        let path = all.index(index);
        let name = text(version, &["name"]);
        faults.extend(
            names::dns_1035_label(name)
                .into_iter()
                .map(|fault| invalid_text(path.child("name"), name, fault)),
        );
        deprecation(version, &path, faults);
        if !common.schema {
            if schema_of(version).is_null() {
                let path = path.child("schema");
                let path = path.child("openAPIV3Schema");
                faults.push(FieldError::required(path, "schemas are required"));
            }
            schema(version, &path.child("schema"), faults);
        }
        if !common.subresources {
            subresources(version, &path.child("subresources"), faults);
        }
        if !common.columns {
            columns(version, &path.child(COLUMNS), faults);
        }
        if !common.selectable {
            selectable(version, &path.child(SELECTABLE), faults);
        }
    }
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    if unique.len() < names.len() {
        let detail = "must contain unique version names";
        faults.push(FieldError::invalid(all, &shown, detail));
    }
    let storage = versions.iter().filter(|one| flag(one, &["storage"]));
    if storage.count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        faults.push(FieldError::invalid(all, &shown, detail));
    }
}

/// Validates what all versions have in common.
pub(super) fn validate_common(spec: &Tree, root: &Path<'_>, faults: &mut Faults) {
    let versions = list(spec, &["versions"]);
    let Some(first) = versions.first() else {
        return;
    };
    let common = Common::of(versions);
    if common.schema {
        schema(first, &root.child("validation"), faults);
    }
    if common.subresources {
        subresources(first, &root.child("subresources"), faults);
    }
    if common.columns {
        columns(first, &root.child(COLUMNS), faults);
    }
    if common.selectable {
        selectable(first, &root.child(SELECTABLE), faults);
    }
}

const COLUMNS: &str = "additionalPrinterColumns";
const SELECTABLE: &str = "selectableFields";

/// Which parts are the same in all versions.
struct Common {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Common {
    fn of(versions: &[Tree]) -> Self {
        Self {
            schema: is_common(versions, "schema"),
            subresources: is_common(versions, "subresources"),
            columns: is_common(versions, COLUMNS),
            selectable: is_common(versions, SELECTABLE),
        }
    }
}

/// Returns true when this part is the same in all versions.
fn is_common(versions: &[Tree], member: &str) -> bool {
    let part = |version| match at(version, &[member]) {
        Tree::Array(items) if items.is_empty() => &Tree::Null,
        other => other,
    };
    versions
        .windows(2)
        .all(|pair| part(&pair[0]) == part(&pair[1]))
}

fn schema_of(version: &Tree) -> &Tree {
    at(version, &["schema", "openAPIV3Schema"])
}

fn schema(version: &Tree, path: &Path<'_>, faults: &mut Faults) {
    let schema = schema_of(version);
    if !schema.is_null() {
        structural::validate(schema, &path.child("openAPIV3Schema"), faults);
    }
}

fn deprecation(version: &Tree, path: &Path<'_>, faults: &mut Faults) {
    let warning = at(version, &["deprecationWarning"]);
    let Some(given) = warning.as_str() else {
        return;
    };
    let path = path.child("deprecationWarning");
    let mut invalid = |why: &str| faults.push(FieldError::invalid(path, warning, why));
    if !flag(version, &["deprecated"]) {
        invalid("can only be set for deprecated versions");
        return;
    }
    if given.len() > MAX_WARNING {
        invalid("must be <= 256 characters long");
    }
    if given.is_empty() {
        invalid("must not be an empty string");
    }
    if let Some((at, _)) = given.char_indices().find(|(_, one)| one.is_control()) {
        invalid(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

fn subresources(version: &Tree, path: &Path<'_>, faults: &mut Faults) {
    let scale = at(version, &["subresources", "scale"]);
    if scale.is_null() {
        return;
    }
    let path = path.child("scale");
    let places: [(&str, &[&str], bool, &str); 3] = [
        ("specReplicasPath", &[".spec."], true, ".spec"),
        ("statusReplicasPath", &[".status."], true, ".status"),
        (
            "labelSelectorPath",
            &[".spec.", ".status."],
            false,
            "either .spec or .status",
        ),
    ];
    for (member, prefixes, required, place) in places {
        let value = text(scale, &[member]);
        let path = path.child(member);
        if value.is_empty() {
            if required {
                faults.push(FieldError::required(path, ""));
            }
        } else if !value.starts_with('.') {
            faults.push(invalid_text(path, value, NO_DOT));
        } else if !prefixes.iter().any(|prefix| value.starts_with(prefix)) {
            let why = format!("should be a json path under {place}");
            faults.push(invalid_text(path, value, why));
        }
    }
}

const NO_DOT: &str = "must be a simple json path starting with .";

fn columns(version: &Tree, path: &Path<'_>, faults: &mut Faults) {
    for (index, column) in list(version, &[COLUMNS]).iter().enumerate() {
        let path = path.index(index);
        if text(column, &["name"]).is_empty() {
            faults.push(FieldError::required(path.child("name"), ""));
        }
        let given = text(column, &["type"]);
        let why = format!("must be one of {}", COLUMN_TYPES.join(","));
        if given.is_empty() {
            faults.push(FieldError::required(path.child("type"), &why));
        } else if !COLUMN_TYPES.contains(&given) {
            faults.push(invalid_text(path.child("type"), given, why));
        }
        let given = text(column, &["format"]);
        if !given.is_empty() && !COLUMN_FORMATS.contains(&given) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            faults.push(invalid_text(path.child("format"), given, why));
        }
        // Any expression is accepted; one that cannot be parsed shows no column.
        let value = text(column, &["jsonPath"]);
        let path = path.child("JSONPath");
        if value.is_empty() {
            faults.push(FieldError::required(path, ""));
        } else if !value.starts_with('.') {
            faults.push(invalid_text(path, value, NO_DOT));
        }
    }
}

fn selectable(version: &Tree, path: &Path<'_>, faults: &mut Faults) {
    let schema = schema_of(version);
    let mut seen = BTreeSet::new();
    for (index, field) in list(version, &[SELECTABLE]).iter().enumerate() {
        let path = path.index(index);
        let path = path.child("jsonPath");
        let value = text(field, &["jsonPath"]);
        if value.is_empty() {
            faults.push(FieldError::required(path, ""));
            continue;
        }
        if !is_selectable(schema, value) {
            faults.push(invalid_text(
                path,
                value,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            ));
        }
        if !seen.insert(value) {
            faults.push(FieldError::duplicate(path, &Tree::from(value)));
        }
    }
    if seen.len() > MAX_SELECTABLE {
        faults.push(too_many(path, seen.len(), MAX_SELECTABLE));
    }
}

fn is_selectable(schema: &Tree, path: &str) -> bool {
    let Some(path) = path.strip_prefix('.') else {
        return false;
    };
    let found = path
        .split('.')
        .try_fold(schema, |here, name| here.get("properties")?.get(name));
    path != "metadata"
        && !path.starts_with("metadata.")
        && found
            .is_some_and(|found| matches!(text(found, &["type"]), "string" | "boolean" | "integer"))
}
