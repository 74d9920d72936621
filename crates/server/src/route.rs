//! Finds the route of a request.
//!
//! A path without any method is a 404, a path with other methods a 405. An unknown group is a 404
//! in plain text, an unknown version or resource of a known group a `Status`.

use http::Method;
use kinds::facts::Subresource;
use kinds::status::{Details, Status};
use registry::ResourceRef;

use crate::attributes::ResourcePath;
use crate::catalogue::Catalogue;

/// An action on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Watch a collection.
    Watch,
    /// Create an object or a subresource.
    Create,
    /// Replace.
    Update,
    /// Change.
    Patch,
    /// Delete one object.
    Delete,
    /// Delete a collection.
    DeleteCollection,
}

/// The target of a request.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The row of the table.
    pub(crate) resource: ResourceRef,
    /// The subresource, if any.
    pub(crate) subresource: Option<Subresource>,
    /// An action on a resource.
    pub(crate) action: Action,
}

/// The reason why a request has no route.
#[derive(Debug)]
pub(crate) enum NoRoute {
    /// `404 page not found` in plain text.
    UnknownGroup,
    /// A `Status`.
    Refused(Box<Status>),
}

/// Finds the route of a request.
pub(crate) fn find(
    catalogue: &Catalogue,
    method: &Method,
    verb: &str,
    at: &ResourcePath<'_>,
) -> Result<Route, NoRoute> {
    let missing = || {
        if catalogue.has_group(at.group) {
            NoRoute::Refused(Box::new(Status::no_such_resource()))
        } else {
            NoRoute::UnknownGroup
        }
    };
    let resource = catalogue
        .resource(at.group, at.version, at.resource)
        .ok_or_else(missing)?;
    let is_elsewhere = (!at.namespace.is_empty() && !resource.namespaced)
        || (!at.name.is_empty() && resource.namespaced && at.namespace.is_empty());
    let subresource = match (at.subresource, resource.subresource(at.subresource)) {
        ("", _) => None,
        (_, Some(found)) => Some(found),
        // Upstream has one handler for all custom kinds, with answers of its own.
        (_, None) if resource.is_custom() && !is_elsewhere => {
            let status = Status::not_found(resource.group_resource(), at.name);
            return Err(NoRoute::Refused(Box::new(status)));
        }
        _ => return Err(missing()),
    };
    let verbs = subresource.map_or(resource.verbs, |subresource| subresource.verbs);
    let served = |verb: &str| verbs.contains(&verb);
    // A namespace is its own namespace. Other objects are addressed in their own scope only.
    let in_namespace = !at.namespace.is_empty() && at.resource != "namespaces";
    if at.tail
        || (in_namespace && !resource.namespaced)
        || (!at.name.is_empty() && resource.namespaced && !in_namespace)
    {
        return Err(missing());
    }
    let across = resource.namespaced && !in_namespace;
    let here: &[(&str, Method, Action)] = match (at.name.is_empty(), across) {
        // The deprecated form of a watch can name one object of the collection.
        _ if at.old_watch => &COLLECTION[..2],
        (true, false) => &COLLECTION,
        (true, true) => &COLLECTION[..2],
        (false, _) if subresource.is_some() => &SUBRESOURCE,
        (false, _) => &OBJECT,
    };
    if !here.iter().any(|(verb, ..)| served(verb)) {
        return Err(missing());
    }
    let wanted = if verb == "watch" {
        Action::Watch
    } else {
        Action::List
    };
    let found = here.iter().find(|(verb, used, action)| {
        used == method
            && served(verb)
            && (!matches!(action, Action::List | Action::Watch) || *action == wanted)
    });
    let Some(&(_, _, action)) = found else {
        let status = if resource.is_custom() && subresource.is_some() {
            unsupported(resource, verb)
        } else {
            Status::method_not_allowed()
        };
        return Err(NoRoute::Refused(Box::new(status)));
    };
    Ok(Route {
        resource: resource.clone(),
        subresource: subresource.cloned(),
        action,
    })
}

/// Returns the 405 of the handler of custom kinds.
fn unsupported(resource: &ResourceRef, verb: &str) -> Status {
    let kind = if resource.group.is_empty() {
        resource.plural.to_string()
    } else {
        format!("{}.{}", resource.plural, resource.group)
    };
    let details = Details {
        group: resource.group.to_string(),
        kind: resource.plural.to_string(),
        ..Details::default()
    };
    Status::failure(
        405,
        "MethodNotAllowed",
        format!("{verb} is not supported on resources of kind {kind:?}"),
        Some(details),
    )
}

