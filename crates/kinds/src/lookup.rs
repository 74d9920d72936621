//! Finds types, resources and groups in the generated table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::facts::{ApiGroup, Field, Lookup, Resource, Shape, Type};
use crate::generated::{GROUPS, OBJECT_META, RESOURCES, TYPES};

/// The type of every custom object, for codecs: its metadata in JSON order, before anything that
/// users can nest. The other members have no type and follow, sorted by name.
pub static CUSTOM_OBJECT: Type = Type {
    name: "",
    fields: &[
        Field {
            name: "apiVersion",
            ..Field::BLANK
        },
        Field {
            name: "kind",
            ..Field::BLANK
        },
        Field {
            name: "metadata",
            shape: Shape::Object(&OBJECT_META),
            always: true,
            ..Field::BLANK
        },
    ],
    lookup: Lookup::new(),
    atomic: false,
};

/// Returns every built-in resource, groups in discovery order, then resources by plural.
#[must_use]
pub fn resources() -> &'static [Resource] {
    RESOURCES
}

/// Returns the resource with this plural, for example `resource("", "v1", "pods")`.
#[must_use]
pub fn resource(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|row| row.plural == plural && row.group == group && row.version == version)
}

/// Returns the resource with this kind, for example `resource_by_kind("apps", "v1", "Deployment")`.
#[must_use]
pub fn resource_by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|row| row.kind == kind && row.group == group && row.version == version)
}

/// Returns the type with this full name, for example `io.k8s.api.core.v1.Pod`.
#[must_use]
pub fn type_named(name: &str) -> Option<&'static Type> {
    TYPES
        .binary_search_by(|known| known.name.cmp(name))
        .ok()
        .map(|found| TYPES[found])
}

/// Returns the served groups in discovery order.
#[must_use]
pub fn groups() -> &'static [ApiGroup] {
    GROUPS
}

/// Returns discovery's `storageVersionHash` of a kind that is stored in this version: the first 8
/// bytes of a SHA-256, in base64.
#[must_use]
pub fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let hash = Sha256::digest(format!("{group}/{version}/{kind}"));
    STANDARD.encode(&hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Text;

    #[test]
    fn a_resource_is_found_by_plural_and_by_kind() {
        let pods = resource("", "v1", "pods").expect("pods are served");
        assert_eq!(
            (pods.kind.as_str(), pods.namespaced, pods.stored),
            ("Pod", true, true)
        );
        assert_eq!(
            pods.subresource("eviction")
                .map(|sub| (sub.group.as_str(), sub.kind.as_str())),
            Some(("policy", "Eviction"))
        );
        let budgets =
            resource_by_kind("policy", "v1", "PodDisruptionBudget").expect("budgets are served");
        assert_eq!(
            (budgets.plural.as_str(), &*budgets.short_names),
            ("poddisruptionbudgets", [Text::new_static("pdb")].as_slice())
        );
        assert!(resource("policy", "v1beta1", "poddisruptionbudgets").is_none());
        assert!(
            !resource("authentication.k8s.io", "v1", "tokenreviews")
                .expect("served")
                .stored
        );
    }

    #[test]
    fn types_are_sorted_and_found_by_their_names() {
        // The binary search misses a type that stands in the wrong place.
        for known in TYPES {
            let found = type_named(known.name);
            assert!(
                found.is_some_and(|found| std::ptr::eq(found, *known)),
                "{} is not found",
                known.name
            );
        }
        for (first, second) in TYPES.iter().zip(&TYPES[1..]) {
            assert!(
                first.name < second.name,
                "{} stands before {}",
                first.name,
                second.name
            );
        }
        for unknown in ["", "io.k8s.api.core.v1.Po", "io.k8s.api.core.v1.Podd", "z"] {
            assert!(type_named(unknown).is_none(), "{unknown:?}");
        }
    }

    #[test]
    fn resources_stand_in_discovery_order() {
        let place = |row: &Resource| {
            let group = groups().iter().position(|group| group.name == row.group);
            let group = group.expect("every resource belongs to a listed group");
            let versions = groups()[group].versions;
            let version = versions.iter().position(|version| *version == row.version);
            let version = version.expect("a listed version");
            (group, version, row.plural.clone())
        };
        for (first, second) in RESOURCES.iter().zip(&RESOURCES[1..]) {
            assert!(
                place(first) < place(second),
                "{} {} stands before {} {}",
                first.api_version(),
                first.plural,
                second.api_version(),
                second.plural
            );
        }
    }

    #[test]
    fn storage_version_hashes_are_those_of_a_recorded_server() {
        for (group, version, kind, hash) in [
            ("", "v1", "Pod", "xPOwRZ+Yhw8="),
            ("policy", "v1", "PodDisruptionBudget", "EVWiDmWqyJw="),
            ("batch", "v1", "CronJob", "sd5LIXh4Fjs="),
        ] {
            assert_eq!(storage_version_hash(group, version, kind), hash);
        }
    }
}
