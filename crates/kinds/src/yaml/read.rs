//! Converts the events of the YAML parser to a tree.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::Tree;
use crate::json::{self, DecodeError, DecodedTree, MAX_DEPTH, MAX_WARNINGS, scan};
use crate::status::quoted;

/// Limit of the values that aliases of a document may expand to: more than any real document needs,
/// and far below a billion-laughs bomb.
const MAX_EXPANDED: usize = 100_000;
/// Limit of the bytes, as JSON, that aliases of a document may expand to: that of a request body
/// that is written out.
const MAX_EXPANDED_BYTES: usize = 3 * 1024 * 1024;

/// Reads the first document of a stream. An empty stream is null.
///
/// # Errors
/// [`DecodeError::Syntax`] with upstream's message.
pub(super) fn document(text: &str) -> Result<DecodedTree, DecodeError> {
    // JSON is YAML, but the JSON decoder is faster and has Go's rules for numbers and escapes. Keys
    // that are there twice are reported as those of YAML, by their lines.
    if text.trim_start().starts_with('{')
        && let Ok(decoded) = json::decode_untyped(text.as_bytes())
        && decoded.warnings.is_empty()
    {
        return Ok(decoded);
    }
    let mut reader = YamlReader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        written: Size::default(),
        expanded: Size::default(),
        duplicates: Vec::new(),
    };
    let tree = loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => break Tree::Null,
            (event, span) => break reader.value(event, span, 0)?,
        }
    };
    let warnings = if reader.duplicates.is_empty() {
        Vec::new()
    } else {
        vec![format!(
            "{DUPLICATES}\n  {}",
            reader.duplicates.join("\n  ")
        )]
    };
    Ok(DecodedTree { tree, warnings })
}

/// The first line of the warning about keys that a document has twice. A line for each follows.
pub const DUPLICATES: &str = "yaml: unmarshal errors:";

struct YamlReader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// The values of anchors, with their sizes.
    anchors: HashMap<usize, (Tree, Size)>,
    /// The size of everything that was read, aliases written out.
    written: Size,
    /// The size of what aliases stand for.
    expanded: Size,
    duplicates: Vec<String>,
}

fn fault(line: usize, text: &str) -> DecodeError {
    DecodeError::Syntax(if line > 1 {
        format!("yaml: line {line}: {text}")
    } else {
        format!("yaml: {text}")
    })
}

/// Converts an error of the parser to upstream's message. Clients know the last clause. Lines count
/// from 1 for errors in characters (the scanner's) and from 0 for errors in structure (the
/// parser's).
fn syntax(line: usize, info: &str) -> DecodeError {
    let (context, text) = info
        .split_once(", ")
        .filter(|(context, _)| context.starts_with("while "))
        .unwrap_or(("", info));
    // For a line without a key, upstream's parser reports the missing colon.
    let text = if text == "simple key expected" {
        "could not find expected ':'"
    } else {
        text
    };
    let structure =
        context.starts_with("while parsing") || text.starts_with("did not find expected");
    let above = line.saturating_sub(1);
    DecodeError::Syntax(match (above, structure) {
        (0, _) => format!("yaml: {text}"),
        (above, true) => format!("yaml: line {above}: {text}"),
        (_, false) => format!("yaml: line {line}: {text}"),
    })
}

impl<'a> YamlReader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), DecodeError> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(syntax(error.marker().line(), error.info())),
            None => Err(fault(0, "unexpected end of the document")),
        }
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Tree, DecodeError> {
        let line = span.start.line();
        if depth > MAX_DEPTH {
            return Err(fault(line, &format!("exceeded max depth of {MAX_DEPTH}")));
        }
        let before = self.written;
        let (tree, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, line),
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(&text, style, tag.as_deref(), line)?, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            _ => return Err(fault(line, "did not find expected node content")),
        };
        self.written.add(&tree);
        if anchor != 0 {
            let size = self.written.since(before);
            self.anchors.insert(anchor, (tree.clone(), size));
        }
        Ok(tree)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Tree, DecodeError> {
        // An alias inside of its own anchor: the anchor has no value yet.
        let (tree, size) = self
            .anchors
            .get(&anchor)
            .ok_or_else(|| fault(line, "anchor contains itself"))?;
        // Counting values and bytes, not aliases, bounds the work even if every alias contains
        // aliases.
        self.written = self.written.plus(*size);
        self.expanded = self.expanded.plus(*size);
        if self.expanded.values > MAX_EXPANDED || self.expanded.bytes > MAX_EXPANDED_BYTES {
            return Err(fault(line, "document contains excessive aliasing"));
        }
        Ok(tree.clone())
    }

    fn list(&mut self, depth: usize) -> Result<Tree, DecodeError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Tree::from(items)),
                (event, span) => items.push(self.value(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Tree, DecodeError> {
        let mut members = crate::tree::Map::new();
        // Members of the map itself override those that `<<` merges.
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let line = span.start.line();
            let merges =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = self.value(event, span, depth + 1)?;
            let key = key_text(&key).ok_or_else(|| fault(line, "a key must be a plain value"))?;
            let (event, span) = self.next()?;
            let value = self.value(event, span, depth + 1)?;
            if merges {
                merged.push(value);
            } else if members.contains_key(&key) {
                if self.duplicates.len() < MAX_WARNINGS {
                    self.duplicates.push(format!(
                        "line {line}: key {} already set in map",
                        quoted(&key)
                    ));
                }
                // The last value wins, as in JSON; strict validation reports the warning.
                members.insert(key, value);
            } else {
                members.insert(key, value);
            }
        }
        for value in merged {
            merge(&mut members, value)?;
        }
        Ok(Tree::Object(members))
    }
}

