//! `Warning` headers of responses, limited as upstream limits them
//! (`k8s.io/apiserver/pkg/endpoints/filters/warning.go`).

use std::collections::HashSet;

use http::header::WARNING;
use http::{HeaderMap, HeaderValue};

/// Characters of all warnings of a response. If they have more, each is cut off.
const MAX_CHARACTERS: usize = 4 * 1024;
/// Characters of a warning that is cut off.
const MAX_CUT_CHARACTERS: usize = 256;

/// Adds a `Warning` header for each distinct warning. Warnings beyond the limit are cut off, then
/// left out.
pub(crate) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let mut seen = HashSet::new();
    let distinct: Vec<&str> = warnings
        .iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty() && seen.insert(*text))
        .collect();
    let length = |text: &str| text.chars().count();
    let cut = distinct.iter().map(|text| length(text)).sum::<usize>() > MAX_CHARACTERS;
    let mut written = 0;
    for text in distinct {
        let text = match text.char_indices().nth(MAX_CUT_CHARACTERS) {
            Some((end, _)) if cut => &text[..end],
            _ => text,
        };
        written += length(text);
        if written > MAX_CHARACTERS {
            break;
        }
        if let Ok(value) = HeaderValue::from_bytes(header(text).as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}

/// Returns the value of the header, a quoted string of HTTP, which escapes quotes and backslashes
/// and cannot hold control characters.
fn header(text: &str) -> String {
    let mut value = String::with_capacity(text.len() + 8);
    value.push_str("299 - \"");
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            value.push('\\');
        }
        value.push(character);
    }
    value.push('"');
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(warnings: &[String]) -> Vec<usize> {
        let mut headers = HeaderMap::new();
        warn(&mut headers, warnings);
        headers
            .get_all(WARNING)
            .iter()
            .map(HeaderValue::len)
            .collect()
    }

    #[test]
    fn warnings_are_cut_off_and_left_out_beyond_the_limit() {
        let long = |count: usize| -> Vec<String> {
            (0..count)
                .map(|at| format!("{at:04}{}", "x".repeat(996)))
                .collect()
        };
        assert_eq!(headers(&long(4)), [1008; 4]);
        assert_eq!(headers(&long(5)), [264; 5]);
        assert_eq!(headers(&long(100)), [264; 16]);
        assert_eq!(headers(&vec!["same".to_owned(); 3]), [12]);
    }
}
