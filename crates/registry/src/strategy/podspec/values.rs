//! Validation of single values in a pod's spec: relative paths, file modes and enums.
//!
//! The rules have a module of their own because volumes, mounts and security contexts share them.

use kinds::{Tree, status::FieldError};

use crate::strategy::checks::{Faults, one_of};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, text};

/// Rejects absolute paths and paths that contain `..`.
pub(super) fn relative_path(value: &str, path: &Path<'_>, out: &mut Faults) {
    if value.starts_with('/') {
        out.push(invalid_text(path, value, "must be a relative path"));
    }
    no_climbing(value, path, out);
}

/// Rejects paths that contain `..`.
pub(super) fn no_climbing(value: &str, path: &Path<'_>, out: &mut Faults) {
    if value.split('/').any(|part| part == "..") {
        out.push(invalid_text(path, value, "must not contain '..'"));
    }
}

/// Rejects file modes above 0777.
pub(super) fn file_mode(holder: &Tree, field: &str, path: &Path<'_>, out: &mut Faults) {
    let mode = at(holder, &[field]);
    if mode
        .as_i64()
        .is_some_and(|mode| !(0..=0o777).contains(&mode))
    {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        out.push(FieldError::invalid(path.child(field), mode, detail));
    }
}

/// Validates a required enum field. `missing` is the message if it is absent.
pub(super) fn known_word(
    holder: &Tree,
    field: &str,
    supported: &[&str],
    missing: &str,
    path: &Path<'_>,
    out: &mut Faults,
) {
    if text(holder, &[field]).is_empty() {
        out.push(FieldError::required(path.child(field), missing));
    } else {
        one_of(holder, field, supported, path, out);
    }
}
