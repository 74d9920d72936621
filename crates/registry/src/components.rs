//! `componentstatuses`: the health of the parts of the control plane. Nothing is stored; each part
//! is asked when a client reads.
//!
//! Kubernetes has deprecated the resource, but old tools still read it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use kinds::Tree;
use kinds::facts::Resource;
use kinds::status::{ListMeta, Status};
use kinds::tree::json;

use crate::Registry;
use crate::request::{Refusal, Reply, Verb};
use crate::selection::Selection;
use crate::target::Target;

/// A part of the control plane with its health check.
#[derive(Clone)]
pub struct Component {
    /// The name of its `ComponentStatus`, for example `scheduler`.
    pub name: &'static str,
    /// Returns an error message while the part is not healthy.
    pub check: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

/// The name of the store among the components.
const STORE: &str = "store";

/// Returns true for the resource `componentstatuses`.
pub(crate) fn is_component_status(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "componentstatuses"
}

impl Registry {
    /// Answers a request for `componentstatuses`.
    pub(crate) fn component_statuses(&self, target: &Target, verb: Verb) -> Result<Reply, Refusal> {
        match verb {
            Verb::Get { .. } => {
                let found = self
                    .components()
                    .into_iter()
                    .find(|(name, _)| *name == target.name);
                let (name, outcome) = found.ok_or_else(|| {
                    Status::untyped(format!("Component not found: {}", target.name))
                })?;
                Ok(Reply::Object {
                    code: 200,
                    json: encode(target, name, outcome),
                    warnings: Vec::new(),
                })
            }
            Verb::List(options) => {
                let selection = Selection::of(target, &options, crate::list::check_list)?;
                let shown = |name: &str| {
                    selection.matches_fields(|field| {
                        Cow::Borrowed(if field == "metadata.name" { name } else { "" })
                    })
                };
                let items = self
                    .components()
                    .into_iter()
                    .filter(|(name, _)| shown(name));
                let items = items
                    .map(|(name, outcome)| encode(target, name, outcome))
                    .collect();
                let resource = &target.resource;
                Ok(Reply::List {
                    kind: format!("{}List", resource.kind),
                    api_version: resource.api_version(),
                    metadata: ListMeta::default(),
                    items,
                })
            }
            _ => Err(Status::method_not_allowed().into()),
        }
    }

    /// Returns the result of each part's health check, sorted by name.
    fn components(&self) -> Vec<(&'static str, Result<(), String>)> {
        let store = (STORE, self.store_failure().map_or(Ok(()), Err));
        let others = self
            .options()
            .components
            .iter()
            .map(|component| (component.name, (component.check)()));
        let mut all: Vec<_> = others.chain([store]).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }
}

fn encode(target: &Target, name: &str, outcome: Result<(), String>) -> Bytes {
    kinds::json::encode(&shown(name, outcome), target.resource.ty).into()
}

fn shown(name: &str, outcome: Result<(), String>) -> Tree {
    let condition = match outcome {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "message": why}),
    };
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
        "conditions": [condition]})
}
