//! Names as segments of URL paths.

use std::borrow::Cow;

use crate::names;

/// Returns the name as one segment of a URL path: every byte other than unreserved ones (RFC 3986,
/// section 2.3) and the colon, which names of roles contain, is percent-encoded.
///
/// Whatever the name contains, it cannot reach another resource: a slash is no separator, a
/// question mark begins no query, and the names `.` and `..` are encoded, too. Names that
/// Kubernetes gives its own objects are returned unchanged.
///
/// ```
/// use exeunt_kinds::path::segment;
/// assert_eq!(segment("web-0"), "web-0");
/// assert_eq!(segment("../secrets/key?watch=1"), "..%2Fsecrets%2Fkey%3Fwatch%3D1");
/// ```
#[must_use]
pub fn segment(name: &str) -> Cow<'_, str> {
    let is_dots = matches!(name, "." | "..");
    if !is_dots && name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut encoded = String::with_capacity(name.len() * 3);
    for byte in name.bytes() {
        if is_plain(byte) && !is_dots {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(encoded)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte)
}

/// Returns whether the text has the form of an `apiVersion`: `v1` or `apps/v1`. Others lead to no
/// API, and must not become part of a path.
#[must_use]
pub fn is_api_version(text: &str) -> bool {
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    let is_group = if text.contains('/') {
        names::dns_subdomain(group).is_empty()
    } else {
        true
    };
    is_group && names::dns_label(version).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_reaches_beyond_its_segment() {
        for (name, expected) in [
            ("web-0", "web-0"),
            ("system:node:a.b", "system:node:a.b"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("../x", "..%2Fx"),
            ("a%2fb", "a%252fb"),
            ("a?dryRun=All", "a%3FdryRun%3DAll"),
            ("a#b", "a%23b"),
            ("a\\b", "a%5Cb"),
            ("a b\r\n", "a%20b%0D%0A"),
            ("ä", "%C3%A4"),
            ("", ""),
        ] {
            assert_eq!(segment(name), expected, "{name:?}");
        }
    }

    #[test]
    fn only_groups_and_versions_are_api_versions() {
        for good in ["v1", "apps/v1", "metrics.example.com/v1beta1"] {
            assert!(is_api_version(good), "{good}");
        }
        for bad in [
            "",
            "/v1",
            "apps/",
            "../v1",
            "apps/v1/x",
            "apps/v1?x",
            "a/../v1",
            "..",
        ] {
            assert!(!is_api_version(bad), "{bad}");
        }
    }
}
