//! Lists all objects of a collection, page by page.

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

/// Lists all objects, following the continue tokens. `params` sets the page size.
///
/// # Errors
/// The error of the first page that fails.
pub(crate) async fn all<K>(api: &Api<K>, mut params: ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}