/// Actions on a collection. Across namespaces only the first two are served.
const COLLECTION: [(&str, Method, Action); 4] = [
    ("list", Method::GET, Action::List),
    ("watch", Method::GET, Action::Watch),
    ("create", Method::POST, Action::Create),
    ("deletecollection", Method::DELETE, Action::DeleteCollection),
];

/// Actions on an object.
const OBJECT: [(&str, Method, Action); 4] = [
    ("get", Method::GET, Action::Get),
    ("update", Method::PUT, Action::Update),
    ("patch", Method::PATCH, Action::Patch),
    ("delete", Method::DELETE, Action::Delete),
];

/// Actions on a subresource.
const SUBRESOURCE: [(&str, Method, Action); 5] = [
    ("get", Method::GET, Action::Get),
    ("update", Method::PUT, Action::Update),
    ("patch", Method::PATCH, Action::Patch),
    ("delete", Method::DELETE, Action::Delete),
    ("create", Method::POST, Action::Create),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::query::Query;
    use crate::testing;

    fn found(method: Method, target: &str) -> String {
        let catalogue = Catalogue::new(testing::RESOURCES);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = Query::parse(Some(query));
        let attributes = Attributes::of(&method, path, &query);
        let at = attributes.resource.expect("a resource path");
        match find(&catalogue, &method, attributes.verb, &at) {
            Ok(route) => format!("{:?} {}", route.action, route.resource.kind),
            Err(NoRoute::UnknownGroup) => "text 404".to_owned(),
            Err(NoRoute::Refused(status)) => status.code.to_string(),
        }
    }

    #[test]
    fn every_path_has_its_methods() {
        for (method, target, expected) in [
            (Method::GET, "/api/v1/pods", "List Pod"),
            (Method::GET, "/api/v1/pods?watch=1", "Watch Pod"),
            (Method::POST, "/api/v1/pods", "405"),
            (Method::DELETE, "/api/v1/pods", "405"),
            (Method::GET, "/api/v1/pods/p", "404"),
            (Method::GET, "/api/v1/namespaces/a/pods", "List Pod"),
            (Method::POST, "/api/v1/namespaces/a/pods", "Create Pod"),
            (
                Method::DELETE,
                "/api/v1/namespaces/a/pods",
                "DeleteCollection Pod",
            ),
            (Method::PUT, "/api/v1/namespaces/a/pods", "405"),
            (Method::HEAD, "/api/v1/namespaces/a/pods", "405"),
            (Method::OPTIONS, "/api/v1/namespaces/a/pods", "405"),
            (Method::GET, "/api/v1/namespaces/a/pods/p", "Get Pod"),
            (
                Method::GET,
                "/api/v1/watch/namespaces/a/pods/p",
                "Watch Pod",
            ),
            (Method::GET, "/api/v1/watch/pods", "Watch Pod"),
            (Method::POST, "/api/v1/namespaces/a/pods/p", "405"),
            (Method::PATCH, "/api/v1/namespaces/a/pods/p", "Patch Pod"),
            (
                Method::POST,
                "/api/v1/namespaces/a/pods/p/eviction",
                "Create Pod",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods/p/eviction?watch=1",
                "405",
            ),
            (Method::GET, "/api/v1/namespaces/a/pods/p/nope", "404"),
            (Method::DELETE, "/api/v1/namespaces/a/pods/p/status", "405"),
            (Method::GET, "/api/v1/namespaces", "List Namespace"),
            (Method::POST, "/api/v1/namespaces", "Create Namespace"),
            (Method::DELETE, "/api/v1/namespaces", "405"),
            (Method::DELETE, "/api/v1/namespaces/a", "Delete Namespace"),
            (
                Method::PUT,
                "/api/v1/namespaces/a/finalize",
                "Update Namespace",
            ),
            (Method::POST, "/api/v1/nope", "404"),
            (Method::GET, "/api/v2/pods", "404"),
            (Method::GET, "/api/v1/Pods", "404"),
            (
                Method::GET,
                "/apis/policy/v1beta1/poddisruptionbudgets",
                "404",
            ),
            (Method::GET, "/apis/nope.example.com/v1/things", "text 404"),
        ] {
            assert_eq!(found(method.clone(), target), expected, "{method} {target}");
        }
    }
}
