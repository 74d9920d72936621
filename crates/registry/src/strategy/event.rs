//! Validation of `Event`, which is served by two groups: core and `events.k8s.io`.
//!
//! The groups name some fields differently. In both, an event with `eventTime` has required fields
//! and length limits. Only `events.k8s.io` requires `eventTime` and makes fields immutable.

use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::meta::invalid_text;
use super::{FieldNames, Strategy, StrategyContext};
use crate::tree::{at, text};

/// Strategy of events in one of the two groups.
pub(crate) struct Event {
    is_new: bool,
}

/// Maximum lengths of strings in new events, in bytes.
const WORDS_LIMIT: usize = 128;
const NOTE_LIMIT: usize = 1024;

impl Event {
    /// Strategy of the core group.
    pub(crate) const CORE: Self = Self { is_new: false };
    /// Strategy of `events.k8s.io`.
    pub(crate) const NEW: Self = Self { is_new: true };
}

/// Fields that field selectors support, by their names in the core group.
const FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

impl Strategy for Event {
    fn has_own_metadata_rules(&self) -> bool {
        false
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        legacy(object, self.is_new, &mut out);
        if self.is_new {
            of_the_new_group(object, &mut out);
        }
        out
    }

    fn validate_update(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        legacy(new, self.is_new, &mut out);
        if self.is_new {
            for (shown, field) in NEW_FIELDS {
                let (now, before) = (at(new, &[field]), at(old, &[field]));
                if now != before && !(crate::tree::is_empty(now) && crate::tree::is_empty(before)) {
                    out.push(FieldError::invalid(shown, now, "field is immutable"));
                }
            }
        }
        out
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(FIELDS)
    }

    fn field_alias(&self, field: &str) -> Option<&'static str> {
        if field == "reportingController" {
            return Some("reportingComponent");
        }
        let member = field.strip_prefix("regarding.")?;
        FIELDS
            .iter()
            .copied()
            .find(|known| known.strip_prefix("involvedObject.") == Some(member))
    }

    fn selectable(&self, object: &Tree, field: &str) -> String {
        if let Some(member) = field.strip_prefix("involvedObject.") {
            return text(about(object).1, &[member]).to_owned();
        }
        let either = |one: &[&str], other: &[&str]| {
            let first = text(object, one);
            if first.is_empty() {
                text(object, other).to_owned()
            } else {
                first.to_owned()
            }
        };
        match field {
            "reportingComponent" => either(&["reportingComponent"], &["reportingController"]),
            "source" => {
                let source = either(&["source", "component"], &["deprecatedSource", "component"]);
                if source.is_empty() {
                    either(&["reportingComponent"], &["reportingController"])
                } else {
                    source
                }
            }
            other => super::text_at(object, other),
        }
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// Immutable fields of a new event, each by its `events.k8s.io` name and its stored name.
const NEW_FIELDS: [(&str, &str); 8] = [
    ("reportingController", "reportingComponent"),
    ("reportingInstance", "reportingInstance"),
    ("action", "action"),
    ("reason", "reason"),
    ("regarding", "involvedObject"),
    ("related", "related"),
    ("note", "message"),
    ("type", "type"),
];

/// Validates the rules of both groups. An event with `eventTime` follows the newer ones.
fn legacy(object: &Tree, is_new: bool, out: &mut FieldErrors) {
    let namespace = text(object, &["metadata", "namespace"]);
    let theirs = text(object, &["involvedObject", "namespace"]);
    let mut foreign = |is_foreign: bool| {
        if is_foreign {
            out.push(invalid_text(
                "involvedObject.namespace",
                theirs,
                "does not match event.namespace",
            ));
        }
    };
    // Events about cluster-scoped objects are stored in the namespace `default`.
    if at(object, &["eventTime"]).is_null() {
        foreign(if theirs.is_empty() {
            !matches!(namespace, "" | "default")
        } else {
            theirs != namespace
        });
    } else {
        foreign(theirs.is_empty() && !matches!(namespace, "default" | "kube-system"));
        timed(object, is_new, out);
    }
    out.extend(
        names::dns_subdomain(namespace)
            .into_iter()
            .map(|fault| invalid_text("namespace", namespace, fault)),
    );
}

fn timed(object: &Tree, is_new: bool, out: &mut FieldErrors) {
    let controller = text(object, &["reportingComponent"]);
    let field = if is_new {
        "reportingController"
    } else {
        "reportingComponent"
    };
    if controller.is_empty() {
        out.push(FieldError::required(field, ""));
    }
    out.extend(
        names::qualified_name(controller)
            .into_iter()
            .map(|fault| invalid_text(field, controller, fault)),
    );
    for field in ["reportingInstance", "action", "reason"] {
        let value = text(object, &[field]);
        if value.is_empty() {
            out.push(FieldError::required(field, ""));
        }
        if value.len() > WORDS_LIMIT {
            out.push(invalid_text(
                field,
                "",
                format!("can have at most {WORDS_LIMIT} characters"),
            ));
        }
    }
    if text(object, &["message"]).len() > NOTE_LIMIT {
        out.push(invalid_text(
            "message",
            "",
            format!("can have at most {NOTE_LIMIT} characters"),
        ));
    }
}

fn of_the_new_group(object: &Tree, out: &mut FieldErrors) {
    if at(object, &["eventTime"]).is_null() {
        out.push(FieldError::required("eventTime", ""));
    }
    let series = at(object, &["series"]);
    if series.is_object() {
        let count = series
            .get("count")
            .and_then(Tree::as_i64)
            .unwrap_or_default();
        if count < 2 {
            out.push(invalid_text("series.count", "", "should be at least 2"));
        }
        if at(series, &["lastObservedTime"]).is_null() {
            out.push(FieldError::required("series.lastObservedTime", ""));
        }
    }
    let kind = text(object, &["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        out.push(invalid_text(
            "type",
            "",
            format!("has invalid value: {kind}"),
        ));
    }
    for (shown, field) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ] {
        let value = at(object, &[field]);
        if !crate::tree::is_empty(value) && value.as_i64() != Some(0) {
            out.push(invalid_text(shown, "", "needs to be unset"));
        }
    }
}

/// Returns the object that the event refers to, with the name of its field in this version.
fn about(object: &Tree) -> (&'static str, &Tree) {
    let member = if at(object, &["regarding"]).is_object() {
        "regarding"
    } else {
        "involvedObject"
    };
    (member, at(object, &[member]))
}
