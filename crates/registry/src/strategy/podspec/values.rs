//! Faults of single values that several parts of a pod's specification share: relative paths, file
//! modes, words from a list.

use kinds::{Tree, status::FieldError};

use crate::strategy::checks::{Faults, one_of};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, text};

/// Refuses paths that are absolute or climb.
pub(super) fn relative_path(value: &str, path: &Path<'_>, out: &mut Faults) {
    if value.starts_with('/') {
        out.push(invalid_text(path, value, "must be a relative path"));
    }
    no_climbing(value, path, out);
}

/// Refuses paths that climb.
pub(super) fn no_climbing(value: &str, path: &Path<'_>, out: &mut Faults) {
    if value.split('/').any(|part| part == "..") {
        out.push(invalid_text(path, value, "must not contain '..'"));
    }
}

/// Refuses file modes beyond the nine bits of permissions.
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

/// A word of a profile or mode that must be there and be known.
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
