//! Which objects a list or a watch shows: label and field selectors, compiled once and asked of the
//! facts that lie beside each record.

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
    /// Compiles the selectors; 400 for those that cannot be understood.
    pub(crate) fn of(target: &Target, options: &ListOptions) -> Result<Self, Refusal> {
        let refuse = |text: String| -> Refusal { Status::bad_request(text).into() };
        let labels = match options.label_selector.as_str() {
            "" => None,
            text => Some(LabelSelector::parse(text).map_err(|error| refuse(error.to_string()))?),
        };
        let fields = match options.field_selector.as_str() {
            "" => None,
            text => {
                let mut parsed =
                    FieldSelector::parse(text).map_err(|error| refuse(error.to_string()))?;
                for term in parsed.terms_mut() {
                    target
                        .rules
                        .check_field(&term.field)
                        .map_err(refuse)?
                        .as_str()
                        .clone_into(&mut term.field);
                }
                Some(parsed)
            }
        };
        Ok(Self {
            resource: target.stored.clone(),
            labels,
            fields,
        })
    }

    /// True when every object is shown.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether something that is not stored is shown, which has no labels.
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

    /// Whether a record is shown.
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
