//! Field selectors: `spec.nodeName=n1,status.phase!=Failed`.

use std::borrow::Cow;
use std::fmt;

use super::SelectorError;

/// A parsed field selector. An object matches if all terms hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// One term: a field, a value and an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field, for example `spec.nodeName`. The registry may rename it (`spec.host`).
    pub field: String,
    /// The value to compare with.
    pub value: String,
    /// True for `=`, false for `!=`.
    pub equal: bool,
}

impl FieldSelector {
    /// Parses a query parameter. A backslash escapes `\`, `,` and `=` in values.
    ///
    /// # Errors
    /// The API's message for an invalid selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let parts = split_unescaped(text)
            .into_iter()
            .filter(|part| !part.is_empty());
        let terms = parts
            .map(|part| FieldTerm::parse(text, part))
            .collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// Returns whether every term holds. `value_of` returns the value of a field; an absent field
    /// equals the empty string, as upstream has it.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.terms
            .iter()
            .all(|term| (value_of(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// Returns the terms in the order of the query.
    #[must_use]
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Returns the terms, for renaming fields.
    pub fn terms_mut(&mut self) -> &mut [FieldTerm] {
        &mut self.terms
    }

    /// Returns whether the selector selects every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Returns the only value of this field that can match, if the selector demands one.
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

/// Splits at commas that are not escaped.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (index, character) in text.char_indices() {
        match character {
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
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => value.push(escaped),
                Some(other) => return Err(sequence(format!("\\{other}"))),
                None => return Err(sequence("\\".to_owned())),
            },
            ',' | '=' => {
                // Upstream prints the number of the character, not the character.
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(character)
                )));
            }
            other => value.push(other),
        }
    }
    Ok(value)
}
