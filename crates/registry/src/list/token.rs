//! The continue token: the revision of a list's first page, and the key at which the last page
//! ended. It is opaque to clients and has upstream's form.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use kinds::status::Status;
use serde::{Deserialize, Serialize};
use store::Revision;

use crate::request::Refusal;

const VERSION: &str = "meta.k8s.io/v1";
/// Trailing bits are ignored, as Go does.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// The position of the next page.
#[derive(Debug, PartialEq)]
pub(super) struct Token {
    /// The revision to read; `None` for the newest one, which makes the list inconsistent.
    pub(super) revision: Option<Revision>,
    /// The key of the last item of the page before.
    pub(super) start_after: String,
}

#[derive(Deserialize, Serialize)]
struct Wire {
    #[serde(rename = "v", default)]
    version: String,
    #[serde(rename = "rv", default)]
    revision: i64,
    #[serde(default)]
    start: String,
}

/// Returns the token for the page after `last`, a key below `prefix`.
pub(super) fn render(revision: Option<Revision>, last: &str, prefix: &str) -> String {
    let revision = revision.map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
    let start = format!("{}\0", last.strip_prefix(prefix).unwrap_or(last));
    let wire = Wire {
        version: VERSION.to_owned(),
        revision,
        start,
    };
    BASE64.encode(serde_json::to_string(&wire).unwrap_or_default())
}

/// Parses a token; 400 when this server did not issue it.
pub(super) fn parse(text: &str, prefix: &str) -> Result<Token, Refusal> {
    let refuse = |why: &str| -> Refusal {
        Status::bad_request(format!(
            "invalid continue token: continue key is not valid: {why}"
        ))
        .into()
    };
    let bytes = BASE64
        .decode(text.trim_end_matches('='))
        .map_err(|_| refuse("illegal base64 data"))?;
    let wire: Wire = serde_json::from_slice(&bytes).map_err(|_| refuse(&json_fault(&bytes)))?;
    if wire.version != VERSION {
        return Err(refuse(&format!(
            "server does not recognize this encoded version {}",
            wire.version
        )));
    }
    if wire.start.is_empty() {
        return Err(refuse("encoded start key empty (version meta.k8s.io/v1)"));
    }
    if wire.start.split('/').any(|part| part == "..") {
        return Err(refuse(&wire.start));
    }
    let revision = match wire.revision {
        0 => {
            return Err(refuse(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        revision => u64::try_from(revision).ok().map(Revision),
    };
    Ok(Token {
        revision,
        start_after: format!("{prefix}{}", wire.start.trim_end_matches('\0')),
    })
}

/// Returns the error of Go's decoder for the first byte of a text that is not JSON.
fn json_fault(bytes: &[u8]) -> String {
    let Some(&first) = bytes.first() else {
        return "unexpected end of JSON input".to_owned();
    };
    if first == b'{' {
        return "unexpected end of JSON input".to_owned();
    }
    let is_printable = (0x20..0x7f).contains(&first) || (first > 0xa0 && first != 0xad);
    let shown = if is_printable {
        char::from(first).to_string()
    } else {
        format!("\\u{first:04x}")
    };
    format!("invalid character '{shown}' looking for beginning of value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_parsed_back() {
        let token = render(Some(Revision(7)), "pods/a/b", "pods/a/");
        assert_eq!(
            parse(&token, "pods/a/").expect("valid"),
            Token {
                revision: Some(Revision(7)),
                start_after: "pods/a/b".to_owned()
            }
        );
        let open = render(None, "pods/a/b", "pods/");
        assert_eq!(
            parse(&open, "pods/").expect("valid"),
            Token {
                revision: None,
                start_after: "pods/a/b".to_owned()
            }
        );
    }

    #[test]
    fn tokens_of_other_servers_are_refused() {
        let check = |token: &str, expected: &str| {
            let refusal = parse(token, "pods/a/").expect_err("refused");
            assert_eq!(
                refusal.status.message,
                format!("invalid continue token: continue key is not valid: {expected}")
            );
        };
        check(
            "garbage",
            "invalid character '\\u0081' looking for beginning of value",
        );
        check(
            "rubbish",
            "invalid character '®' looking for beginning of value",
        );
        check(
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0",
            "encoded start key empty (version meta.k8s.io/v1)",
        );
        check(
            "eyJ2IjoibWV0YS5rOHMuaW8vdjkiLCJydiI6MSwic3RhcnQiOiJhIn0",
            "server does not recognize this encoded version meta.k8s.io/v9",
        );
    }
}
