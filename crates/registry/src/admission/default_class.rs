//! Sets the default class of claims and ingresses that name none (DefaultStorageClass,
//! DefaultIngressClass).

use kinds::Tree;

use crate::view::StoreView;
use crate::{object, record, tree};

/// A kind of class, and the field that refers to it.
pub(super) struct Defaulted {
    /// Prefix of the classes' keys in the store.
    classes: &'static str,
    /// The annotation of a default class.
    mark: &'static str,
    /// The field of the object's spec.
    field: &'static str,
    /// The older annotation, which has the meaning of the field.
    annotation: &'static str,
}

/// The storage class of a claim.
pub(super) const STORAGE: Defaulted = Defaulted {
    classes: "storageclasses.storage.k8s.io/",
    mark: "storageclass.kubernetes.io/is-default-class",
    field: "storageClassName",
    annotation: "volume.beta.kubernetes.io/storage-class",
};
/// The class of an ingress.
pub(super) const INGRESS: Defaulted = Defaulted {
    classes: "ingressclasses.networking.k8s.io/",
    mark: "ingressclass.kubernetes.io/is-default-class",
    field: "ingressClassName",
    annotation: "kubernetes.io/ingress.class",
};

/// Sets the default class if the object names none. Of several defaults, the newest applies.
pub(super) fn mutate(view: &impl StoreView, defaulted: &Defaulted, object: &mut Tree) {
    let is_named = !tree::at(object, &["spec", defaulted.field]).is_null()
        || !tree::at(object, &["metadata", "annotations", defaulted.annotation]).is_null();
    if is_named {
        return;
    }
    let classes = view
        .records(defaulted.classes)
        .map(|class| record::parse(&class.value));
    let marked = classes
        .filter(|class| tree::text(class, &["metadata", "annotations", defaulted.mark]) == "true");
    let age = |class: &Tree| object::meta_text(class, "creationTimestamp").to_owned();
    // Records are sorted by name, and the first of equally new classes applies. `max_by` would take
    // the last one.
    let youngest = marked.reduce(|best, class| {
        if age(&class) > age(&best) {
            class
        } else {
            best
        }
    });
    if let Some(class) = youngest {
        tree::put(
            object,
            &["spec", defaulted.field],
            object::meta_text(&class, "name"),
        );
    }
}
