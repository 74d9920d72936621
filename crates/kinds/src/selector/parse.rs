//! The grammar of label selectors in queries.
//!
//! ```text
//! selector    = [ requirement { "," requirement } ]
//! requirement = [ "!" ] key | key operator
//! operator    = ( "=" | "==" | "!=" | ">" | "<" ) [ value ]
//!             | ( "in" | "notin" ) "(" [ values ] ")"
//! ```
//!
//! `in` and `notin` are keywords only where an operator is expected. The error texts are those of
//! the API, down to the token that they name.

use std::collections::BTreeSet;

use super::requirement::key_fault;
use super::{Operator, Requirement, SelectorError};

/// Parses a whole selector.
///
/// # Errors
/// The API's message, which names the offending token.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut tokens = Tokens { rest: text };
    let mut found = Vec::new();
    loop {
        match tokens.peek() {
            SelectorToken::End => return Ok(found),
            SelectorToken::Word(_) | SelectorToken::Symbol("!") => {}
            other => {
                return fail(format!(
                    "found '{other}', expected: !, identifier, or 'end of string'"
                ));
            }
        }
        let requirement = tokens.requirement().map_err(|SelectorError(why)| {
            SelectorError(format!("unable to parse requirement: {why}"))
        })?;
        found.push(requirement);
        match tokens.next() {
            SelectorToken::End => return Ok(found),
            SelectorToken::Symbol(",") => {}
            other => return fail(format!("found '{other}', expected: ',' or 'end of string'")),
        }
        match tokens.peek() {
            SelectorToken::Word(_) | SelectorToken::Symbol("!") => {}
            other => return fail(format!("found '{other}', expected: identifier after ','")),
        }
    }
}

fn fail<T>(text: String) -> Result<T, SelectorError> {
    Err(SelectorError(text))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SelectorToken<'a> {
    End,
    Word(&'a str),
    Symbol(&'a str),
}

impl std::fmt::Display for SelectorToken<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::End => Ok(()),
            Self::Word(text) | Self::Symbol(text) => out.write_str(text),
        }
    }
}

#[derive(Clone, Copy)]
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> SelectorToken<'a> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let length = match self.rest.as_bytes() {
            [] => return SelectorToken::End,
            [b'=' | b'!', b'=', ..] => 2,
            [b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<', ..] => 1,
            _ => 0,
        };
        if length > 0 {
            return SelectorToken::Symbol(self.cut(length));
        }
        let is_end = |character: char| {
            matches!(
                character,
                '=' | '!' | '(' | ')' | ',' | '>' | '<' | ' ' | '\t' | '\r' | '\n'
            )
        };
        SelectorToken::Word(self.cut(self.rest.find(is_end).unwrap_or(self.rest.len())))
    }

    fn cut(&mut self, length: usize) -> &'a str {
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        token
    }

    fn peek(&self) -> SelectorToken<'a> {
        let mut ahead = *self;
        ahead.next()
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut first = self.next();
        // `!key` is an operator in front; every other operator follows the key.
        let is_negated = first == SelectorToken::Symbol("!");
        if is_negated {
            first = self.next();
        }
        let SelectorToken::Word(key) = first else {
            return fail(format!("found '{first}', expected: identifier"));
        };
        if let Some(fault) = key_fault(key, "<nil>") {
            return fail(fault.to_string());
        }
        if is_negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), SelectorToken::End | SelectorToken::Symbol(",")) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => {
                self.values()?.into_iter().map(str::to_owned).collect()
            }
            _ => vec![self.exact_value()?.to_owned()],
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        Ok(match self.next() {
            SelectorToken::Word("in") => Operator::In,
            SelectorToken::Word("notin") => Operator::NotIn,
            SelectorToken::Symbol("=") => Operator::Equals,
            SelectorToken::Symbol("==") => Operator::DoubleEquals,
            SelectorToken::Symbol("!=") => Operator::NotEquals,
            SelectorToken::Symbol(">") => Operator::GreaterThan,
            SelectorToken::Symbol("<") => Operator::LessThan,
            other => {
                return fail(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        })
    }

    /// Parses the value after `=`. A missing value is the empty string.
    fn exact_value(&mut self) -> Result<&'a str, SelectorError> {
        if matches!(self.peek(), SelectorToken::End | SelectorToken::Symbol(",")) {
            return Ok("");
        }
        match self.next() {
            SelectorToken::Word(value) => Ok(value),
            other => fail(format!("found '{other}', expected: identifier")),
        }
    }

    /// Parses the values after `in`. Empty parentheses, and nothing between two commas, mean the
    /// empty string.
    fn values(&mut self) -> Result<BTreeSet<&'a str>, SelectorError> {
        match self.next() {
            SelectorToken::Symbol("(") => {}
            other => return fail(format!("found '{other}' expected: '('")),
        }
        match self.peek() {
            SelectorToken::Symbol(")") => {
                self.next();
                return Ok(BTreeSet::from([""]));
            }
            SelectorToken::Word(_) | SelectorToken::Symbol(",") => {}
            other => return fail(format!("found '{other}', expected: ',', ')' or identifier")),
        }
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                SelectorToken::Word(value) => {
                    values.insert(value);
                    match self.peek() {
                        SelectorToken::Symbol(",") => {}
                        SelectorToken::Symbol(")") => break,
                        other => return fail(format!("found '{other}', expected: ',' or ')'")),
                    }
                }
                SelectorToken::Symbol(",") => {
                    if values.is_empty() {
                        values.insert("");
                    }
                    match self.peek() {
                        SelectorToken::Symbol(")") => {
                            values.insert("");
                            break;
                        }
                        SelectorToken::Symbol(",") => {
                            self.next();
                            values.insert("");
                        }
                        _ => {}
                    }
                }
                other => return fail(format!("found '{other}', expected: ',', or identifier")),
            }
        }
        self.next();
        Ok(values)
    }
}
