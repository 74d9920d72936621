//! Field selectors: `spec.nodeName=n1,status.phase!=Failed`.

use std::borrow::Cow;
use std::fmt;

use super::SelectorError;

/// A compiled field selector: all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field, for example `spec.nodeName`. The registry may rename it (`spec.host`).
    pub field: String,
    /// The value that it is compared with.
    pub value: String,
    /// True for `=`, false for `!=`.
    pub equal: bool,
}

impl FieldSelector {
    /// Parses the text of a query. `\`, `,` and `=` in values are escaped with `\`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let parts = split_unescaped(text)
            .into_iter()
            .filter(|part| !part.is_empty());
        let terms = parts
            .map(|part| FieldTerm::parse(text, part))
            .collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// True when every term holds; `value_of` says what a field holds (nothing is the empty text).
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.terms
            .iter()
            .all(|term| (value_of(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// The terms, in the order in which they were written.
    #[must_use]
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// The terms, for renaming fields.
    pub fn terms_mut(&mut self) -> &mut [FieldTerm] {
        &mut self.terms
    }

    /// True when it selects every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The one value that this field must have, if it must have one.
    #[must_use]
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            let value = term
                .value
                .replace('\\', "\\\\")
                .replace(',', "\\,")
                .replace('=', "\\=");
            write!(out, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

impl FieldTerm {
    fn parse(whole: &str, part: &str) -> Result<Self, SelectorError> {
        let operator = part.char_indices().find_map(|(start, _)| {
            let operator = ["!=", "==", "="]
                .into_iter()
                .find(|operator| part[start..].starts_with(operator));
            operator.map(|operator| (start, operator))
        });
        let Some((start, operator)) = operator else {
            return Err(SelectorError(format!(
                "invalid selector: '{whole}'; can't understand '{part}'"
            )));
        };
        let value = unescape(&part[start + operator.len()..])?;
        Ok(Self {
            field: part[..start].to_owned(),
            value,
            equal: operator != "!=",
        })
    }
}

/// Splits at commas that no backslash protects.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (index, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    let sequence = |text: String| {
        SelectorError(format!(
            "invalid field selector: invalid escape sequence: {text}"
        ))
    };
    let mut value = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => value.push(escaped),
                Some(other) => return Err(sequence(format!("\\{other}"))),
                None => return Err(sequence("\\".to_owned())),
            },
            ',' | '=' => {
                // Upstream prints the character's number here.
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(letter)
                )));
            }
            other => value.push(other),
        }
    }
    Ok(value)
}
