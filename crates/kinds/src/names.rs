//! Validation of names: DNS labels and subdomains, qualified names, label values, keys.
//!
//! Every function returns the faults of a value in the API's words; an empty list means that the
//! value is valid. The caller decides which function a field needs. The patterns are matched by
//! hand and not with regular expressions, because these checks run for every label of every object.

/// Maximum length of a DNS label, a label value and the name part of a qualified name, in bytes.
pub const LABEL_LIMIT: usize = 63;
/// Maximum length of a DNS subdomain and of a key of a ConfigMap, in bytes.
pub const SUBDOMAIN_LIMIT: usize = 253;
/// Maximum length of the name of a port (RFC 6335), in bytes.
const PORT_NAME_LIMIT: usize = 15;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const UNDERSCORE_SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const WILDCARD_TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY_TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const PERCENT_TEXT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// Validates a DNS label (RFC 1123): `my-name`, `123-abc`.
#[must_use]
pub fn dns_label(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > LABEL_LIMIT {
        faults.push(longer_than(LABEL_LIMIT));
    }
    if !is_dns_label(value) {
        let is_subdomain = value.split('.').all(is_dns_label);
        faults.push(if is_subdomain {
            "must not contain dots".to_owned()
        } else {
            LABEL_TEXT.to_owned()
        });
    }
    faults
}

/// Validates a DNS label that starts with a character (RFC 1035).
#[must_use]
pub fn dns_1035_label(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > LABEL_LIMIT {
        faults.push(longer_than(LABEL_LIMIT));
    }
    if !(is_dns_label(value) && value.starts_with(|first: char| first.is_ascii_lowercase())) {
        faults.push(LABEL_1035_TEXT.to_owned());
    }
    faults
}

/// Validates a DNS subdomain (RFC 1123): `example.com`.
#[must_use]
pub fn dns_subdomain(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > SUBDOMAIN_LIMIT {
        faults.push(longer_than(SUBDOMAIN_LIMIT));
    }
    if !value.split('.').all(is_dns_label) {
        faults.push(SUBDOMAIN_TEXT.to_owned());
    }
    faults
}

/// Validates a search domain of a DNS resolver: a subdomain whose labels may contain underscores.
#[must_use]
pub fn dns_subdomain_with_underscores(value: &str) -> Vec<String> {
    let is_label = |label: &str| {
        let bare = label.strip_prefix('_').unwrap_or(label);
        is_dns_label(&bare.replace('_', "-")) && !bare.starts_with('_') && !bare.ends_with('_')
    };
    let mut faults = Vec::new();
    if value.len() > SUBDOMAIN_LIMIT {
        faults.push(longer_than(SUBDOMAIN_LIMIT));
    }
    if !value.split('.').all(is_label) {
        faults.push(UNDERSCORE_SUBDOMAIN_TEXT.to_owned());
    }
    faults
}

/// Validates a wildcard subdomain: `*.example.com`.
#[must_use]
pub fn wildcard_dns_subdomain(value: &str) -> Vec<String> {
    let is_wildcard = value
        .strip_prefix("*.")
        .is_some_and(|rest| rest.split('.').all(is_dns_label));
    let mut faults = Vec::new();
    if value.len() > SUBDOMAIN_LIMIT {
        faults.push(longer_than(SUBDOMAIN_LIMIT));
    }
    if !is_wildcard {
        faults.push(WILDCARD_TEXT.to_owned());
    }
    faults
}

/// Validates a qualified name, the form of label keys: `name` or `example.com/name`.
#[must_use]
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a valid label key {NAME_PART_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            faults.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            faults.extend(
                dns_subdomain(prefix)
                    .into_iter()
                    .map(|fault| format!("prefix part {fault}")),
            );
            name
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_LIMIT {
        faults.push(format!(
            "name part must be no more than {LABEL_LIMIT} bytes"
        ));
    }
    if !is_name_part(name) {
        faults.push(format!("name part {NAME_PART_TEXT}"));
    }
    faults
}

/// Validates the value of a label.
#[must_use]
pub fn label_value(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > LABEL_LIMIT {
        faults.push(format!("must be no more than {LABEL_LIMIT} bytes"));
    }
    if !value.is_empty() && !is_name_part(value) {
        faults.push(LABEL_VALUE_TEXT.to_owned());
    }
    faults
}

/// Validates a name that becomes a segment of a URL path.
#[must_use]
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    path_segment_prefix(value)
}

