//! The label and field selectors of a list or a watch. They are compiled once for a request and
//! matched against the facts beside each record.

use std::borrow::Cow;

use kinds::selector::{FieldSelector, LabelSelector};
use kinds::status::Status;
use store::Record;

use crate::record;
use crate::request::{ListOptions, Refusal};
use crate::resource::ResourceRef;
use crate::target::Target;

/// The compiled selectors of one request.
#[derive(Debug)]
pub(crate) struct Selection {
    resource: ResourceRef,
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
}

impl Selection {
    /// Compiles the selectors; 400 when one is invalid or names an unknown field. `check` judges
    /// the other options. It runs where upstream's validation does: after the selectors are parsed,
    /// and before their fields are looked up.
    pub(crate) fn of(
        target: &Target,
        options: &ListOptions,
        check: impl FnOnce(&ListOptions) -> Result<(), Refusal>,
    ) -> Result<Self, Refusal> {
        let refuse = |text: String| -> Refusal { Status::bad_request(text).into() };
        let labels = match options.label_selector.as_str() {
            "" => None,
            text => Some(LabelSelector::parse(text).map_err(|error| refuse(error.to_string()))?),
        };
        let fields = match options.field_selector.as_str() {
            "" => None,
            text => Some(FieldSelector::parse(text).map_err(|error| refuse(error.to_string()))?),
        };
        check(options)?;
        let mut fields = fields;
        for term in fields.iter_mut().flat_map(FieldSelector::terms_mut) {
            target
                .rules
                .check_field(&term.field)
                .map_err(refuse)?
                .as_str()
                .clone_into(&mut term.field);
        }
        Ok(Self {
            resource: target.stored.clone(),
            labels,
            fields,
        })
    }

    /// Returns true when the request has no selectors.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Returns true when an object that is not stored, and has no labels, is selected.
    pub(crate) fn matches_fields<'a>(&self, field: impl Fn(&str) -> Cow<'a, str>) -> bool {
        let labels = self
            .labels
            .as_ref()
            .is_none_or(|selector| selector.matches(&kinds::tree::Map::new()));
        labels
            && self
                .fields
                .as_ref()
                .is_none_or(|selector| selector.matches(|name| Some(field(name))))
    }

    /// Returns true when a record is selected.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        if self.is_everything() {
            return true;
        }
        let facts = record::facts(&self.resource, record);
        let labels = self
            .labels
            .as_ref()
            .is_none_or(|selector| selector.matches(facts));
        labels
            && self.fields.as_ref().is_none_or(|selector| {
                selector.matches(|field| Some(Cow::Borrowed(facts.field(&record.key, field))))
            })
    }
}
