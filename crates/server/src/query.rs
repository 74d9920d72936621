//! Query parameters, and the options of verbs that are read from them.
//!
//! Numbers and booleans are parsed as upstream does: any value but `false` and `0` is true, and so
//! is a parameter without a value. Error messages are upstream's. Selectors, revisions and continue
//! tokens are passed to the registry unparsed.

use std::borrow::Cow;
use std::time::Duration;

use kinds::Tree;
use kinds::status::{FieldError, FieldFault, GroupResource, Status};
use registry::request::{DeleteOptions, FieldValidation, ListOptions, PatchKind, WriteOptions};

/// Longest `fieldManager`, in bytes.
const FIELD_MANAGER_BYTES: usize = 128;

/// The decoded parameters of a query, in their order.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Parses a query string. Bytes that are not UTF-8 after decoding are replaced, and a `%` that
    /// begins no escape stands for itself, so no query is refused.
    pub(crate) fn parse(text: Option<&'a str>) -> Self {
        Self {
            pairs: form_urlencoded::parse(text.unwrap_or_default().as_bytes()).collect(),
        }
    }

    /// Returns the first value of a parameter.
    // As in Go, the first value counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }

    /// Returns all values of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.all(name).map(str::to_owned).collect()
    }

    /// Returns a boolean: `None` if absent, false for `false` and `0`, true for anything else.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)
            .map(|value| !(value == "0" || value.eq_ignore_ascii_case("false")))
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(value) = self.get(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        parse_int(value).map(Some).map_err(Status::bad_request)
    }

    /// Returns the value of a field to which the field selector restricts a collection, or an empty
    /// string.
    pub(crate) fn selected(&self, field: &str) -> String {
        let text = self.get("fieldSelector").unwrap_or_default();
        let selector = kinds::selector::FieldSelector::parse(text).ok();
        selector
            .as_ref()
            .and_then(|selector| selector.required_value(field))
            .unwrap_or_default()
            .to_owned()
    }

    /// Returns whether the request is a watch.
    pub(crate) fn watch(&self) -> bool {
        self.flag("watch").unwrap_or(false)
    }

    /// Returns the options of a list or watch.
    pub(crate) fn list_options(&self) -> Result<ListOptions, Status> {
        // The order of upstream's decoder: of two invalid numbers it reports this one.
        let timeout_seconds = self.number("timeoutSeconds")?;
        Ok(ListOptions {
            label_selector: self.text("labelSelector"),
            field_selector: self.text("fieldSelector"),
            resource_version: self.text("resourceVersion"),
            resource_version_match: self.text("resourceVersionMatch"),
            limit: self.number("limit")?.unwrap_or(0),
            continue_token: self.text("continue"),
            allow_bookmarks: self.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events: self.flag("sendInitialEvents"),
            timeout_seconds: timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()),
        })
    }

    /// Returns the options of a delete.
    pub(crate) fn delete_options(&self) -> Result<DeleteOptions, Status> {
        Ok(DeleteOptions {
            grace_period_seconds: self.number("gracePeriodSeconds")?,
            uid: None,
            resource_version: None,
            propagation_policy: self.get("propagationPolicy").map(str::to_owned),
            orphan_dependents: self.flag("orphanDependents"),
            dry_run: self.texts("dryRun"),
        })
    }

    /// Returns the options of a create, an update (both without `patch`) or a patch. The field
    /// manager defaults to the user agent, except for apply, which must name one.
    pub(crate) fn write_options(
        &self,
        kind: &'static str,
        patch: Option<PatchKind>,
        user_agent: &str,
    ) -> Result<WriteOptions, Status> {
        let mut faults = Vec::new();
        let dry_run = self.texts("dryRun");
        if dry_run.iter().any(|value| value != "All") {
            faults.push(FieldError::not_supported(
                "dryRun",
                &Tree::from(dry_run.clone()),
                &["All"],
            ));
        }
        let manager = self.get("fieldManager").unwrap_or_default();
        faults.extend(field_manager_fault(manager));
        let force = self.flag("force");
        match patch {
            Some(PatchKind::Apply) if manager.is_empty() => {
                // Reported before the faults of `dryRun`.
                faults.insert(
                    0,
                    FieldError::required("fieldManager", "is required for apply patch"),
                );
            }
            Some(kind) if kind != PatchKind::Apply && force.is_some() => {
                faults.insert(
                    0,
                    FieldError::forbidden("force", "may not be specified for non-apply patch"),
                );
            }
            _ => {}
        }
        let field_validation = match self.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                faults.push(FieldError::not_supported(
                    "fieldValidation",
                    &Tree::from(other),
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if !faults.is_empty() {
            return Err(Status::invalid(
                GroupResource {
                    group: "meta.k8s.io",
                    resource: kind,
                },
                "",
                &faults,
            ));
        }
        let field_manager = if manager.is_empty() && patch != Some(PatchKind::Apply) {
            manager_of(user_agent)
        } else {
            manager.to_owned()
        };
        Ok(WriteOptions {
            dry_run,
            field_manager,
            field_validation,
            force,
            authorized_version: None,
        })
    }

    /// Returns the `timeout` of the request; `None` if the client sets none.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, Status> {
        let Some(text) = self.get("timeout").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match kinds::duration::parse_nanos(text) {
            Ok(nanos) => Ok(u64::try_from(nanos)
                .ok()
                .filter(|&nanos| nanos > 0)
                .map(Duration::from_nanos)),
            Err(error) => Err(Status::bad_request(format!(
                "invalid timeout specified in the request URL - {error}"
            ))),
        }
    }

    /// Returns whether JSON is indented: `pretty`, parsed as Go parses booleans, or else by the
    /// user agent.
    pub(crate) fn pretty(&self, user_agent: &str) -> bool {
        match self.get("pretty").filter(|value| !value.is_empty()) {
            Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            None => ["curl", "Wget", "Mozilla/5.0"]
                .iter()
                .any(|agent| user_agent.starts_with(agent)),
        }
    }
}

