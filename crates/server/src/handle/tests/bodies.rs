//! Requests whose bodies arrive late, in part, or never.

use std::convert::Infallible;

use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;
use crate::body::Body;
use crate::service::ResponseFuture;

type Piece = Result<Frame<Bytes>, Infallible>;

/// Starts a request of bob, whose body is what is sent through the channel.
fn upload(service: &CallerService) -> (UnboundedSender<Piece>, ResponseFuture) {
    let (sender, pieces) = unbounded();
    let request = http::Request::post("/api/v1/namespaces/a/pods/p/eviction")
        .header(TOKEN.0, "Bearer b0b")
        .body(StreamBody::new(pieces))
        .expect("a valid request");
    (sender, service.answer(request))
}

fn piece(bytes: impl Into<Bytes>) -> Piece {
    Ok(Frame::data(bytes.into()))
}

/// Returns a server on which bob may evict.
fn evicting(answer: fn() -> futures::future::BoxFuture<'static, ()>) -> Server {
    testing::server_later(move |request| {
        let listed = |resource: &Request, kind: &str| {
            resource.resource.kind.as_str() == kind && matches!(resource.verb, Verb::List(_))
        };
        let role = br#"{"metadata":{"name":"r"},"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}"#;
        let binding = br#"{"metadata":{"name":"b"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"r"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"bob"}]}"#;
        let items: Vec<Bytes> = match &request {
            request if listed(request, "ClusterRole") => vec![Bytes::from_static(role)],
            request if listed(request, "ClusterRoleBinding") => vec![Bytes::from_static(binding)],
            _ => Vec::new(),
        };
        if matches!(request.verb, Verb::List(_)) {
            return futures::future::ready(Ok(Reply::List {
                kind: String::new(),
                api_version: String::new(),
                metadata: ListMeta::default(),
                items,
            }))
            .boxed();
        }
        answer().map(|()| Ok(pod(201))).boxed()
    })
}

fn at_once() -> futures::future::BoxFuture<'static, ()> {
    futures::future::ready(()).boxed()
}

async fn code_of(response: ResponseFuture) -> (u16, String) {
    let response: Response<Body> = response.await.expect("cannot fail");
    let (code, _, body) = read(response).await;
    (code, body)
}

#[tokio::test(start_paused = true)]
async fn a_request_counts_from_the_moment_its_body_has_arrived() {
    let server = evicting(|| futures::future::pending().boxed());
    let service = server.service();
    let (sender, mut answer) = upload(&service);
    assert!((&mut answer).now_or_never().is_none());
    assert_eq!(server.state.in_flight.count(), 0, "nothing has arrived");
    sender.unbounded_send(piece("{")).expect("it is read");
    assert!((&mut answer).now_or_never().is_none());
    assert_eq!(server.state.in_flight.count(), 0, "half of it has arrived");
    sender.unbounded_send(piece("}")).expect("it is read");
    drop(sender);
    assert!((&mut answer).now_or_never().is_none());
    assert_eq!(server.state.in_flight.count(), 1, "it is worked on");
    assert_eq!(server.state.bodies.arriving_bytes(), 0);
    drop(answer);
    assert_eq!(server.state.in_flight.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_never_come_keep_nobody_out() {
    let server = evicting(at_once);
    let service = server.service();
    let mut waiting: Vec<_> = (0..3_000).map(|_| upload(&service)).collect();
    for (_, answer) in &mut waiting {
        assert!(answer.now_or_never().is_none());
    }
    let line = "POST /api/v1/namespaces/a/pods/p/eviction";
    let bob = [(TOKEN.0, "Bearer b0b")];
    assert_eq!(read(send(&service, line, &bob, "{}").await).await.0, 201);
    server.state.in_flight.fill();
    assert_eq!(read(send(&service, line, &bob, "{}").await).await.0, 429);
    for path in ["/readyz", "/livez", "/healthz", "/readyz/ping"] {
        let (code, _, body) = read(send(&service, &format!("GET {path}"), &[], "").await).await;
        assert_eq!((code, body.as_str()), (200, "ok"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_arriving_is_refused_after_a_while() {
    let server = evicting(at_once);
    let (sender, answer) = upload(&server.service());
    sender.unbounded_send(piece("{")).expect("it is read");
    let (code, body) = code_of(answer).await;
    assert_eq!(code, 408);
    assert!(
        body.contains(
            r#""message":"Timeout: the body of the request did not arrive: no data for 10 seconds""#
        ),
        "{body}"
    );
    assert_eq!(server.state.bodies.arriving_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn half_received_bodies_are_limited_in_sum_and_the_newest_arrives() {
    let server = evicting(at_once);
    let half = Bytes::from(vec![b' '; 2_900_000]);
    let mut waiting: Vec<_> = (0..200)
        .map(|_| {
            let (sender, mut answer) = upload(&server.service());
            sender.unbounded_send(piece(half.clone())).expect("open");
            let ended = (&mut answer).now_or_never();
            assert!(ended.is_none());
            (sender, answer)
        })
        .collect();
    let held = server.state.bodies.arriving_bytes();
    assert!(held <= 64 * 1024 * 1024, "{held}");
    let (_sender, oldest) = waiting.remove(0);
    let (code, body) = code_of(oldest).await;
    assert_eq!(code, 429);
    assert!(
        body.contains("Too many requests, please try again later.")
            && body.contains(r#""retryAfterSeconds":1"#),
        "{body}"
    );
    let (sender, newest) = waiting.pop().expect("the newest");
    sender.unbounded_send(piece("{}")).expect("it is read");
    drop(sender);
    assert_eq!(code_of(newest).await.0, 201);
}

#[tokio::test(start_paused = true)]
async fn half_received_bodies_are_limited_for_each_connection() {
    let server = evicting(at_once);
    let (one, other) = (server.service(), server.service());
    let start = |service: &CallerService| {
        let (sender, mut answer) = upload(service);
        sender
            .unbounded_send(piece(vec![b' '; 2_900_000]))
            .expect("open");
        let ended = (&mut answer).now_or_never();
        let code = ended.map(|response| response.expect("cannot fail").status().as_u16());
        (code, sender, answer)
    };
    let mut waiting: Vec<_> = (0..5).map(|_| start(&one)).collect();
    assert!(waiting.iter().all(|(code, ..)| code.is_none()));
    let (sixth, ..) = start(&one);
    assert_eq!(sixth, Some(429));
    let (code, sender, answer) = start(&other);
    assert_eq!(code, None, "another connection has room of its own");
    sender.unbounded_send(piece("{}")).expect("it is read");
    drop(sender);
    assert_eq!(code_of(answer).await.0, 201);
    let (_, sender, answer) = waiting.remove(0);
    drop(sender);
    assert_eq!(code_of(answer).await.0, 201, "those that fit go on");
}
