//! The attributes of a request, which follow from its method and path alone.
//!
//! Authorization decides by these attributes before anything checks whether the resource exists. A
//! user without permission cannot learn from the difference between 403 and 404 what exists.
//! `route` then looks the resource up.

use http::Method;

use crate::query::Query;

/// The attributes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes<'p> {
    /// Lower-case verb: `get`, `list`, `watch`, `create`, …, or the HTTP method for other paths.
    /// Empty for methods that no resource serves.
    pub(crate) verb: &'static str,
    /// The path, decoded.
    pub(crate) path: &'p str,
    /// The resource, if the path is below `/api/v1/` or `/apis/GROUP/VERSION/`.
    pub(crate) resource: Option<ResourcePath<'p>>,
}

/// A path to a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath<'p> {
    /// Group; empty for the core group.
    pub(crate) group: &'p str,
    /// Version.
    pub(crate) version: &'p str,
    /// Namespace; empty for none.
    pub(crate) namespace: &'p str,
    /// Plural.
    pub(crate) resource: &'p str,
    /// Subresource; empty for none.
    pub(crate) subresource: &'p str,
    /// Name; empty for collections.
    pub(crate) name: &'p str,
    /// Whether segments follow the subresource (`pods/x/proxy/a/b`).
    pub(crate) tail: bool,
    /// Whether the path has the deprecated form `/api/v1/watch/pods`.
    pub(crate) old_watch: bool,
}

impl<'p> Attributes<'p> {
    /// Derives the attributes from a method, a decoded path and the query.
    pub(crate) fn of(method: &Method, path: &'p str, query: &Query<'_>) -> Self {
        let Some(resource) = ResourcePath::of(path) else {
            return Self {
                verb: method_verb(method),
                path,
                resource: None,
            };
        };
        let named = !resource.name.is_empty();
        let verb = match *method {
            _ if resource.old_watch => "watch",
            Method::POST => "create",
            Method::GET | Method::HEAD if named => "get",
            Method::GET | Method::HEAD if query.watch() => "watch",
            Method::GET | Method::HEAD => "list",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if named => "delete",
            Method::DELETE => "deletecollection",
            _ => "",
        };
        Self {
            verb,
            path,
            resource: Some(resource),
        }
    }
}

impl<'p> ResourcePath<'p> {
    /// Parses a path; `None` if it is not below a group version.
    fn of(path: &'p str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut first = parts.next()?;
        let old_watch = first == "watch";
        if old_watch {
            first = parts.next()?;
        }
        let mut out = Self {
            group,
            version,
            old_watch,
            ..Self::default()
        };
        let mut rest = Rest {
            first: Some(first),
            parts,
        };
        if first == "namespaces" {
            rest.next();
            let Some(namespace) = rest.next() else {
                return Some(Self {
                    resource: first,
                    ..out
                });
            };
            out.namespace = namespace;
            match rest.next() {
                // A namespace counts as being in itself, and so do its subresources.
                None => {
                    return Some(Self {
                        resource: first,
                        name: namespace,
                        ..out
                    });
                }
                Some(sub @ ("status" | "finalize")) => {
                    return Some(Self {
                        resource: first,
                        name: namespace,
                        subresource: sub,
                        tail: rest.next().is_some(),
                        ..out
                    });
                }
                Some(resource) => out.resource = resource,
            }
        } else {
            out.resource = rest.next().unwrap_or_default();
        }
        out.name = rest.next().unwrap_or_default();
        out.subresource = rest.next().unwrap_or_default();
        out.tail = rest.next().is_some();
        Some(out)
    }
}

/// The segments of a path from `first` on.
struct Rest<'p, I> {
    first: Option<&'p str>,
    parts: I,
}

impl<'p, I: Iterator<Item = &'p str>> Iterator for Rest<'p, I> {
    type Item = &'p str;

    fn next(&mut self) -> Option<&'p str> {
        self.first.take().or_else(|| self.parts.next())
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, path: &str) -> String {
        let found = Attributes::of(&method, path, &Query::parse(Some("")));
        let Some(at) = found.resource else {
            return format!("{} -", found.verb);
        };
        format!(
            "{} [{}] {} {}/{}/{}/{}",
            found.verb, at.group, at.version, at.namespace, at.resource, at.name, at.subresource
        )
    }

    #[test]
    fn paths_name_resources() {
        for (method, path, expected) in [
            (Method::GET, "/version", "get -"),
            (Method::GET, "/api/v1", "get -"),
            (Method::GET, "/apis/apps/v1/", "get -"),
            (Method::DELETE, "/apis", "delete -"),
            (Method::GET, "/api/v1/pods", "list [] v1 /pods//"),
            (Method::GET, "/api/v1/nodes/n", "get [] v1 /nodes/n/"),
            (
                Method::GET,
                "/api/v1/namespaces",
                "list [] v1 /namespaces//",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a",
                "get [] v1 a/namespaces/a/",
            ),
            (
                Method::PUT,
                "/api/v1/namespaces/a/finalize",
                "update [] v1 a/namespaces/a/finalize",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods/",
                "list [] v1 a/pods//",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/a/pods/p/eviction",
                "create [] v1 a/pods/p/eviction",
            ),
            (
                Method::DELETE,
                "/apis/policy/v1/namespaces/a/poddisruptionbudgets",
                "deletecollection [policy] v1 a/poddisruptionbudgets//",
            ),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "patch [apps] v1 a/deployments/d/scale",
            ),
            (
                Method::GET,
                "/api/v1/watch/namespaces/a/pods",
                "watch [] v1 a/pods//",
            ),
            (Method::OPTIONS, "/api/v1/pods", " [] v1 /pods//"),
        ] {
            assert_eq!(read(method, path), expected, "{path}");
        }
    }

    #[test]
    fn a_list_with_a_watch_parameter_is_a_watch() {
        let query = Query::parse(Some("watch=1"));
        assert_eq!(
            Attributes::of(&Method::GET, "/api/v1/pods", &query).verb,
            "watch"
        );
        assert_eq!(
            Attributes::of(&Method::GET, "/api/v1/namespaces/a/pods/p", &query).verb,
            "get"
        );
    }
}
