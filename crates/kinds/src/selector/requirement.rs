//! One requirement of a label selector.

use std::fmt;

use super::SelectorError;
use super::labels::Labels;
use crate::names;
use crate::status::{FieldError, FieldErrors};

/// How a requirement compares a label with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`: the label has the value.
    Equals,
    /// `==`: the label has the value. Kept apart from `=` because `Display` shows which was
    /// written.
    DoubleEquals,
    /// `!=`: the label is absent or has another value.
    NotEquals,
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
    /// `>`: the label is an integer and greater than the value.
    GreaterThan,
    /// `<`: the label is an integer and less than the value.
    LessThan,
}

impl Operator {
    /// Parses the operator of a `matchExpressions` item. `Gt` and `Lt` exist only in queries.
    ///
    /// # Errors
    /// The API's message for an unknown operator.
    pub fn from_expression(operator: &str) -> Result<Self, SelectorError> {
        match operator {
            "In" => Ok(Self::In),
            "NotIn" => Ok(Self::NotIn),
            "Exists" => Ok(Self::Exists),
            "DoesNotExist" => Ok(Self::DoesNotExist),
            other => Err(SelectorError(format!(
                "{} is not a valid label selector operator",
                crate::status::quoted(other)
            ))),
        }
    }
}

/// One requirement: a label key, an operator and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: Box<str>,
    operator: Operator,
    /// Sorted and unique.
    values: Box<[Box<str>]>,
    /// The parsed value of `GreaterThan` and `LessThan`.
    number: i64,
}

impl Requirement {
    /// Validates and compiles a requirement.
    ///
    /// # Errors
    /// The API's message for all faults of key and values.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let mut faults: FieldErrors = key_fault(key, "key").into_iter().collect();
        let mut number = 0;
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                faults.push(FieldError::invalid(
                    "values",
                    &list(&values),
                    "for 'in', 'notin' operators, values set can't be empty",
                ));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                faults.push(FieldError::invalid(
                    "values",
                    &list(&values),
                    "values set must be empty for exists and does not exist",
                ));
            }
            Operator::GreaterThan | Operator::LessThan => {
                for (index, value) in values.iter().enumerate() {
                    match value.parse() {
                        Ok(parsed) => number = parsed,
                        Err(_) => faults.push(FieldError::invalid(
                            format!("values[{index}]"),
                            &value.as_str().into(),
                            "for 'Gt', 'Lt' operators, the value must be an integer",
                        )),
                    }
                }
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let texts = names::label_value(value);
            if !texts.is_empty() {
                faults.push(FieldError::invalid(
                    format!("values[{index}][{key}]"),
                    &value.as_str().into(),
                    texts.join("; "),
                ));
            }
        }
        if !faults.is_empty() {
            return Err(aggregate(&faults));
        }
        let mut values: Vec<Box<str>> = values.into_iter().map(String::into_boxed_str).collect();
        values.sort_unstable();
        values.dedup();
        Ok(Self {
            key: key.into(),
            operator,
            values: values.into_boxed_slice(),
            number,
        })
    }

    /// Returns `key=value` for a key and a value that are known to be valid.
    pub(super) fn valid_equals(key: &str, value: &str) -> Self {
        Self {
            key: key.into(),
            operator: Operator::Equals,
            values: Box::new([value.into()]),
            number: 0,
        }
    }

    /// Returns true when every set of labels that fulfils this requirement fulfils the other one,
    /// as far as the two alone show it.
    #[must_use]
    pub fn implies(&self, other: &Self) -> bool {
        use Operator::{DoesNotExist, DoubleEquals, Equals, Exists, In, NotEquals, NotIn};
        let has_value = |one: &Self| matches!(one.operator, Equals | DoubleEquals | In);
        let lacks_value = |one: &Self| matches!(one.operator, NotEquals | NotIn);
        let within =
            |some: &Self, all: &Self| some.values.iter().all(|value| all.values.contains(value));
        if self.key != other.key {
            return false;
        }
        match other.operator {
            Exists => has_value(self) || self.operator == Exists,
            DoesNotExist => self.operator == DoesNotExist,
            Equals | DoubleEquals | In => has_value(self) && within(self, other),
            NotEquals | NotIn if has_value(self) => {
                !self.values.iter().any(|value| other.values.contains(value))
            }
            NotEquals | NotIn => {
                self.operator == DoesNotExist || (lacks_value(self) && within(other, self))
            }
            Operator::GreaterThan | Operator::LessThan => self == other,
        }
    }

    /// Returns the label key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the operator.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// Returns the values, sorted.
    #[must_use]
    pub fn values(&self) -> &[Box<str>] {
        &self.values
    }

    /// Returns the values of which the label must have one. `None` if labels without any of a fixed
    /// set of values can fulfil the requirement.
    #[must_use]
    pub fn required_values(&self) -> Option<&[Box<str>]> {
        matches!(
            self.operator,
            Operator::Equals | Operator::DoubleEquals | Operator::In
        )
        .then_some(&*self.values)
    }

    /// Returns whether the labels fulfil the requirement.
    #[must_use]
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let value = labels.label(&self.key);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => {
                value.is_some_and(|value| self.holds(value))
            }
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(|value| self.holds(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => value
                .and_then(parse_number)
                .is_some_and(|number| number > self.number),
            Operator::LessThan => value
                .and_then(parse_number)
                .is_some_and(|number| number < self.number),
        }
    }

    fn holds(&self, value: &str) -> bool {
        match &*self.values {
            // Nearly all requirements have one value: no search.
            [only] => **only == *value,
            several => several
                .binary_search_by(|known| (**known).cmp(value))
                .is_ok(),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = self.values.join(",");
        let key = &self.key;
        match self.operator {
            Operator::Exists => write!(out, "{key}"),
            Operator::DoesNotExist => write!(out, "!{key}"),
            Operator::Equals => write!(out, "{key}={joined}"),
            Operator::DoubleEquals => write!(out, "{key}=={joined}"),
            Operator::NotEquals => write!(out, "{key}!={joined}"),
            Operator::In => write!(out, "{key} in ({joined})"),
            Operator::NotIn => write!(out, "{key} notin ({joined})"),
            Operator::GreaterThan => write!(out, "{key}>{joined}"),
            Operator::LessThan => write!(out, "{key}<{joined}"),
        }
    }
}

/// Returns what is wrong with a label key, as an error of the field `path`.
pub(super) fn key_fault(key: &str, place: &str) -> Option<FieldError> {
    let texts = names::qualified_name(key);
    (!texts.is_empty()).then(|| FieldError::invalid(place, &key.into(), texts.join("; ")))
}

fn parse_number(value: &str) -> Option<i64> {
    value.parse().ok()
}

fn list(values: &[String]) -> crate::Tree {
    values.iter().map(String::as_str).collect()
}

fn aggregate(faults: &FieldErrors) -> SelectorError {
    let mut texts: Vec<String> = Vec::new();
    for text in faults.iter().map(FieldError::to_string) {
        // Upstream aggregates equal messages into one.
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let more = faults.total() - faults.len();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    SelectorError(if texts.len() == 1 {
        texts.remove(0)
    } else {
        format!("[{}]", texts.join(", "))
    })
}
