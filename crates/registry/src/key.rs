//! Keys of the store: `{plural}.{group}/{namespace}/{name}`, without the group in the core group
//! and without the namespace for cluster-scoped kinds.
//!
//! The first segment is the collection of a kind, and a namespace is a prefix within it, so that a
//! list or a watch of either is one range of keys.

use kinds::facts::Resource;

/// Returns the first segment of a kind's keys.
pub(crate) fn collection(resource: &Resource) -> String {
    if resource.group.is_empty() {
        resource.plural.to_string()
    } else {
        format!("{}.{}", resource.plural, resource.group)
    }
}

/// Returns the key of one object; `namespace` is empty for cluster-scoped kinds.
pub(crate) fn of(resource: &Resource, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{}/{name}", collection(resource))
    } else {
        format!("{}/{namespace}/{name}", collection(resource))
    }
}

/// Returns the prefix of all keys of a namespace, or of the whole collection when `namespace` is
/// empty.
pub(crate) fn prefix(resource: &Resource, namespace: &str) -> String {
    if namespace.is_empty() {
        format!("{}/", collection(resource))
    } else {
        format!("{}/{namespace}/", collection(resource))
    }
}

/// Returns the key of an object of the core group, without a look at the resource table.
pub(crate) fn core(plural: &str, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{plural}/{name}")
    } else {
        format!("{plural}/{namespace}/{name}")
    }
}

/// Splits a key into namespace and name; the namespace is empty for cluster-scoped kinds.
pub(crate) fn namespace_and_name(key: &str) -> (&str, &str) {
    let rest = key.split_once('/').map_or("", |(_, rest)| rest);
    rest.split_once('/').unwrap_or(("", rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_and_name_are_what_the_key_was_made_of() {
        let pods = kinds::resource("", "v1", "pods").expect("built in");
        let nodes = kinds::resource("", "v1", "nodes").expect("built in");
        assert_eq!(
            namespace_and_name(&of(pods, "shop", "web")),
            ("shop", "web")
        );
        assert_eq!(namespace_and_name(&of(nodes, "", "a")), ("", "a"));
    }
}
