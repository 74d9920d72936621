//! Lists all objects of a collection, page by page.

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

/// The maximum number of pages of one list: five million objects on pages of 500. A server that
/// continues beyond it would never end.
const MAX_PAGES: usize = 10_000;

/// The server's list does not end.
#[derive(Debug, thiserror::Error)]
#[error("the list does not end: {0}")]
struct EndlessList(&'static str);

/// Lists all objects, following the continue tokens. `params` sets the page size.
///
/// # Errors
/// The error of the first page that fails, or that there are too many pages.
pub(crate) async fn all<K>(api: &Api<K>, mut params: ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) if params.continue_token.as_ref() == Some(&token) => {
                return Err(endless("a page continues with itself"));
            }
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
    Err(endless("it has more than 10000 pages"))
}

fn endless(why: &'static str) -> kube::Error {
    kube::Error::Service(Box::new(EndlessList(why)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::Pod;
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// Lists from a server that gives each page the token that `token` returns for its number.
    async fn listed(token: impl Fn(usize) -> String + Send + Clone + 'static) -> (usize, String) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let page = json!({"metadata": {"continue": token(number)}, "items": []});
            async move {
                let body = Body::from(page.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            }
        });
        let api = Api::<Pod>::all(Client::new(service, "default"));
        let error = all(&api, ListParams::default().limit(1))
            .await
            .expect_err("must end");
        (asked.load(Ordering::Relaxed), error.to_string())
    }

    #[tokio::test]
    async fn a_list_that_never_ends_is_an_error() {
        let (asked, why) = listed(|_| "again".to_owned()).await;
        assert!(asked == 2 && why.contains("does not end"), "{asked}: {why}");
        let (asked, why) = listed(|number| format!("t{number}")).await;
        assert!(
            asked == MAX_PAGES && why.contains("does not end"),
            "{asked}: {why}"
        );
    }
}
