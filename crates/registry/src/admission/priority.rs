//! Sets the priority of pods from their `priorityClassName` (Priority).

use kinds::Tree;
use kinds::status::Status;
use store::Record;

use crate::record::TreeCache;
use crate::request::Refusal;
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::StoreView;
use crate::{object, record, tree};

const CLASSES: &str = "priorityclasses.scheduling.k8s.io/";

/// Sets the priority and preemption policy from the named class, or else from the default class.
/// Returns 403 when the class is missing or the pod has other values.
pub(super) fn mutate(
    view: &impl StoreView,
    target: &Target,
    pod: &mut Tree,
) -> Result<(), Refusal> {
    let name = tree::text(pod, &["spec", "priorityClassName"]).to_owned();
    let class = if name.is_empty() {
        default_class(view, &target.trees)
    } else {
        Some(named(view, target, pod, &name)?)
    };
    let value = class
        .as_ref()
        .and_then(|class| tree::int(class, &["value"]))
        .unwrap_or(0);
    let policy = class
        .as_ref()
        .map_or("", |class| tree::text(class, &["preemptionPolicy"]));
    let policy = if policy.is_empty() {
        "PreemptLowerPriority"
    } else {
        policy
    };
    if let Some(class) = class.as_ref().filter(|_| name.is_empty()) {
        tree::put(
            pod,
            &["spec", "priorityClassName"],
            object::meta_text(class, "name"),
        );
    }
    check_given(target, pod, value, policy)?;
    tree::put(pod, &["spec", "priority"], value);
    tree::put(pod, &["spec", "preemptionPolicy"], policy);
    Ok(())
}

/// Returns 403 when a class is marked as the default and another class already is.
pub(super) fn validate_class(
    view: &impl StoreView,
    target: &Target,
    class: &Tree,
) -> Result<(), Refusal> {
    let name = object::meta_text(class, "name");
    let other =
        default_class(view, &target.trees).filter(|_| tree::flag(class, &["globalDefault"]));
    let other = other
        .as_ref()
        .map(|other| object::meta_text(other, "name"))
        .filter(|other| *other != name);
    let Some(other) = other else { return Ok(()) };
    let why =
        format!("PriorityClass {other} is already marked as default. Only one default can exist");
    Err(Status::forbidden(target.resource.group_resource(), name, why).into())
}

fn named(view: &impl StoreView, target: &Target, pod: &Tree, name: &str) -> Result<Tree, Refusal> {
    let found = view.record(&format!("{CLASSES}{name}"));
    found
        .map(|class| class_tree(&target.trees, &class))
        .ok_or_else(|| {
            refuse(
                target,
                pod,
                &format!("no PriorityClass with name {name} was found"),
            )
        })
}

/// Returns the default class. Of several, the one with the lowest value applies: another default
/// cannot raise priorities by accident.
fn default_class(view: &impl StoreView, trees: &TreeCache) -> Option<Tree> {
    let classes = view.records(CLASSES).map(|class| class_tree(trees, &class));
    classes
        .filter(|class| tree::flag(class, &["globalDefault"]))
        .min_by_key(|class| tree::int(class, &["value"]))
}

fn class_tree(trees: &TreeCache, class: &Record) -> Tree {
    ResourceRef::built_in("scheduling.k8s.io", "v1", "priorityclasses").map_or_else(
        || record::parse(&class.value),
        |classes| record::tree_of(trees, &classes, class),
    )
}

fn check_given(target: &Target, pod: &Tree, value: i64, policy: &str) -> Result<(), Refusal> {
    match tree::int(pod, &["spec", "priority"]) {
        Some(given) if given != value => {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            );
            return Err(refuse(target, pod, &why));
        }
        _ => {}
    }
    let given = tree::text(pod, &["spec", "preemptionPolicy"]);
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(refuse(target, pod, &why));
    }
    Ok(())
}

fn refuse(target: &Target, pod: &Tree, why: &str) -> Refusal {
    Status::forbidden(
        target.resource.group_resource(),
        object::shown_name(pod),
        why,
    )
    .into()
}