/// Validates the prefix of such a name (`generateName`).
#[must_use]
pub fn path_segment_prefix(value: &str) -> Vec<String> {
    ["/", "%"]
        .iter()
        .filter(|part| value.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// Validates a key of a ConfigMap or Secret.
#[must_use]
pub fn config_key(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > SUBDOMAIN_LIMIT {
        faults.push(longer_than(SUBDOMAIN_LIMIT));
    }
    if value.is_empty() || !value.bytes().all(is_name_byte) {
        faults.push(CONFIG_KEY_TEXT.to_owned());
    }
    match value {
        "." => faults.push("must not be '.'".to_owned()),
        ".." => faults.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => faults.push("must not start with '..'".to_owned()),
        _ => {}
    }
    faults
}

/// Validates the name of an environment variable.
#[must_use]
pub fn environment_variable(value: &str) -> Vec<String> {
    let is_printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    if !value.is_empty() && value.bytes().all(is_printable) {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// Validates the name of a port (RFC 6335, section 5.1).
#[must_use]
pub fn port_name(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > PORT_NAME_LIMIT {
        faults.push(longer_than(PORT_NAME_LIMIT));
    }
    if value.is_empty() || !value.bytes().all(is_label_byte) {
        faults.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        faults.push("must contain at least one character (a-z)".to_owned());
    }
    if value.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

/// Validates a percentage: `50%`.
#[must_use]
pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or_default();
    let is_percent = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_percent {
        Vec::new()
    } else {
        vec![PERCENT_TEXT.to_owned()]
    }
}

fn longer_than(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Matches the pattern of a DNS label, without its length.
fn is_dns_label(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(is_label_byte)
        && !value.starts_with('-')
        && !value.ends_with('-')
}

/// Matches the pattern of the name part of a qualified name, without its length.
fn is_name_part(value: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    ends(bytes.first()) && ends(bytes.last()) && value.bytes().all(is_name_byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Validator = fn(&str) -> Vec<String>;

    /// The patterns in the API's documentation.
    const PATTERNS: [(Validator, &str, usize); 6] = [
        (dns_label, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 63),
        (dns_1035_label, "^[a-z]([-a-z0-9]*[a-z0-9])?$", 63),
        (
            dns_subdomain,
            r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            253,
        ),
        (
            label_value,
            "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
            63,
        ),
        (config_key, "^[-._a-zA-Z0-9]+$", 253),
        (percent, "^[0-9]+%$", usize::MAX),
    ];

    proptest! {
        #[test]
        fn validators_agree_with_the_documented_patterns(
            value in "[-a-zA-Z0-9_.%*/é]{0,5}|[a-z.]{60,66}|[a-z]{250,256}",
        ) {
            for (validator, pattern, limit) in PATTERNS {
                let pattern = regex::Regex::new(pattern).unwrap();
                // The pattern of keys does not exclude `.` and names that start with `..`.
                let is_key = validator as usize == config_key as Validator as usize;
                let is_dots = is_key && (value == "." || value.starts_with(".."));
                let expected = pattern.is_match(&value) && value.len() <= limit && !is_dots;
                let is_valid = validator(&value).is_empty();
                prop_assert_eq!(is_valid, expected, "{} against {}", value, pattern);
            }
        }
    }

    #[test]
    fn faults_of_qualified_names_name_the_part() {
        let table: [(&str, &[&str]); 6] = [
            ("example.com/name", &[]),
            ("a b", &["name part must consist"]),
            ("Up.er/x", &["prefix part a lowercase RFC 1123 subdomain"]),
            ("/x", &["prefix part must be non-empty"]),
            (
                "",
                &["name part must be non-empty", "name part must consist"],
            ),
            ("x/y/z", &["a valid label key must consist"]),
        ];
        for (value, expected) in table {
            let faults = qualified_name(value);
            assert_eq!(faults.len(), expected.len(), "{value}: {faults:?}");
            assert!(
                faults
                    .iter()
                    .zip(expected)
                    .all(|(fault, start)| fault.starts_with(start)),
                "{value}: {faults:?}"
            );
        }
        assert_eq!(
            qualified_name(&"x".repeat(64)),
            ["name part must be no more than 63 bytes"]
        );
    }

    #[test]
    fn the_fault_of_a_label_with_dots_names_the_dots() {
        assert_eq!(dns_label("x.y"), ["must not contain dots"]);
        assert_eq!(dns_label("x..y"), [LABEL_TEXT]);
        assert_eq!(
            dns_label(&"x".repeat(64)),
            ["must be no more than 63 characters"]
        );
    }

    #[test]
    fn other_validators_have_their_own_messages() {
        assert_eq!(path_segment(".."), ["may not be '..'"]);
        assert_eq!(
            path_segment("a/b%c"),
            ["may not contain '/'", "may not contain '%'"]
        );
        assert_eq!(config_key("..x"), ["must not start with '..'"]);
        assert_eq!(
            port_name("-8--0-"),
            [
                "must contain at least one character (a-z)",
                "must not contain consecutive hyphens",
                "must not begin or end with a hyphen"
            ]
        );
        assert!(
            port_name("http").is_empty()
                && environment_variable("MY VAR").is_empty()
                && !environment_variable("a=b").is_empty()
        );
        assert!(
            wildcard_dns_subdomain("*.example.com").is_empty()
                && !wildcard_dns_subdomain("example.com").is_empty()
        );
    }
}
