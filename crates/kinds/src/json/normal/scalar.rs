//! Scalars: range checks and canonical forms.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::super::{DecodeError, DocumentPath, scan};
use crate::Tree;
use crate::facts::Shape;
use crate::status::quoted;

const SECONDS_LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICROS_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Normalises a string for a field of this shape.
pub(crate) fn text(
    text: Cow<'_, str>,
    shape: &Shape,
    path: &DocumentPath<'_>,
) -> Result<Tree, DecodeError> {
    Ok(Tree::from(match shape {
        Shape::String | Shape::IntOrString | Shape::Any | Shape::Duration => {
            return Ok(Tree::from(&*text));
        }
        Shape::Quantity => crate::quantity::canonical(&text)
            .map_err(|error| DecodeError::Value(error.to_string()))?,
        Shape::Time => match time(&text, SECONDS_LAYOUT)? {
            Some(time) => seconds_text(time),
            None => return Ok(Tree::Null),
        },
        Shape::MicroTime => match time(&text, MICROS_LAYOUT)? {
            Some(time) => micros_text(time),
            None => return Ok(Tree::Null),
        },
        Shape::Bytes => bytes(&text)?,
        _ => return Err(path.mismatch("string", shape)),
    }))
}

/// Normalises a number, given as the document has it, for a field of this shape.
pub(crate) fn number(
    text: &str,
    shape: &Shape,
    path: &DocumentPath<'_>,
) -> Result<Tree, DecodeError> {
    let out_of_range = || path.mismatch(&format!("number {text}"), shape);
    Ok(match shape {
        Shape::Int32 | Shape::IntOrString => {
            Tree::from(text.parse::<i32>().map_err(|_| out_of_range())?)
        }
        Shape::Int64 => Tree::from(text.parse::<i64>().map_err(|_| out_of_range())?),
        Shape::Float64 | Shape::Any => Tree::Number(scan::number(text).ok_or_else(out_of_range)?),
        Shape::Quantity => Tree::from(
            crate::quantity::canonical(text)
                .map_err(|error| DecodeError::Value(error.to_string()))?,
        ),
        Shape::Time | Shape::MicroTime => {
            return Err(DecodeError::Value(
                "json: cannot unmarshal number into Go value of type string".to_owned(),
            ));
        }
        _ => return Err(path.mismatch("number", shape)),
    })
}

/// Returns the value that null stands for in lists and maps, where Go has no null.
pub(crate) fn zero(shape: &Shape) -> Tree {
    match shape {
        Shape::String => Tree::from(""),
        Shape::Bool => Tree::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString => Tree::from(0),
        Shape::Quantity => Tree::from("0"),
        Shape::Duration => Tree::from("0s"),
        Shape::Object(_)
        | Shape::ObjectOrBool(_)
        | Shape::ObjectOrList(_)
        | Shape::ObjectOrStrings(_) => Tree::Object(crate::tree::Map::new()),
        Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Any
        | Shape::List(_)
        | Shape::Map(_) => Tree::Null,
    }
}

/// Checks standard base64 and returns it without line breaks.
fn bytes(text: &str) -> Result<String, DecodeError> {
    // Go's decoder ignores line breaks.
    let text: Cow<'_, str> = if text.contains(['\r', '\n']) {
        text.replace(['\r', '\n'], "").into()
    } else {
        Cow::Borrowed(text)
    };
    match STANDARD.decode(&*text) {
        Ok(_) => Ok(text.into_owned()),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                    text.len() - text.len() % 4
                }
            };
            Err(DecodeError::Value(format!(
                "illegal base64 data at input byte {at}"
            )))
        }
    }
}

/// Formats `2026-01-02T03:04:05Z`; truncates fractions of a second.
pub(crate) fn seconds_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Formats `2026-01-02T03:04:05.000006Z`.
pub(crate) fn micros_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Parses a time with Go's layout. `None` for the zero time, year 1, which upstream treats as
/// absent.
pub(crate) fn time(text: &str, layout: &str) -> Result<Option<Timestamp>, DecodeError> {
    let micros = layout == MICROS_LAYOUT;
    let fault = |rest: &str, element: &str| {
        DecodeError::Value(format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quoted(text),
            quoted(layout),
            quoted(rest),
            quoted(element)
        ))
    };
    let mut rest = text;
    for (element, digits, after) in [
        ("2006", 4, "-"),
        ("01", 2, "-"),
        ("02", 2, "T"),
        ("15", 2, ":"),
        ("04", 2, ":"),
        ("05", 2, ""),
    ] {
        let number = rest
            .get(..digits)
            .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        if number.is_none() {
            return Err(fault(rest, element));
        }
        rest = &rest[digits..];
        rest = rest.strip_prefix(after).ok_or_else(|| fault(rest, after))?;
    }
    let fraction = rest.strip_prefix(['.', ',']).map_or(0, |rest| {
        1 + rest.bytes().take_while(u8::is_ascii_digit).count()
    });
    if micros && fraction != 7 {
        return Err(fault(rest, ".000000"));
    }
    let zone = rest
        .get(if fraction > 1 { fraction } else { 0 }..)
        .unwrap_or_default();
    let sound = zone == "Z"
        || (zone.len() == 6
            && zone.starts_with(['+', '-'])
            && zone.bytes().enumerate().skip(1).all(|(at, byte)| {
                if at == 3 {
                    byte == b':'
                } else {
                    byte.is_ascii_digit()
                }
            }));
    if !sound {
        // Go reports trailing characters after a complete time in another way than an invalid zone.
        if let Some(extra) = zone.strip_prefix('Z') {
            return Err(DecodeError::Value(format!(
                "parsing time {}: extra text: {}",
                quoted(text),
                quoted(extra)
            )));
        }
        return Err(fault(zone, "Z07:00"));
    }
    if text.starts_with("0001-01-01T00:00:00") && zone == "Z" {
        return Ok(None);
    }
    let time = text.replace(',', ".").parse::<Timestamp>();
    time.map(Some).map_err(|_| {
        DecodeError::Value(format!(
            "parsing time {}: {} out of range",
            quoted(text),
            part_out_of_range(text)
        ))
    })
}

/// Returns the first part of a well-formed time that is out of range, as Go names it.
fn part_out_of_range(text: &str) -> &'static str {
    let part = |range: std::ops::Range<usize>| {
        text.get(range)
            .and_then(|digits| digits.parse::<u32>().ok())
            .unwrap_or(0)
    };
    match () {
        () if !(1..=12).contains(&part(5..7)) => "month",
        () if part(11..13) > 23 => "hour",
        () if part(14..16) > 59 => "minute",
        () if part(17..19) > 59 => "second",
        () => "day",
    }
}
