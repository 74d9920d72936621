//! JSONPath as clients of Kubernetes know it: the dialect of client-go, with its limits and its
//! surprises. `[]` is the first item, `['a.b']` is `.a.b`, and a comparison of values of different
//! types fails instead of being false.
//!
//! [`JsonPath::parse`] reads an expression, [`JsonPath::find`] follows it. A failure selects
//! nothing: a cell is then empty, as upstream's is.

mod parse;

use std::borrow::Cow;
use std::cmp::Ordering;

use kinds::Tree;

/// Upper bound on the values that a step selects. Recursive descents multiply.
const MAX_FOUND: usize = 50_000;

/// A parsed expression.
#[derive(Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

/// One step of an expression.
#[derive(Debug, PartialEq)]
enum Step {
    /// `.name`
    Member(String),
    /// `.*`: all members, or all items.
    All,
    /// `..`: the value and everything below it that has members or items.
    Descent,
    /// `[1]`, `[-1:]`, `[0:4:2]`
    Slice(Slice),
    /// `[0,2]`: what any of these selects.
    Union(Vec<Vec<Step>>),
    /// `[?(@.a == "b")]`
    Where(ItemFilter),
    /// A number, a boolean or a text in a condition.
    Literal(Tree),
    /// A word that the language does not have. Following it fails.
    Word,
}

/// A range of a list. Negative numbers count from the end.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slice {
    first: Option<i64>,
    end: Option<i64>,
    /// True when the expression has no end: the range is one item.
    is_index: bool,
    step: Option<i64>,
}

/// What a filter demands of an item.
#[derive(Debug, PartialEq)]
enum ItemFilter {
    /// The item has something at this path.
    Exists(Vec<Step>),
    /// Both sides compare as the operator says.
    Compare {
        left: Vec<Step>,
        operator: String,
        right: Vec<Step>,
    },
}

/// The expression cannot be followed in this object.
#[derive(Debug, PartialEq)]
struct Unfollowable;

type Found<'a> = Vec<Cow<'a, Tree>>;

impl JsonPath {
    /// Parses an expression without its braces; `None` if its syntax is wrong.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        parse::expression(text).map(Self)
    }

    /// Returns the first value that the expression selects.
    pub(crate) fn find<'a>(&self, object: &'a Tree) -> Option<Cow<'a, Tree>> {
        let found = follow(vec![Cow::Borrowed(object)], &self.0).ok()?;
        found.into_iter().next()
    }
}

fn follow<'a>(from: Found<'a>, steps: &[Step]) -> Result<Found<'a>, Unfollowable> {
    steps.iter().try_fold(from, |here, step| {
        let found = one_step(here, step)?;
        if found.len() > MAX_FOUND {
            return Err(Unfollowable);
        }
        Ok(found)
    })
}

fn one_step<'a>(here: Found<'a>, step: &Step) -> Result<Found<'a>, Unfollowable> {
    let mut found = Vec::new();
    match step {
        Step::Member(name) => {
            found.extend(here.into_iter().filter_map(|value| member(value, name)))
        }
        Step::All => found.extend(here.into_iter().flat_map(|value| children(&value))),
        Step::Descent => {
            for value in here {
                descend(value, &mut found)?;
            }
        }
        Step::Slice(slice) => {
            for value in here.into_iter().filter(|value| !value.is_null()) {
                if !value.is_array() {
                    return Err(Unfollowable);
                }
                found.extend(slice.of(children(&value))?);
            }
        }
        Step::Union(parts) => {
            for part in parts {
                found.extend(follow(here.clone(), part)?);
            }
        }
        Step::Where(condition) => {
            for value in here {
                if !value.is_array() {
                    return Err(Unfollowable);
                }
                for item in children(&value) {
                    if condition.holds(&item)? {
                        found.push(item);
                    }
                }
            }
        }
        // A text stands once, numbers and booleans once for each value.
        Step::Literal(text @ Tree::String(_)) => found.push(Cow::Owned(text.clone())),
        Step::Literal(value) => {
            found.extend(here.iter().map(|_| Cow::Owned(value.clone())));
        }
        Step::Word => return Err(Unfollowable),
    }
    Ok(found)
}

fn member<'a>(value: Cow<'a, Tree>, name: &str) -> Option<Cow<'a, Tree>> {
    match value {
        Cow::Borrowed(value) => value.get(name).map(Cow::Borrowed),
        Cow::Owned(value) => value.get(name).cloned().map(Cow::Owned),
    }
}

