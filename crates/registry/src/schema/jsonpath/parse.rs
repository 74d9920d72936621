//! The parser of JSONPath expressions, with the rules of client-go's.

use kinds::Tree;

use super::{ItemFilter, Slice, Step};

/// Parses the steps up to the end of the text, or up to a closing brace.
pub(super) fn expression(text: &str) -> Option<Vec<Step>> {
    let mut rest = text;
    let mut steps = Vec::new();
    while let Some(next) = rest.chars().next() {
        rest = match next {
            '}' => return Some(steps),
            '\r' | '\n' => return None,
            ' ' | '@' | '$' => &rest[1..],
            '[' if rest.starts_with("[?(") => filter(&rest[3..], &mut steps)?,
            '[' => brackets(&rest[1..], &mut steps)?,
            '.' if rest.starts_with("..") => descent(&rest[2..], &mut steps)?,
            '.' => member(&rest[1..], &mut steps),
            '"' | '\'' => quoted(rest, next, &mut steps)?,
            '+' | '-' => number(rest, &mut steps)?,
            digit if digit.is_numeric() => number(rest, &mut steps)?,
            letter if is_word(letter) => word(rest, &mut steps),
            _ => return None,
        };
    }
    Some(steps)
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn ends_name(character: char) -> bool {
    matches!(
        character,
        ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}'
    )
}

fn descent<'a>(rest: &'a str, steps: &mut Vec<Step>) -> Option<&'a str> {
    if steps.last() == Some(&Step::Descent) {
        return None;
    }
    steps.push(Step::Descent);
    let names_member = rest.chars().next().is_some_and(is_word);
    Some(if names_member {
        member(rest, steps)
    } else {
        rest
    })
}

/// Reads the name of a member. A backslash takes the meaning of the next character away.
fn member<'a>(rest: &'a str, steps: &mut Vec<Step>) -> &'a str {
    let mut characters = rest.char_indices();
    let mut end = rest.len();
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if ends_name(character) {
            end = at;
            break;
        }
    }
    let (name, rest) = rest.split_at(end);
    steps.push(match name {
        "*" => Step::All,
        name => Step::Member(name.replace('\\', "")),
    });
    rest
}

fn word<'a>(rest: &'a str, steps: &mut Vec<Step>) -> &'a str {
    let (name, rest) = rest.split_at(rest.find(ends_name).unwrap_or(rest.len()));
    steps.push(match name {
        "true" => Step::Literal(Tree::Bool(true)),
        "false" => Step::Literal(Tree::Bool(false)),
        _ => Step::Word,
    });
    rest
}

fn number<'a>(rest: &'a str, steps: &mut Vec<Step>) -> Option<&'a str> {
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let sign = rest.len() - digits.len();
    let end = digits
        .find(|character: char| character != '.' && !character.is_numeric())
        .unwrap_or(digits.len());
    let (text, rest) = rest.split_at(sign + end);
    let value = match text.parse::<i64>() {
        Ok(whole) => Tree::from(whole),
        Err(_) => Tree::from(text.parse::<f64>().ok()?),
    };
    steps.push(Step::Literal(value));
    Some(rest)
}

/// Reads a quoted text.
fn quoted<'a>(rest: &'a str, quote: char, steps: &mut Vec<Step>) -> Option<&'a str> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\n' => return None,
            '\\' => text.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                same @ ('\\' | '\'' | '"') => same,
                _ => return None,
            }),
            _ if character == quote => {
                steps.push(Step::Literal(text.into()));
                return Some(&rest[at + 1..]);
            }
            _ => text.push(character),
        }
    }
    None
}

/// Reads what stands in brackets, apart from filters: an index, a range, a name or several of them.
fn brackets<'a>(rest: &'a str, steps: &mut Vec<Step>) -> Option<&'a str> {
    let end = rest.find([']', '\n'])?;
    let (text, rest) = rest.split_at(end);
    let rest = rest.strip_prefix(']')?;
    if text.contains(',') {
        let part = |text: &str| {
            let mut steps = Vec::new();
            one_in_brackets(text.trim_matches(' '), &mut steps)?;
            Some(steps)
        };
        steps.push(Step::Union(
            text.split(',').map(part).collect::<Option<_>>()?,
        ));
    } else {
        one_in_brackets(text, steps)?;
    }
    Some(rest)
}

fn one_in_brackets(text: &str, steps: &mut Vec<Step>) -> Option<()> {
    let name = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''))
        .filter(|name| !name.contains('\''));
    if let Some(name) = name {
        // The name is read like any expression: its dots separate members.
        steps.extend(expression(&format!(".{name}"))?);
        return Some(());
    }
    let text = if text == "*" { ":" } else { text };
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return None;
    }
    let part = |place: usize| -> Option<Option<i64>> {
        match parts.get(place) {
            None | Some(&"") => Some(None),
            Some(text) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                is_number.then(|| text.parse().ok()).flatten().map(Some)
            }
        }
    };
    let (first, end, step) = (part(0)?, part(1)?, part(2)?);
    let is_index = parts.len() == 1;
    steps.push(Step::Slice(Slice {
        first,
        end: if is_index {
            Some(first.unwrap_or(0).checked_add(1)?)
        } else {
            end
        },
        is_index,
        step,
    }));
    Some(())
}

/// Reads a filter behind its `[?(`.
fn filter<'a>(rest: &'a str, steps: &mut Vec<Step>) -> Option<&'a str> {
    let end = end_of_filter(rest)?;
    let (text, rest) = rest.split_at(end);
    let rest = rest.strip_prefix(")]")?;
    let is_operator = |character: char| matches!(character, '!' | '<' | '>' | '=');
    let compared = text.find(is_operator).filter(|at| *at > 0).and_then(|at| {
        let (left, rest) = text.split_at(at);
        let end = rest.find(|character| !is_operator(character))?;
        let (operator, right) = rest.split_at(end);
        Some((left, operator, right))
    });
    steps.push(Step::Where(match compared {
        None => ItemFilter::Exists(expression(text)?),
        Some((left, operator, right)) => ItemFilter::Compare {
            left: expression(left)?,
            operator: operator.to_owned(),
            right: expression(right)?,
        },
    }));
    Some(rest)
}

/// Returns the offset of the parenthesis that closes a filter. One inside of quotes does not.
fn end_of_filter(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut is_closed = false;
    let mut last = ' ';
    for (at, character) in text.char_indices() {
        match (character, quote) {
            ('\n', _) => return None,
            ('"' | '\'', None) => quote = Some(character),
            ('"' | '\'', Some(open)) if character == open && last != '\\' => is_closed = true,
            (')', _) if quote.is_some() == is_closed => return Some(at),
            _ => {}
        }
        last = character;
    }
    None
}
