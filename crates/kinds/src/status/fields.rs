//! What is wrong with the fields of an object.

use super::{MAX_CAUSES, MAX_CAUSES_BYTES, StatusCause, quoted};

/// Kinds of field errors, which become the reasons of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFault {
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueRequired`
    Required,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
    /// `InternalError`
    Internal,
}

/// One fault of one field: its path, and the message without the path (`Invalid value: "x": must be
/// no more than 63 bytes`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Kind of the fault.
    pub fault: FieldFault,
    /// Path of the field, for example `spec.containers[0].name`.
    pub field: String,
    /// The message without the path.
    pub body: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.field, self.body)
    }
}

impl FieldError {
    fn new(fault: FieldFault, field: impl Into<String>, body: String) -> Self {
        Self {
            fault,
            field: field.into(),
            body,
        }
    }

    /// `Invalid value: <value>: <detail>`.
    #[must_use]
    pub fn invalid(
        field: impl Into<String>,
        value: &crate::Tree,
        detail: impl std::fmt::Display,
    ) -> Self {
        Self::new(
            FieldFault::Invalid,
            field,
            format!("Invalid value: {}: {detail}", render_value(value)),
        )
    }

    /// `Required value[: detail]`.
    #[must_use]
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let body = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self::new(FieldFault::Required, field, body)
    }

    /// `Unsupported value: <value>: supported values: "a", "b"`.
    #[must_use]
    pub fn not_supported(
        field: impl Into<String>,
        value: &crate::Tree,
        supported: &[&str],
    ) -> Self {
        let list: Vec<String> = supported.iter().map(|value| quoted(value)).collect();
        Self::new(
            FieldFault::NotSupported,
            field,
            format!(
                "Unsupported value: {}: supported values: {}",
                render_value(value),
                list.join(", ")
            ),
        )
    }

    /// `Forbidden: <detail>`.
    #[must_use]
    pub fn forbidden(field: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self::new(FieldFault::Forbidden, field, format!("Forbidden: {detail}"))
    }

    /// `Duplicate value: <value>`.
    #[must_use]
    pub fn duplicate(field: impl Into<String>, value: &crate::Tree) -> Self {
        Self::new(
            FieldFault::Duplicate,
            field,
            format!("Duplicate value: {}", render_value(value)),
        )
    }

    /// `Too long: may not be more than <limit> bytes`.
    #[must_use]
    pub fn too_long(field: impl Into<String>, limit: usize) -> Self {
        Self::new(
            FieldFault::TooLong,
            field,
            format!("Too long: may not be more than {limit} bytes"),
        )
    }

    /// `Not found: <value>`.
    #[must_use]
    pub fn not_found(field: impl Into<String>, value: &crate::Tree) -> Self {
        Self::new(
            FieldFault::NotFound,
            field,
            format!("Not found: {}", render_value(value)),
        )
    }

    /// Converts the error to a cause of a `Status`.
    #[must_use]
    pub fn cause(&self) -> StatusCause {
        let reason = match self.fault {
            FieldFault::Invalid => "FieldValueInvalid",
            FieldFault::Required => "FieldValueRequired",
            FieldFault::NotSupported => "FieldValueNotSupported",
            FieldFault::Forbidden => "FieldValueForbidden",
            FieldFault::Duplicate => "FieldValueDuplicate",
            FieldFault::TooLong => "FieldValueTooLong",
            FieldFault::TooMany => "FieldValueTooMany",
            FieldFault::NotFound => "FieldValueNotFound",
            FieldFault::TypeInvalid => "FieldValueTypeInvalid",
            FieldFault::Internal => "InternalError",
        };
        StatusCause {
            reason: reason.to_owned(),
            message: self.body.clone(),
            field: self.field.clone(),
        }
    }
}

/// The faults of an object: the first `MAX_CAUSES`, and how many there are.
///
/// A body of three megabytes can have a million faults. Those that nobody will see are counted and
/// dropped, so that they take no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors {
    kept: Vec<FieldError>,
    kept_bytes: usize,
    dropped: usize,
}

