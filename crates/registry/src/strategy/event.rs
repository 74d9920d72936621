//! `Event`, of both groups: the core one and `events.k8s.io`, which name some fields differently.

use kinds::{Tree, status::FieldError};

use super::meta::invalid_text;
use super::{Context, Strategy};
use crate::tree::{at, text};

pub(crate) struct Event;

impl Strategy for Event {
    fn has_own_metadata_rules(&self) -> bool {
        false
    }

    fn validate_create(&self, _context: &Context<'_>, object: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        let namespace = text(object, &["metadata", "namespace"]);
        let (member, about) = about(object);
        let theirs = text(about, &["namespace"]);
        // Events about objects without a namespace are kept in `default`.
        if theirs.is_empty() {
            if namespace != "default" && namespace != "kube-system" {
                let field = format!("{member}.namespace");
                out.push(invalid_text(field, theirs, "does not match event.namespace"));
            }
        } else if theirs != namespace {
            out.push(invalid_text(format!("{member}.namespace"), theirs, "does not match event.namespace"));
        }
        if member == "regarding" {
            for field in ["reportingController", "reportingInstance", "action", "reason"] {
                if text(object, &[field]).is_empty() {
                    out.push(FieldError::required(field, ""));
                }
            }
            if !matches!(text(object, &["type"]), "Normal" | "Warning") {
                let shown = Tree::from(text(object, &["type"]));
                out.push(FieldError::invalid("type", &shown, "has invalid value: "));
            }
        }
        out
    }

    fn fields(&self) -> &'static [&'static str] {
        &[
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
        ]
    }

    fn field_alias(&self, field: &str) -> Option<&'static str> {
        if field == "reportingController" {
            return Some("reportingComponent");
        }
        let member = field.strip_prefix("regarding.")?;
        self.fields().iter().copied().find(|known| known.strip_prefix("involvedObject.") == Some(member))
    }

    fn selectable(&self, object: &Tree, field: &str) -> String {
        if let Some(member) = field.strip_prefix("involvedObject.") {
            return text(about(object).1, &[member]).to_owned();
        }
        let either = |one: &[&str], other: &[&str]| {
            let first = text(object, one);
            if first.is_empty() { text(object, other).to_owned() } else { first.to_owned() }
        };
        match field {
            "reportingComponent" => either(&["reportingComponent"], &["reportingController"]),
            "source" => {
                let source = either(&["source", "component"], &["deprecatedSource", "component"]);
                if source.is_empty() { either(&["reportingComponent"], &["reportingController"]) } else { source }
            }
            other => super::text_at(object, other),
        }
    }

    fn field_refusal(&self, field: &str) -> String {
        format!("field label not supported: {field}")
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// What the event is about, and the member that says so in its version.
fn about(object: &Tree) -> (&'static str, &Tree) {
    let member = if at(object, &["regarding"]).is_object() { "regarding" } else { "involvedObject" };
    (member, at(object, &[member]))
}
