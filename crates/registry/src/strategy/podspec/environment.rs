//! Validation of environment variables and of the downward API fields that they reference.
//!
//! Volumes reuse the field references, but support other fields than variables do.

use kinds::{Tree, status::FieldError};

use crate::strategy::checks::{Faults, quantity};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, list, text};
use kinds::names;

/// Pod fields that a variable may reference.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Pod fields that the downward API supports. Variables and files each support a subset.
const KNOWN_FIELDS: [&str; 15] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.host",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Validates the environment variables of a container.
pub(super) fn variables(container: &Tree, path: &Path<'_>, out: &mut Faults) {
    for (index, variable) in list(container, &["env"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(variable, &["name"]);
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else {
            out.extend(
                names::environment_variable(name)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("name"), name, fault)),
            );
        }
        if at(variable, &["valueFrom"]).is_object() {
            value_from(variable, &path.child("valueFrom"), out);
        }
    }
}

/// Validates `envFrom`: the config maps and secrets whose keys become variables.
pub(super) fn sources(container: &Tree, all: &Path<'_>, out: &mut Faults) {
    for (index, source) in list(container, &["envFrom"]).iter().enumerate() {
        let path = all.index(index);
        let prefix = text(source, &["prefix"]);
        if !prefix.is_empty() {
            out.extend(
                names::environment_variable(prefix)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("prefix"), prefix, fault)),
            );
        }
        let given: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|field| at(source, &[field]).is_object())
            .collect();
        for field in &given {
            let name = text(source, &[field, "name"]);
            let path = path.child(field);
            if name.is_empty() {
                out.push(FieldError::required(path.child("name"), ""));
            } else {
                out.extend(
                    names::dns_subdomain(name)
                        .into_iter()
                        .map(|fault| invalid_text(path.child("name"), name, fault)),
                );
            }
        }
        match given.len() {
            0 => out.push(invalid_text(
                all,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            )),
            1 => {}
            _ => out.push(invalid_text(
                all,
                "",
                "may not have more than one field specified at a time",
            )),
        }
    }
}

fn value_from(variable: &Tree, path: &Path<'_>, out: &mut Faults) {
    let source = at(variable, &["valueFrom"]);
    let mut sources = 0;
    if at(source, &["fieldRef"]).is_object() {
        sources += 1;
        field_ref(
            at(source, &["fieldRef"]),
            &ENV_FIELDS,
            &path.child("fieldRef"),
            out,
        );
    }
    if at(source, &["resourceFieldRef"]).is_object() {
        sources += 1;
        resource_ref(
            at(source, &["resourceFieldRef"]),
            false,
            &path.child("resourceFieldRef"),
            out,
        );
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        let reference = at(source, &[field]);
        if !reference.is_object() {
            continue;
        }
        sources += 1;
        let path = path.child(field);
        let (name, key) = (text(reference, &["name"]), text(reference, &["key"]));
        out.extend(
            names::dns_subdomain(name)
                .into_iter()
                .map(|fault| invalid_text(path.child("name"), name, fault)),
        );
        if key.is_empty() {
            out.push(FieldError::required(path.child("key"), ""));
        } else {
            out.extend(
                names::config_key(key)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("key"), key, fault)),
            );
        }
    }
    if at(source, &["fileKeyRef"]).is_object() {
        sources += 1;
    }
    if sources == 0 {
        out.push(invalid_text(
            path,
            "",
            "must specify one of: `configMapKeyRef`, `fieldRef`, `fileKeyRef`, `resourceFieldRef` or `secretKeyRef`",
        ));
    } else if !text(variable, &["value"]).is_empty() {
        out.push(invalid_text(
            path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if sources > 1 {
        out.push(invalid_text(
            path,
            "",
            "may not have more than one field specified at a time",
        ));
    }
}

/// Validates a reference to a field of the pod.
pub(super) fn field_ref(reference: &Tree, fields: &[&str], path: &Path<'_>, out: &mut Faults) {
    let (version, field) = (
        text(reference, &["apiVersion"]),
        text(reference, &["fieldPath"]),
    );
    if version.is_empty() {
        out.push(FieldError::required(path.child("apiVersion"), ""));
        return;
    }
    if field.is_empty() {
        out.push(FieldError::required(path.child("fieldPath"), ""));
        return;
    }
    let refuse = |why: String| {
        invalid_text(
            path.child("fieldPath"),
            field,
            format!("error converting fieldPath: {why}"),
        )
    };
    if version != "v1" {
        out.push(refuse(format!("unsupported pod version: {version}")));
    } else if let Some((map, key)) = subscript(field) {
        match map {
            "metadata.labels" => out.extend(
                names::qualified_name(key)
                    .into_iter()
                    .map(|fault| invalid_text(path, key, fault)),
            ),
            "metadata.annotations" => {
                let key = key.to_lowercase();
                out.extend(
                    names::qualified_name(&key)
                        .into_iter()
                        .map(|fault| invalid_text(path, &key, fault)),
                );
            }
            _ => out.push(refuse(format!(
                "field label does not support subscript: {field}"
            ))),
        }
    } else if !KNOWN_FIELDS.contains(&field) {
        out.push(refuse(format!("field label not supported: {field}")));
    } else if !(fields.contains(&field)
        || field == "spec.host" && fields.contains(&"spec.nodeName"))
    {
        out.push(FieldError::not_supported(
            path.child("fieldPath"),
            &Tree::from(field),
            fields,
        ));
    }
}

/// Splits a field such as `metadata.labels['app']` into map and key.
fn subscript(field: &str) -> Option<(&str, &str)> {
    field.strip_suffix("']")?.split_once("['")
}

/// Validates a reference to a resource of a container. Variables may omit the container's name.
pub(super) fn resource_ref(
    reference: &Tree,
    needs_container: bool,
    path: &Path<'_>,
    out: &mut Faults,
) {
    let resource = text(reference, &["resource"]);
    let is_huge = ["requests.hugepages-", "limits.hugepages-"]
        .iter()
        .any(|prefix| resource.starts_with(prefix));
    if needs_container && text(reference, &["containerName"]).is_empty() {
        out.push(FieldError::required(path.child("containerName"), ""));
    } else if resource.is_empty() {
        out.push(FieldError::required(path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !is_huge {
        out.push(FieldError::not_supported(
            path.child("resource"),
            &Tree::from(resource),
            &RESOURCES,
        ));
    }
    let divisor = at(reference, &["divisor"]);
    if quantity(divisor).is_none_or(|amount| amount.is_zero()) {
        return;
    }
    let shown = quantity(divisor).unwrap_or_default().to_string();
    let (supported, words): (&[&str], _) = match resource.split_once('.').map(|(_, kind)| kind) {
        Some("cpu") => (&["1m", "1"], "1m and 1 are supported with the cpu resource"),
        Some("memory") => (
            &SIZES,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
        ),
        Some("ephemeral-storage") => (
            &SIZES,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource",
        ),
        _ if is_huge => (
            &SIZES,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource",
        ),
        _ => return,
    };
    if !supported.contains(&shown.as_str()) {
        out.push(invalid_text(
            path.child("divisor"),
            resource,
            format!("only divisor's values {words}"),
        ));
    }
}

const SIZES: [&str; 13] = [
    "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
];