/// Returns the field manager of a user agent: the printable characters before the first slash, cut
/// to [`FIELD_MANAGER_BYTES`].
fn manager_of(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let mut manager = String::new();
    for character in name.chars().filter(|character| !character.is_control()) {
        if manager.len() + character.len_utf8() > FIELD_MANAGER_BYTES {
            break;
        }
        manager.push(character);
    }
    manager
}

fn field_manager_fault(manager: &str) -> Option<FieldError> {
    if manager.len() > FIELD_MANAGER_BYTES {
        return Some(FieldError::too_long("fieldManager", FIELD_MANAGER_BYTES));
    }
    let (position, character) = manager
        .chars()
        .enumerate()
        .find(|(_, character)| character.is_control())?;
    let body = format!(
        "Invalid value: {}: invalid character U+{:04X} (at position {position})",
        kinds::status::quoted(manager),
        u32::from(character)
    );
    Some(FieldError {
        fault: FieldFault::Invalid,
        field: "fieldManager".to_owned(),
        body,
    })
}

/// Parses an integer. The error is the one of Go's `strconv`.
fn parse_int(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = if matches!(error.kind(), PosOverflow | NegOverflow) {
            "value out of range"
        } else {
            "invalid syntax"
        };
        format!(
            "strconv.ParseInt: parsing {}: {why}",
            kinds::status::quoted(text)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (u16, String) {
        let status = result.expect_err("must be refused");
        (status.code, status.message)
    }

    #[test]
    fn booleans_are_true_unless_false_or_0() {
        for (query, expected) in [
            ("", None),
            ("watch", Some(true)),
            ("watch=", Some(true)),
            ("watch=1", Some(true)),
            ("watch=maybe", Some(true)),
            ("watch=0", Some(false)),
            ("watch=FALSE", Some(false)),
        ] {
            assert_eq!(Query::parse(Some(query)).flag("watch"), expected, "{query}");
        }
    }

    #[test]
    fn values_are_decoded() {
        let query = Query::parse(Some("labelSelector=a%3Db%2Cc&x=1+2&broken=%zz%4&utf=%ff"));
        assert_eq!(query.get("labelSelector"), Some("a=b,c"));
        assert_eq!(query.get("x"), Some("1 2"));
        assert_eq!(query.get("broken"), Some("%zz%4"));
        assert_eq!(query.get("utf"), Some("\u{fffd}"));
    }

    #[test]
    fn invalid_numbers_are_refused_with_the_message_of_upstream() {
        let expected = (
            400,
            r#"strconv.ParseInt: parsing "x": invalid syntax"#.to_owned(),
        );
        assert_eq!(
            refused(Query::parse(Some("limit=x")).list_options()),
            expected
        );
        assert_eq!(
            refused(Query::parse(Some("gracePeriodSeconds=x")).delete_options()),
            expected
        );
        let (_, message) = refused(Query::parse(Some("limit=99999999999999999999")).list_options());
        assert!(message.ends_with("value out of range"), "{message}");
        assert_eq!(
            Query::parse(Some("limit=&timeoutSeconds=-3"))
                .list_options()
                .expect("valid")
                .timeout_seconds,
            None
        );
    }

    #[test]
    fn write_options_are_refused_field_by_field() {
        let long = "x".repeat(129);
        for (query, patch, expected) in [
            (
                "dryRun=Some".to_owned(),
                None,
                r#"dryRun: Unsupported value: ["Some"]: supported values: "All""#,
            ),
            (
                "dryRun=".to_owned(),
                None,
                r#"dryRun: Unsupported value: [""]: supported values: "All""#,
            ),
            (
                "dryRun=All&dryRun=x".to_owned(),
                None,
                r#"dryRun: Unsupported value: ["All","x"]: supported values: "All""#,
            ),
            (
                format!("fieldManager={long}"),
                None,
                "fieldManager: Too long: may not be more than 128 bytes",
            ),
            (
                "fieldManager=a%07b".to_owned(),
                None,
                r#"fieldManager: Invalid value: "a\ab": invalid character U+0007 (at position 1)"#,
            ),
            (
                "fieldValidation=strict".to_owned(),
                None,
                r#"fieldValidation: Unsupported value: "strict": supported values: "", "Ignore", "Strict", "Warn""#,
            ),
            (
                "force=true".to_owned(),
                Some(PatchKind::Merge),
                "force: Forbidden: may not be specified for non-apply patch",
            ),
            (
                String::new(),
                Some(PatchKind::Apply),
                "fieldManager: Required value: is required for apply patch",
            ),
        ] {
            let (code, message) = refused(Query::parse(Some(&query)).write_options(
                "CreateOptions",
                patch,
                "agent/1",
            ));
            assert_eq!(
                (code, message),
                (
                    422,
                    format!(r#"CreateOptions.meta.k8s.io "" is invalid: {expected}"#)
                ),
                "{query}"
            );
        }
    }

    #[test]
    fn the_field_manager_comes_from_the_user_agent_unless_it_is_named() {
        let manager = |query: &str, agent: &str| {
            Query::parse(Some(query))
                .write_options("CreateOptions", None, agent)
                .expect("valid")
                .field_manager
        };
        assert_eq!(manager("", "tool/1.2 (x) y"), "tool");
        assert_eq!(manager("fieldManager=me", "tool/1.2"), "me");
        assert_eq!(manager("", ""), "");
        assert_eq!(manager("", &"é".repeat(100)).len(), 128);
    }

    #[test]
    fn timeouts_are_go_durations() {
        let timeout = |query: &'static str| Query::parse(Some(query)).timeout();
        assert_eq!(timeout("").expect("valid"), None);
        assert_eq!(
            timeout("timeout=32s").expect("valid"),
            Some(Duration::from_secs(32))
        );
        let expected =
            r#"invalid timeout specified in the request URL - time: invalid duration "soon""#;
        assert_eq!(refused(timeout("timeout=soon")), (400, expected.to_owned()));
    }

    #[test]
    fn browsers_and_curl_get_indented_json() {
        let pretty = |query: &str, agent: &str| Query::parse(Some(query)).pretty(agent);
        assert!(
            pretty("", "curl/8.0") && pretty("", "Mozilla/5.0 x") && pretty("pretty=1", "kubectl")
        );
        assert!(
            !pretty("pretty=false", "curl/8.0")
                && !pretty("", "kubectl")
                && !pretty("pretty=maybe", "curl/8.0")
        );
    }
}
