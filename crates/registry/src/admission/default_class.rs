//! The class that claims and ingresses get which name none: the one that is marked as the default.

use kinds::Tree;

use crate::view::StoreView;
use crate::{object, record, tree};

/// Where the classes are, how they are marked, and what names them in the object.
pub(super) struct Defaulted {
    classes: &'static str,
    mark: &'static str,
    field: &'static str,
    /// The annotation that named the class before the field did.
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

/// Names the default class where none is named. Of several defaults the youngest counts.
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
    // Records come in the order of their names, and the first of several maxima is wanted.
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
