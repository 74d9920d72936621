//! Defaults and bounds for the resources of pods from the LimitRanges of their namespace
//! (LimitRanger).

use kinds::Tree;
use kinds::quantity::Quantity;
use kinds::status::Status;

use crate::key;
use crate::request::Refusal;
use crate::target::Target;
use crate::view::StoreView;
use crate::{object, record, tree};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Returns the items of all LimitRanges in the target's namespace.
fn limits(view: &impl StoreView, target: &Target) -> Vec<Tree> {
    let prefix = key::core("limitranges", &target.namespace, "");
    view.records(&prefix)
        .flat_map(|range| tree::list(&record::parse(&range.value), &["spec", "limits"]).to_vec())
        .collect()
}

/// Adds default requests and limits to containers, and lists them in an annotation of the pod.
pub(super) fn mutate(view: &impl StoreView, target: &Target, pod: &mut Tree) {
    let mut notes = Vec::new();
    for limit in limits(view, target)
        .iter()
        .filter(|limit| tree::text(limit, &["type"]) == "Container")
    {
        for (kind, called) in [
            ("initContainers", "init container"),
            ("containers", "container"),
        ] {
            for container in tree::list_mut(pod, &["spec", kind]) {
                let name = tree::text(container, &["name"]).to_owned();
                for (member, defaults, word) in [
                    ("requests", "defaultRequest", "request"),
                    ("limits", "default", "limit"),
                ] {
                    let filled = fill(container, member, tree::at(limit, &[defaults]));
                    if !filled.is_empty() {
                        notes.push(format!("{} {word} for {called} {name}", filled.join(", ")));
                    }
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        tree::put(pod, &["metadata", "annotations", ANNOTATION], text);
    }
}

/// Adds the defaults that are missing and returns their names.
fn fill(container: &mut Tree, member: &str, defaults: &Tree) -> Vec<String> {
    let mut filled = Vec::new();
    for (name, quantity) in tree::entries(defaults, &[]) {
        if tree::at(container, &["resources", member, name]).is_null() {
            tree::put(container, &["resources", member, name], quantity.clone());
            filled.push(name.to_owned());
        }
    }
    filled
}

/// Returns 403 when a container or the whole pod is outside the bounds.
pub(super) fn validate(view: &impl StoreView, target: &Target, pod: &Tree) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    for limit in &limits(view, target) {
        let kind = tree::text(limit, &["type"]);
        match kind {
            "Container" => {
                for container in ["initContainers", "containers"]
                    .into_iter()
                    .flat_map(|kind| tree::list(pod, &["spec", kind]))
                {
                    let found = |member: &str, name: &str| {
                        quantity(tree::at(container, &["resources", member, name]))
                    };
                    check(limit, kind, &found, &mut faults);
                }
            }
            "Pod" => {
                let found = |member: &str, name: &str| sum(pod, member, name);
                check(limit, kind, &found, &mut faults);
            }
            _ => {}
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let why = if faults.len() == 1 {
        faults.remove(0)
    } else {
        format!("[{}]", faults.join(", "))
    };
    Err(Status::forbidden(
        target.resource.group_resource(),
        object::shown_name(pod),
        why,
    )
    .into())
}

fn quantity(value: &Tree) -> Option<Quantity> {
    value.as_str().and_then(|text| Quantity::parse(text).ok())
}

fn sum(pod: &Tree, member: &str, name: &str) -> Option<Quantity> {
    let all = tree::list(pod, &["spec", "containers"])
        .iter()
        .map(|container| quantity(tree::at(container, &["resources", member, name])));
    all.reduce(|one, other| one.zip(other).map(|(one, other)| one + other))
        .flatten()
}

fn check(
    limit: &Tree,
    kind: &str,
    found: &dyn Fn(&str, &str) -> Option<Quantity>,
    faults: &mut Vec<String>,
) {
    for (name, bound) in tree::entries(limit, &["min"]) {
        let Some(bound) = quantity(bound) else {
            continue;
        };
        let sentence = format!("minimum {name} usage per {kind} is {bound}");
        match (found("requests", name), found("limits", name)) {
            (None, _) => faults.push(format!("{sentence}.  No request is specified")),
            (Some(request), _) if request < bound => {
                faults.push(format!("{sentence}, but request is {request}"))
            }
            (_, Some(limit)) if limit < bound => {
                faults.push(format!("{sentence}, but limit is {limit}"))
            }
            _ => {}
        }
    }
    for (name, bound) in tree::entries(limit, &["max"]) {
        let Some(bound) = quantity(bound) else {
            continue;
        };
        let sentence = format!("maximum {name} usage per {kind} is {bound}");
        match (found("limits", name), found("requests", name)) {
            (None, _) => faults.push(format!("{sentence}.  No limit is specified")),
            (Some(limit), _) if limit > bound => {
                faults.push(format!("{sentence}, but limit is {limit}"))
            }
            (_, Some(request)) if request > bound => {
                faults.push(format!("{sentence}, but request is {request}"))
            }
            _ => {}
        }
    }
}
