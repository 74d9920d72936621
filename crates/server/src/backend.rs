//! What the server needs from the registry: one call. Tests use a closure instead.

use std::sync::Arc;

use futures::future::BoxFuture;
use registry::ResourceRef;
use registry::request::{Refusal, Reply, Request};

/// Answers requests that are routed, authenticated and authorized.
pub trait Backend: Send + Sync + 'static {
    /// Answers one request. Dropping the future cancels the request.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Refusal>>;

    /// Checks whether requests can be answered at all. `/readyz` and `/livez` show the outcome.
    ///
    /// # Errors
    /// The reason why they cannot. Everybody may see it: it contains no paths and no addresses.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Returns the rows of the custom resources that are served now. They stay equal while their
    /// definitions do not change.
    fn custom_rows(&self) -> Vec<ResourceRef> {
        Vec::new()
    }

    /// Returns the row of a custom resource if it is served now: the one that
    /// [`Backend::custom_rows`] has for it.
    fn custom_row(&self, group: &str, version: &str, plural: &str) -> Option<ResourceRef> {
        self.custom_rows()
            .into_iter()
            .find(|row| row.group == group && row.version == version && row.plural == plural)
    }

    /// Appends metrics in the text format of Prometheus.
    fn metrics(&self, _out: &mut String) {}
}

impl<T: Backend + ?Sized> Backend for Arc<T> {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Refusal>> {
        (**self).call(request)
    }

    fn check(&self) -> Result<(), String> {
        (**self).check()
    }

    fn custom_rows(&self) -> Vec<ResourceRef> {
        (**self).custom_rows()
    }

    fn custom_row(&self, group: &str, version: &str, plural: &str) -> Option<ResourceRef> {
        (**self).custom_row(group, version, plural)
    }

    fn metrics(&self, out: &mut String) {
        (**self).metrics(out);
    }
}

impl Backend for registry::Registry {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Refusal>> {
        Self::call(self, request)
    }

    fn check(&self) -> Result<(), String> {
        self.store_failure().map_or(Ok(()), Err)
    }

    fn custom_rows(&self) -> Vec<ResourceRef> {
        Self::custom_rows(self)
    }

    fn custom_row(&self, group: &str, version: &str, plural: &str) -> Option<ResourceRef> {
        self.resource(group, version, plural)
            .filter(ResourceRef::is_custom)
    }

    fn metrics(&self, out: &mut String) {
        let revision = self.store().revision().0;
        let (name, help) = (
            "exeunt_store_revision",
            "Revision of the store that readers see.",
        );
        out.push_str(&format!(
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {revision}\n"
        ));
        Self::metrics(self, out);
    }
}