/// Returns the members or items of a value. A text has its bytes, as in Go.
fn children<'a>(value: &Cow<'a, Tree>) -> Found<'a> {
    fn of(value: &Tree) -> Vec<&Tree> {
        match value {
            Tree::Array(items) => items.iter().collect(),
            Tree::Object(members) => members.values().collect(),
            _ => Vec::new(),
        }
    }
    match value {
        Cow::Borrowed(Tree::String(text)) => bytes(text),
        Cow::Owned(Tree::String(text)) => bytes(text),
        Cow::Borrowed(value) => of(value).into_iter().map(Cow::Borrowed).collect(),
        Cow::Owned(value) => of(value).into_iter().cloned().map(Cow::Owned).collect(),
    }
}

fn bytes(text: &str) -> Found<'static> {
    text.bytes()
        .map(|byte| Cow::Owned(Tree::from(i64::from(byte))))
        .collect()
}

/// Adds a value and everything below it that has members or items.
fn descend<'a>(value: Cow<'a, Tree>, found: &mut Found<'a>) -> Result<(), Unfollowable> {
    if let Tree::String(text) = value.as_ref() {
        if !text.is_empty() {
            found.push(value);
        }
        return Ok(());
    }
    let below = children(&value);
    if below.is_empty() {
        return Ok(());
    }
    if found.len() > MAX_FOUND {
        return Err(Unfollowable);
    }
    found.push(value);
    below
        .into_iter()
        .try_for_each(|value| descend(value, found))
}

impl Slice {
    /// Returns the items of the range; an error when it lies outside of the list.
    fn of<'a>(&self, items: Found<'a>) -> Result<Found<'a>, Unfollowable> {
        let length = i64::try_from(items.len()).map_err(|_| Unfollowable)?;
        let from_end = |index: i64| if index < 0 { index + length } else { index };
        let first = from_end(self.first.unwrap_or(0));
        let end = match self.end {
            None => length,
            // The item after the last one: `[-1]`.
            Some(0) if self.is_index => length,
            Some(end) => from_end(end),
        };
        if first == end {
            return Ok(Vec::new());
        }
        let step = self.step.unwrap_or(1);
        if first < 0 || first >= length || end < 0 || end > length || first > end || step <= 0 {
            return Err(Unfollowable);
        }
        let number = |value: i64| usize::try_from(value).map_err(|_| Unfollowable);
        let (first, end, step) = (number(first)?, number(end)?, number(step)?);
        let range = items.into_iter().take(end).skip(first);
        Ok(range.step_by(step).collect())
    }
}

impl ItemFilter {
    fn holds(&self, item: &Tree) -> Result<bool, Unfollowable> {
        let side = |steps: &[Step]| follow(vec![Cow::Borrowed(item)], steps);
        let (left, operator, right) = match self {
            Self::Exists(path) => return Ok(side(path).is_ok_and(|found| !found.is_empty())),
            Self::Compare {
                left,
                operator,
                right,
            } => (side(left)?, operator, right),
        };
        if left.is_empty() {
            return Ok(false);
        }
        let right = side(right)?;
        match (&left[..], &right[..]) {
            (_, []) => Ok(false),
            ([left], [right]) => compare(left, operator, right),
            _ => Err(Unfollowable),
        }
    }
}

