//! The path of a field while an object is validated. A chain of borrowed parts that becomes text
//! only when there is a fault to report, so that sound objects cost no allocation.

use std::fmt;

/// One step of a chain from the root of an object.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

/// The root of a specification.
pub(crate) const SPEC: Path<'static> = Path::root("spec");

#[derive(Clone, Copy)]
enum Part<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A path of one member (or of several, already joined by dots).
    pub(crate) const fn root(name: &'a str) -> Self {
        Self {
            parent: None,
            part: Part::Name(name),
        }
    }

    /// A member: `.name`.
    pub(crate) fn child(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            part: Part::Name(name),
        }
    }

    /// An item: `[3]`.
    pub(crate) fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            part: Part::Index(index),
        }
    }

    /// An entry of a map: `[key]`.
    pub(crate) fn key(&'a self, key: &'a str) -> Self {
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
    fn a_path_reads_like_the_wire_shows_it() {
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
