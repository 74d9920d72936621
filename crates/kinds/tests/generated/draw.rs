//! Generates objects of any kind from a seed.

use exeunt_kinds::Tree;
use exeunt_kinds::facts::{Shape, Type};

/// A generator of values for every shape of the table.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn text(&mut self) -> String {
        ["", "a", "web-1", "<é&\u{2028}\">", "true", "10%"]
            [usize::try_from(self.below(6)).expect("small")]
        .to_owned()
    }

    /// Returns an object with some of the members of its type.
    pub(crate) fn object(&mut self, ty: &'static Type, depth: u64) -> Tree {
        let mut members = exeunt_kinds::tree::Map::new();
        for field in ty.fields.iter().filter(|field| field.number != 0) {
            if self.below(depth + 2) == 0 {
                members.insert(field.name, self.value(&field.shape, depth + 1));
            }
        }
        Tree::Object(members)
    }

    fn value(&mut self, shape: &Shape, depth: u64) -> Tree {
        match shape {
            Shape::String => self.text().into(),
            Shape::Duration => "5s".into(),
            Shape::Bool => (self.below(2) == 0).into(),
            Shape::Int32 => [0, 1, -1, i32::MIN, i32::MAX]
                [usize::try_from(self.below(5)).expect("small")]
            .into(),
            Shape::Int64 => [0, 1, -1, i64::MIN, i64::MAX]
                [usize::try_from(self.below(5)).expect("small")]
            .into(),
            Shape::Float64 => {
                [0.0, 1.5, -2.0e30][usize::try_from(self.below(3)).expect("small")].into()
            }
            Shape::Bytes => {
                ["", "AA==", "/+8="][usize::try_from(self.below(3)).expect("small")].into()
            }
            Shape::Time => [
                "1970-01-01T00:00:00Z",
                "2026-11-20T19:00:00Z",
                "1901-02-03T04:05:06Z",
            ][usize::try_from(self.below(3)).expect("small")]
            .into(),
            Shape::MicroTime => ["1970-01-01T00:00:00.000000Z", "2026-11-20T19:00:00.000001Z"]
                [usize::try_from(self.below(2)).expect("small")]
            .into(),
            Shape::Quantity => {
                ["0", "500m", "1Gi"][usize::try_from(self.below(3)).expect("small")].into()
            }
            Shape::IntOrString => [Tree::from(0), Tree::from(8080), "50%".into(), "".into()]
                [usize::try_from(self.below(4)).expect("small")]
            .clone(),
            Shape::Any => [
                exeunt_kinds::tree::json!({"f:a": {".": {}}}),
                exeunt_kinds::tree::json!([1, null, "x"]),
                "t".into(),
            ][usize::try_from(self.below(3)).expect("small")]
            .clone(),
            Shape::Object(ty) => self.object(ty, depth),
            Shape::ObjectOrBool(ty) => {
                if self.below(2) == 0 {
                    (self.below(2) == 0).into()
                } else {
                    self.object(ty, depth)
                }
            }
            Shape::ObjectOrList(ty) => {
                if self.below(2) == 0 {
                    Tree::from([self.object(ty, depth)])
                } else {
                    self.object(ty, depth)
                }
            }
            Shape::ObjectOrStrings(ty) => {
                if self.below(2) == 0 {
                    exeunt_kinds::tree::json!(["a", "b"])
                } else {
                    self.object(ty, depth)
                }
            }
            Shape::List(inner) => (0..=self.below(2))
                .map(|_| self.value(inner, depth))
                .collect(),
            Shape::Map(inner) => Tree::Object(
                (0..=self.below(2))
                    .map(|_| (self.text(), self.value(inner, depth)))
                    .collect(),
            ),
        }
    }
}
