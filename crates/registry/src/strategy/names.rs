//! The rules for names, label keys and label values, each as the list of texts with which the API
//! refuses what breaks them. An empty list means that the text is sound.

const SUBDOMAIN_LIMIT: usize = 253;
const LABEL_LIMIT: usize = 63;
const PORT_NAME_LIMIT: usize = 15;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const KEY_NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";

fn is_label(text: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_key_name(text: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
}

fn collect(too_long: Option<String>, malformed: Option<&str>) -> Vec<String> {
    too_long.into_iter().chain(malformed.map(str::to_owned)).collect()
}

/// A name of one or more DNS labels: what most objects may be called.
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    let too_long = (text.len() > SUBDOMAIN_LIMIT).then(|| format!("must be no more than {SUBDOMAIN_LIMIT} characters"));
    collect(too_long, (!is_subdomain(text)).then_some(SUBDOMAIN))
}

/// One DNS label: namespaces, containers, volumes, services.
pub(crate) fn label(text: &str) -> Vec<String> {
    let too_long = (text.len() > LABEL_LIMIT).then(|| format!("must be no more than {LABEL_LIMIT} characters"));
    let malformed = (!is_label(text)).then(|| if is_subdomain(text) { "must not contain dots" } else { LABEL });
    collect(too_long, malformed)
}

/// One DNS label of the older RFC, which must begin with a letter.
pub(crate) fn label_1035(text: &str) -> Vec<String> {
    let too_long = (text.len() > LABEL_LIMIT).then(|| format!("must be no more than {LABEL_LIMIT} characters"));
    let sound = is_label(text) && text.starts_with(|letter: char| letter.is_ascii_lowercase());
    collect(too_long, (!sound).then_some(LABEL_1035))
}

/// A key of a label, annotation or finalizer: `[prefix/]name`.
pub(crate) fn qualified(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else if prefix.len() > SUBDOMAIN_LIMIT {
                faults.push(format!("prefix part must be no more than {SUBDOMAIN_LIMIT} bytes"));
            } else if !is_subdomain(prefix) {
                faults.push(format!("prefix part {SUBDOMAIN}"));
            }
            name
        }
        _ => return vec![format!("a valid label key {KEY_NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")],
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_LIMIT {
        faults.push(format!("name part must be no more than {LABEL_LIMIT} bytes"));
    }
    if !is_key_name(name) {
        faults.push(format!("name part {KEY_NAME}"));
    }
    faults
}

/// The value of a label.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let too_long = (text.len() > LABEL_LIMIT).then(|| format!("must be no more than {LABEL_LIMIT} bytes"));
    collect(too_long, (!text.is_empty() && !is_key_name(text)).then_some(LABEL_VALUE))
}

/// A key of a config map or secret.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let too_long = (text.len() > SUBDOMAIN_LIMIT).then(|| format!("must be no more than {SUBDOMAIN_LIMIT} characters"));
    let sound = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'));
    let mut faults = collect(too_long, (!sound).then_some(CONFIG_KEY));
    if text == "." || text == ".." {
        faults.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        faults.push("must not start with '..'".to_owned());
    }
    faults
}

/// The name of a variable in a container's environment.
pub(crate) fn env_name(text: &str) -> Vec<String> {
    let sound = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
    collect(None, (!sound).then_some(ENV_NAME))
}

/// The name of a port.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > PORT_NAME_LIMIT {
        faults.push(format!("must be no more than {PORT_NAME_LIMIT} characters"));
    }
    if !text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-') || text.is_empty() {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.contains(|letter: char| letter.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

/// A part of a URL path: the least that any name must be.
pub(crate) fn path_segment(text: &str, prefix: bool) -> Vec<String> {
    if !prefix && (text == "." || text == "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].into_iter().filter(|part| text.contains(part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// A name that a name will be generated from: what follows makes a trailing hyphen sound.
pub(crate) fn without_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(front) if !front.is_empty() => format!("{front}a"),
        _ => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&str) -> Vec<String>, text: &str, expected: &[&str]) {
        let faults = rule(text);
        assert_eq!(faults.len(), expected.len(), "{text:?}: {faults:?}");
        for (fault, part) in faults.iter().zip(expected) {
            assert!(fault.starts_with(part), "{text:?}: {fault}");
        }
    }

    #[test]
    fn names_are_judged_as_the_recordings_show() {
        for sound in ["a", "1a", "a.b", "a-b.c"] {
            check(subdomain, sound, &[]);
        }
        for broken in ["", "-a", "a..b", "A", "a_b", "a-"] {
            check(subdomain, broken, &["a lowercase RFC 1123 subdomain"]);
        }
        check(subdomain, &"a".repeat(254), &["must be no more than 253 characters"]);
        check(label, "x.y", &["must not contain dots"]);
        check(label, &"x".repeat(64), &["must be no more than 63 characters"]);
        check(label_1035, "1a", &["a DNS-1035 label"]);
    }

    #[test]
    fn label_keys_and_values_are_judged_as_the_recordings_show() {
        check(qualified, "a.b/c", &[]);
        check(qualified, "/x", &["prefix part must be non-empty"]);
        check(qualified, "Up.er/x", &["prefix part a lowercase"]);
        check(qualified, "", &["name part must be non-empty", "name part must consist"]);
        check(qualified, "x/y/z", &["a valid label key must consist"]);
        check(qualified, &"x".repeat(64), &["name part must be no more than 63 bytes"]);
        check(label_value, "", &[]);
        check(label_value, "v v", &["a valid label must be"]);
        check(label_value, &"v".repeat(64), &["must be no more than 63 bytes"]);
    }

    #[test]
    fn keys_and_ports_have_rules_of_their_own() {
        check(config_key, "..a", &["must not start with '..'"]);
        check(config_key, "a b", &["a valid config key"]);
        check(port_name, "http-2", &[]);
        check(port_name, "80", &["must contain at least one letter"]);
        check(port_name, "-a--b", &["must not contain consecutive hyphens", "must not begin or end"]);
    }
}