fn merge(members: &mut crate::tree::Map, value: Tree) -> Result<(), DecodeError> {
    match value {
        Tree::Object(others) => {
            for (key, value) in others {
                // Of several merged maps the first one wins.
                members.entry(key).or_insert(value);
            }
            Ok(())
        }
        Tree::Array(values) => values
            .into_iter()
            .try_for_each(|value| merge(members, value)),
        _ => Err(fault(
            0,
            "map merge requires map or sequence of maps as the value",
        )),
    }
}

/// What a value takes when it is written out.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// Scalars, lists and maps.
    values: usize,
    /// Bytes as JSON.
    bytes: usize,
}

impl Size {
    /// Adds a value. Those of lists and maps are added on their own.
    fn add(&mut self, tree: &Tree) {
        self.values += 1;
        self.bytes += match tree {
            // Brackets and the comma.
            Tree::Array(_) | Tree::Object(_) => 3,
            Tree::String(text) => 1 + text_bytes(text),
            Tree::Null | Tree::Bool(_) => 6,
            // The longest number of 64 bits.
            Tree::Number(_) => 25,
        };
    }

    fn plus(self, other: Self) -> Self {
        Self {
            values: self.values + other.values,
            bytes: self.bytes + other.bytes,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            values: self.values - before.values,
            bytes: self.bytes - before.bytes,
        }
    }
}

/// Returns the most bytes that a string takes as JSON, with quotes and escapes.
fn text_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        // Go escapes what HTML could misread, too.
        0..=0x1f | b'<' | b'>' | b'&' => 6,
        // U+2028 and U+2029 begin with this byte.
        0xe2 => 4,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

fn key_text(key: &Tree) -> Option<String> {
    match key {
        Tree::String(text) => Some(text.to_string()),
        Tree::Bool(_) | Tree::Null => Some(key.to_string()),
        Tree::Number(_) => String::from_utf8(json::encode_untyped(key)).ok(),
        Tree::Array(_) | Tree::Object(_) => None,
    }
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    line: usize,
) -> Result<Tree, DecodeError> {
    match tag
        .filter(|tag| tag.is_yaml_core_schema())
        .map(|tag| tag.suffix.as_str())
    {
        Some("str" | "binary" | "timestamp") => return Ok(Tree::from(text)),
        Some(wanted @ ("int" | "float" | "bool" | "null")) => {
            let tree = plain(text).unwrap_or_else(|| Tree::from(text));
            let fits = match (&tree, wanted) {
                (Tree::Number(number), "int") => !number.is_f64(),
                (Tree::Number(_), "float") | (Tree::Bool(_), "bool") | (Tree::Null, "null") => true,
                _ => false,
            };
            return if fits {
                Ok(tree)
            } else {
                Err(fault(
                    line,
                    &format!("cannot decode !!str {text:?} as a !!{wanted}"),
                ))
            };
        }
        _ => {}
    }
    if style == ScalarStyle::Plain
        && tag.is_none()
        && matches!(
            text,
            ".inf" | ".Inf" | ".INF" | "-.inf" | "+.inf" | ".nan" | ".NaN" | ".NAN"
        )
    {
        return Err(fault(
            line,
            "infinity and not-a-number cannot be written as JSON",
        ));
    }
    let resolved = if style == ScalarStyle::Plain && tag.is_none() {
        plain(text)
    } else {
        None
    };
    Ok(resolved.unwrap_or_else(|| Tree::from(text)))
}

/// Resolves a plain scalar by the rules of YAML 1.1; `None` for a string.
pub(super) fn plain(text: &str) -> Option<Tree> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Tree::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            return Some(Tree::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Some(Tree::Bool(false));
        }
        _ => {}
    }
    if !text.starts_with([
        '+', '-', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
    ]) {
        return None;
    }
    let bare = text.replace('_', "");
    if let Some(whole) = integer(&bare) {
        return Some(whole);
    }
    let digits = bare.trim_start_matches(['+', '-']);
    let decimal = bare.len() - digits.len() <= 1
        && digits.contains(|character: char| character.is_ascii_digit())
        && digits.starts_with(|character: char| character.is_ascii_digit() || character == '.')
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let float = bare.strip_prefix('+').unwrap_or(&bare);
    decimal
        .then(|| float.parse::<f64>().ok())
        .flatten()
        .and_then(serde_json::Number::from_f64)
        .map(Tree::Number)
}

fn integer(text: &str) -> Option<Tree> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let radix = |prefixes: [&str; 2]| {
        prefixes
            .iter()
            .find_map(|prefix| digits.strip_prefix(prefix))
    };
    let value = if let Some(digits) = radix(["0x", "0X"]) {
        u64::from_str_radix(digits, 16).ok()?
    } else if let Some(digits) = radix(["0b", "0B"]) {
        u64::from_str_radix(digits, 2).ok()?
    } else if let Some(digits) = radix(["0o", "0O"]) {
        u64::from_str_radix(digits, 8).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    let text = if negative {
        format!("-{value}")
    } else {
        value.to_string()
    };
    scan::number(&text).map(Tree::Number)
}