/// What can be added to [`FieldErrors`].
pub trait FieldErrorSource {
    /// Adds all faults.
    fn add_to(self, faults: &mut FieldErrors);
}

impl FieldErrorSource for FieldErrors {
    fn add_to(self, faults: &mut FieldErrors) {
        faults.dropped += self.dropped;
        self.kept.into_iter().for_each(|fault| faults.push(fault));
    }
}

impl<T: IntoIterator<Item = FieldError>> FieldErrorSource for T {
    fn add_to(self, faults: &mut FieldErrors) {
        self.into_iter().for_each(|fault| faults.push(fault));
    }
}

impl FieldErrors {
    /// Adds a fault.
    pub fn push(&mut self, fault: FieldError) {
        self.push_with(|| fault);
    }

    /// Adds the fault that `fault` makes, which costs nothing if it would be dropped.
    pub fn push_with(&mut self, fault: impl FnOnce() -> FieldError) {
        if self.is_full() {
            self.dropped += 1;
        } else {
            let fault = fault();
            self.kept_bytes += fault.field.len() + fault.body.len();
            self.kept.push(fault);
        }
    }

    /// Adds faults.
    pub fn extend(&mut self, faults: impl FieldErrorSource) {
        faults.add_to(self);
    }

    /// Changes each fault that was kept.
    #[must_use]
    pub fn map(self, change: impl FnMut(FieldError) -> FieldError) -> Self {
        Self {
            kept: self.kept.into_iter().map(change).collect(),
            ..self
        }
    }

    /// Returns whether further faults are only counted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kept.len() >= MAX_CAUSES || self.kept_bytes > MAX_CAUSES_BYTES
    }

    /// Returns the number of all faults.
    #[must_use]
    pub fn total(&self) -> usize {
        self.kept.len() + self.dropped
    }
}

impl std::ops::Deref for FieldErrors {
    type Target = [FieldError];

    fn deref(&self) -> &[FieldError] {
        &self.kept
    }
}

impl From<FieldError> for FieldErrors {
    fn from(fault: FieldError) -> Self {
        Self::from_iter([fault])
    }
}

impl FromIterator<FieldError> for FieldErrors {
    fn from_iter<T: IntoIterator<Item = FieldError>>(faults: T) -> Self {
        let mut all = Self::default();
        all.extend(faults);
        all
    }
}

/// Formats a value for a field error: a string quoted, anything else as compact JSON.
fn render_value(value: &crate::Tree) -> String {
    match value {
        crate::Tree::String(text) => quoted(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{GroupResource, Status};

    const KIND: GroupResource<'_> = GroupResource {
        group: "",
        resource: "Pod",
    };

    #[test]
    fn the_causes_of_a_status_are_limited_and_the_others_are_counted() {
        let mut faults = FieldErrors::default();
        let fault = |at: usize| FieldError::required(format!("spec.x[{at}]"), "");
        faults.extend((0..100_000).map(fault));
        faults.push_with(|| unreachable!("it would be dropped"));
        let mut all = FieldErrors::from(fault(0));
        all.extend(faults);
        assert_eq!((all.len(), all.total()), (100, 100_002));
        let status = Status::invalid_fields(KIND, "p", &all);
        let details = status.details.expect("details");
        assert_eq!(details.causes.len(), 100);
        assert!(
            status.message.ends_with(", and 99902 more]"),
            "{}",
            status.message
        );
    }

    #[test]
    fn causes_that_repeat_large_values_are_limited_in_bytes() {
        let large = crate::Tree::from("x".repeat(50_000));
        let faults: FieldErrors = (0..50)
            .map(|at| FieldError::invalid(format!("spec.x[{at}]"), &large, "no"))
            .collect();
        let status = Status::invalid_fields(KIND, "p", &faults);
        assert!(status.message.len() < 70_000, "{}", status.message.len());
        assert!(status.message.ends_with(", and 49 more]"));
    }
}
