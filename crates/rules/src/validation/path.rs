//! The path of a field during validation.
//!
//! A path is a chain of borrowed segments. It becomes a string only when a fault is reported, so
//! valid objects cost no allocation.

use std::fmt;

/// One segment of a path, linked to its parent.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

/// The path of the spec.
pub const SPEC: Path<'static> = Path::root("spec");

#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// Returns the path of a top-level field, or of several that are joined by dots.
    #[must_use]
    pub const fn root(name: &'a str) -> Self {
        Self {
            parent: None,
            part: Part::Name(name),
        }
    }

    /// Appends a field: `.name`.
    #[must_use]
    pub fn child(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            part: Part::Name(name),
        }
    }

    /// Appends an index: `[3]`.
    #[must_use]
    pub fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            part: Part::Index(index),
        }
    }

    /// Appends a map key: `[key]`.
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> Self {
        Self {
            parent: Some(self),
            part: Part::Key(key),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
        }
        match self.part {
            Part::Name(name) if self.parent.is_some() => write!(out, ".{name}"),
            Part::Name(name) => out.write_str(name),
            Part::Index(index) => write!(out, "[{index}]"),
            Part::Key(key) => write!(out, "[{key}]"),
        }
    }
}

impl From<Path<'_>> for String {
    fn from(path: Path<'_>) -> Self {
        path.to_string()
    }
}

impl From<&Path<'_>> for String {
    fn from(path: &Path<'_>) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_rendered_as_in_api_errors() {
        let spec = Path::root("spec");
        assert_eq!(
            spec.child("containers")
                .index(2)
                .child("limits")
                .key("cpu")
                .to_string(),
            "spec.containers[2].limits[cpu]"
        );
    }
}
