//! What protects a command from its server: limits on every answer, pauses between watches that end
//! at once, and the time since the server was last heard.
//!
//! Everything here is below the client library, which has no such limits, and so holds for every
//! request of every command.

mod contact;
mod pace;
mod received;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;
use tower::BoxError;

use super::errors::ResponseTimeout;
pub(crate) use contact::ServerContact;
use pace::WatchPaces;
use received::ReceivedBytes;
use stream::WatchBody;

/// Returns a client whose requests get an answer within `timeout`, including its body; zero means
/// no limit. For a watch the time ends with the head of the response: the stream may be idle for
/// longer, and its watcher reconnects by itself.
pub(super) fn guard(
    client: Client,
    timeout: Duration,
    namespace: &str,
    contact: ServerContact,
) -> Client {
    let paces = WatchPaces::default();
    let received = ReceivedBytes::default();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, contact, paces) = (client.clone(), contact.clone(), paces.clone());
        let received = received.clone();
        async move {
            let watched = pace::watched(request.uri());
            if let Some(collection) = &watched {
                paces.pause(collection).await;
            }
            let started = Instant::now();
            let watch = watched.map(|collection| (paces, collection));
            let answer = exchange(&client, request, watch, &contact, &received);
            let answer = match timeout.is_zero() {
                true => answer.await,
                false => match tokio::time::timeout(timeout, answer).await {
                    Ok(answer) => answer,
                    Err(_) => Err(Box::new(ResponseTimeout {
                        seconds: timeout.as_secs_f64(),
                    }) as BoxError),
                },
            };
            match &answer {
                Ok(_) => contact.heard(),
                Err(error) => contact.failed(started, &super::errors::chain(&**error)),
            }
            answer
        }
    });
    Client::new(service, namespace)
}

/// The body of an answer: all of it, or a watch.
type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

async fn exchange(
    client: &Client,
    request: Request<Body>,
    watch: Option<(WatchPaces, String)>,
    contact: &ServerContact,
    received: &ReceivedBytes,
) -> Result<Response<AnswerBody>, BoxError> {
    let is_page = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("limit="));
    if request
        .uri()
        .query()
        .is_some_and(|query| query.contains("continue="))
    {
        received.count_page()?;
    }
    let response = client.send(request).await?;
    let (head, body) = response.into_parts();
    let body = match watch {
        Some((paces, collection)) if head.status.is_success() => {
            WatchBody::new(body, paces, collection, contact.clone()).boxed_unsync()
        }
        _ => Full::new(received.collect(body, is_page).await?)
            .map_err(|never| match never {})
            .boxed_unsync(),
    };
    Ok(Response::from_parts(head, body))
}