/// Compares two values of one type. Values of different types, lists and objects do not compare.
fn compare(left: &Tree, operator: &str, right: &Tree) -> Result<bool, Unfollowable> {
    let order = match (left, right) {
        (Tree::Bool(left), Tree::Bool(right)) => match operator {
            "==" => return Ok(left == right),
            "!=" => return Ok(left != right),
            _ => None,
        },
        (Tree::String(left), Tree::String(right)) => Some(left.as_str().cmp(right.as_str())),
        (Tree::Number(left), Tree::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            (None, None) => left
                .as_f64()
                .zip(right.as_f64())
                .and_then(|(left, right)| left.partial_cmp(&right)),
            // Upstream does not compare integers with floating-point numbers.
            _ => None,
        },
        _ => None,
    };
    let order = order.ok_or(Unfollowable)?;
    match operator {
        "==" => Ok(order == Ordering::Equal),
        "!=" => Ok(order != Ordering::Equal),
        "<" => Ok(order == Ordering::Less),
        "<=" => Ok(order != Ordering::Greater),
        ">" => Ok(order == Ordering::Greater),
        ">=" => Ok(order != Ordering::Less),
        _ => Err(Unfollowable),
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    fn object() -> Tree {
        json!({
            "metadata": {"name": "n", "annotations": {"a.b/c": "noted"}},
            "spec": {"on": true, "share": 0.5, "empty": [],
                "ports": [{"n": 1, "name": "a"}, {"n": 5, "name": "b"}, {"n": 7, "name": "c"}]},
        })
    }

    /// Checks the first value; `None` stands for nothing, also after a failure.
    #[track_caller]
    fn check(path: &str, expected: Option<Tree>) {
        let parsed = JsonPath::parse(path).unwrap_or_else(|| panic!("{path} is an expression"));
        let object = object();
        let found = parsed.find(&object).map(Cow::into_owned);
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn expressions_select_what_client_go_selects() {
        for (path, expected) in [
            (".metadata.name", Some(json!("n"))),
            (".spec.ports[0].n", Some(json!(1))),
            (".spec.ports[-1].name", Some(json!("c"))),
            (".spec.ports[-1:].name", Some(json!("c"))),
            (".spec.ports[0:2].name", Some(json!("a"))),
            (".spec.ports[1:].name", Some(json!("b"))),
            (".spec.ports[:1].name", Some(json!("a"))),
            (".spec.ports[::2].name", Some(json!("a"))),
            (".spec.ports[1::2].name", Some(json!("b"))),
            (".spec.ports[].name", Some(json!("a"))),
            (".spec.ports[*].name", Some(json!("a"))),
            (".spec.ports[2,0].name", Some(json!("c"))),
            (".spec.ports[3].name", None),
            (".spec.ports[-4].name", None),
            (".spec.ports[2:1].name", None),
            (".spec.ports[0:0].name", None),
            (".spec.empty[]", None),
            (".spec.empty[*]", None),
            (".spec.on[0]", None),
            ("..name", Some(json!("n"))),
            ("..n", Some(json!(1))),
            (".spec..name", Some(json!("a"))),
            ("...name", Some(json!("n"))),
            (".spec.ports[?(@.n>3)].name", Some(json!("b"))),
            (".spec.ports[?(@.n >= 7)].name", Some(json!("c"))),
            (".spec.ports[?(@.n<=1)].name", Some(json!("a"))),
            (".spec.ports[?(@.n!=1)].name", Some(json!("b"))),
            (".spec.ports[?(@.n > 9)].name", None),
            (".spec.ports[?(@.name==\"b\")].n", Some(json!(5))),
            (".spec.ports[?(@.name == 'c')].n", Some(json!(7))),
            (".spec.ports[?(@.name > 'a')].n", Some(json!(5))),
            (".spec.ports[?(@.none)].n", None),
            (".spec.ports[?(@.n)].n", Some(json!(1))),
            (".spec.ports[?(@.none==1)].n", None),
            // Types do not compare with each other.
            (".spec.ports[?(@.n==\"1\")].name", None),
            (".spec.ports[?(@.n==1.0)].name", None),
            (".spec.ports[?(@.n<>1)].name", None),
            (".spec[?(@.n==1)]", None),
            (r".metadata.annotations.a\.b/c", Some(json!("noted"))),
            (r".metadata.annotations['a\.b/c']", Some(json!("noted"))),
            // Unescaped, the dot separates two members.
            (".metadata.annotations['a.b/c']", None),
            (".metadata['name']", Some(json!("n"))),
            (".metadata.*", Some(json!({"a.b/c": "noted"}))),
            (".", None),
            (".none.deep", None),
            (".spec.on", Some(json!(true))),
            (".spec.share", Some(json!(0.5))),
            (".metadata.name}", Some(json!("n"))),
        ] {
            check(path, expected);
        }
    }

    #[test]
    fn wrong_syntax_is_found_when_it_is_parsed() {
        for path in [
            ".a[",
            ".a[x]",
            ".a[\"b\"]",
            ".a[-]",
            ".a[1:2:3:4]",
            ".a[?(@.b)",
            ".a[?(@.b]",
            ".a[?(b",
            "....a",
            ".a\n.b",
            ".a{b}",
            ".a[?(@.b=='c)]",
            ".a#",
        ] {
            // A `#` belongs to the name of a member.
            let expected = path == ".a#";
            assert_eq!(JsonPath::parse(path).is_some(), expected, "{path}");
        }
        // Words are read, and fail when they are followed.
        check(".spec range", None);
    }

    #[test]
    fn descents_are_bounded() {
        let wide: Vec<Tree> = (0..300).map(|_| json!([[1], [2]])).collect();
        let object = json!({ "a": wide });
        let path = JsonPath::parse("...*...*...*...*...*").expect("an expression");
        assert_eq!(path.find(&object), None);
    }
}
