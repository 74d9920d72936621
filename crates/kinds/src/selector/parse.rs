//! The grammar of label selectors in queries.
//!
//! ```text
//! selector    = [ requirement { "," requirement } ]
//! requirement = [ "!" ] key | key operator
//! operator    = ( "=" | "==" | "!=" | ">" | "<" ) [ value ] | ( "in" | "notin" ) "(" [ values ] ")"
//! ```
//!
//! `in` and `notin` are keywords only where an operator is expected. The error texts are those of
//! the API, down to the token that they name.

use std::collections::BTreeSet;

use super::requirement::key_fault;
use super::{Operator, Requirement, SelectorError};

/// Parses the whole text.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut tokens = Tokens { rest: text };
    let mut found = Vec::new();
    loop {
        match tokens.peek() {
            Token::End => return Ok(found),
            Token::Word(_) | Token::Symbol("!") => {}
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
            Token::End => return Ok(found),
            Token::Symbol(",") => {}
            other => return fail(format!("found '{other}', expected: ',' or 'end of string'")),
        }
        match tokens.peek() {
            Token::Word(_) | Token::Symbol("!") => {}
            other => return fail(format!("found '{other}', expected: identifier after ','")),
        }
    }
}

fn fail<T>(text: String) -> Result<T, SelectorError> {
    Err(SelectorError(text))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Word(&'a str),
    Symbol(&'a str),
}

impl std::fmt::Display for Token<'_> {
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
    fn next(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let length = match self.rest.as_bytes() {
            [] => return Token::End,
            [b'=' | b'!', b'=', ..] => 2,
            [b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<', ..] => 1,
            _ => 0,
        };
        if length > 0 {
            return Token::Symbol(self.cut(length));
        }
        let is_end = |letter: char| {
            matches!(
                letter,
                '=' | '!' | '(' | ')' | ',' | '>' | '<' | ' ' | '\t' | '\r' | '\n'
            )
        };
        Token::Word(self.cut(self.rest.find(is_end).unwrap_or(self.rest.len())))
    }

    fn cut(&mut self, length: usize) -> &'a str {
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        token
    }

    fn peek(&self) -> Token<'a> {
        let mut ahead = *self;
        ahead.next()
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut first = self.next();
        let is_negated = first == Token::Symbol("!");
        if is_negated {
            first = self.next();
        }
        let Token::Word(key) = first else {
            return fail(format!("found '{first}', expected: identifier"));
        };
        if let Some(fault) = key_fault(key, "<nil>") {
            return fail(fault.to_string());
        }
        if is_negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
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
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            Token::Symbol("=") => Operator::Equals,
            Token::Symbol("==") => Operator::DoubleEquals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            other => {
                return fail(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        })
    }

    /// The value behind `=`; nothing is the empty value.
    fn exact_value(&mut self) -> Result<&'a str, SelectorError> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok("");
        }
        match self.next() {
            Token::Word(value) => Ok(value),
            other => fail(format!("found '{other}', expected: identifier")),
        }
    }

    /// The values behind `in`. Between two commas, and in empty parentheses, stands the empty
    /// value.
    fn values(&mut self) -> Result<BTreeSet<&'a str>, SelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return fail(format!("found '{other}' expected: '('")),
        }
        match self.peek() {
            Token::Symbol(")") => {
                self.next();
                return Ok(BTreeSet::from([""]));
            }
            Token::Word(_) | Token::Symbol(",") => {}
            other => return fail(format!("found '{other}', expected: ',', ')' or identifier")),
        }
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                Token::Word(value) => {
                    values.insert(value);
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => break,
                        other => return fail(format!("found '{other}', expected: ',' or ')'")),
                    }
                }
                Token::Symbol(",") => {
                    if values.is_empty() {
                        values.insert("");
                    }
                    match self.peek() {
                        Token::Symbol(")") => {
                            values.insert("");
                            break;
                        }
                        Token::Symbol(",") => {
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
