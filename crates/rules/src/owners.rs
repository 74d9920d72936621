//! Owner references: which owner controls an object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Returns the owner that controls the object: the reference with `controller: true`.
///
/// The API server admits at most one such reference.
#[must_use]
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_controlling_owner_counts() {
        let meta = |owners: serde_json::Value| -> ObjectMeta {
            serde_json::from_value(json!({"ownerReferences": owners})).expect("metadata")
        };
        let owner = |name: &str, controller: Option<bool>| {
            json!({"apiVersion": "v1", "kind": "K",
            "name": name, "uid": name, "controller": controller})
        };
        let owned = meta(json!([
            owner("a", None),
            owner("b", Some(false)),
            owner("c", Some(true))
        ]));
        assert_eq!(
            controller_of(&owned).map(|owner| owner.name.as_str()),
            Some("c")
        );
        assert_eq!(controller_of(&meta(json!([owner("a", None)]))), None);
        assert_eq!(controller_of(&ObjectMeta::default()), None);
    }
}
