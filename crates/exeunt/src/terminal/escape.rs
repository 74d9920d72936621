//! Shows characters that a terminal would obey or hide. Pure.

use std::borrow::Cow;

/// Escapes text for one line: line breaks, control characters, and invisible or reordering
/// characters become `\n`, `\r` or `\u{…}`. A tab stays, because it can do no harm.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, push_escape)
}

/// Escapes text of several lines: line feeds stay.
pub(crate) fn escape_block(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character == '\n', push_escape)
}

/// Escapes JSON text in the way of JSON, so that its meaning stays. Outside of strings, JSON has
/// only characters that stay.
pub(super) fn escape_json(json: &str) -> Cow<'_, str> {
    escaped(
        json,
        |character| character == '\n',
        |out, character| {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        },
    )
}

fn escaped(
    text: &str,
    keeps: impl Fn(char) -> bool,
    push: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let is_shown = |character: char| !is_dangerous(character) || keeps(character);
    let Some(first) = text.find(|character| !is_shown(character)) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for character in text[first..].chars() {
        if is_shown(character) {
            out.push(character);
        } else {
            push(&mut out, character);
        }
    }
    Cow::Owned(out)
}

fn push_escape(out: &mut String, character: char) {
    match character {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        _ => out.extend(character.escape_unicode()),
    }
}

/// Returns whether a terminal may act on the character, or shows nothing for it, or shows the text
/// around it in another order.
fn is_dangerous(character: char) -> bool {
    match character {
        '\t' => false,
        // The quick answer for nearly everything.
        ' '..='~' => false,
        _ if character.is_control() => true,
        // Soft hyphen, combining grapheme joiner, the Arabic direction mark, fillers of Hangul and
        // Khmer, the Mongolian vowel separator and variation selectors.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' => true,
        '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' => true,
        // Zero width, marks of direction; line and paragraph separator, embeddings and overrides;
        // invisible operators, isolates, deprecated formats.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' => true,
        // Interlinear annotations and noncharacters.
        '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' => true,
        // Musical and shorthand formats; tags and further variation selectors.
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_or_hide_is_shown() {
        for (text, expected) in [
            ("web-0: größer 中文 🙂\tx", "web-0: größer 中文 🙂\tx"),
            (
                "\u{1b}[2J\u{1b}]0;title\u{7}",
                r"\u{1b}[2J\u{1b}]0;title\u{7}",
            ),
            ("\u{9b}31m\u{7f}\u{0}", r"\u{9b}31m\u{7f}\u{0}"),
            ("a\r\nb", r"a\r\nb"),
            (
                "a\u{202e}b\u{2066}c\u{200f}",
                r"a\u{202e}b\u{2066}c\u{200f}",
            ),
            (
                "z\u{200b}\u{200d}\u{feff}\u{2060}w",
                r"z\u{200b}\u{200d}\u{feff}\u{2060}w",
            ),
            ("\u{e0041}\u{ad}\u{2028}", r"\u{e0041}\u{ad}\u{2028}"),
        ] {
            assert_eq!(escape(text), expected);
            assert_eq!(
                escape(&escape(text)),
                expected,
                "escaping twice changes nothing"
            );
        }
        assert_eq!(escape_block("a\nb\r\u{8}"), "a\nb\\r\\u{8}");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"m": "\u{1b}[2J\u{9b}\u{202e}\u{e0041}\u{7f}\n"});
        for text in [
            value.to_string(),
            serde_json::to_string_pretty(&value).expect("JSON"),
        ] {
            let shown = escape_json(&text);
            assert!(
                !shown.chars().any(|c| is_dangerous(c) && c != '\n'),
                "{shown}"
            );
            let read: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
            assert_eq!(read, value);
        }
    }
}
