//! Whole requests against a cluster in this process: queries, tokens, WebSocket frames, anything.
//!
//! The property: every request gets an answer, and nothing panics on the way. A server turns a
//! panic into a 500, and tokio ends the task, so panics are counted by a hook.

use std::cell::RefCell;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use registry::request::User;
use serde_json::{from_value, json};
use testkit::TestCluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

/// The token of an administrator.
const TOKEN: &str = "administrator";
/// The pod to which WebSockets connect.
const POD: &str = "target";
/// Virtual time after which a body that goes on, such as a watch, is no longer read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Virtual time that a request may take. The server's own limit is a minute.
const DEADLINE: Duration = Duration::from_secs(90);

/// A cluster on a runtime in virtual time. Each thread has its own, used for all its inputs.
struct FuzzCluster {
    runtime: Runtime,
    cluster: TestCluster,
}

thread_local! {
    static CLUSTER: RefCell<Option<FuzzCluster>> = const { RefCell::new(None) };
}

static PANICS: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();

/// Runs `check` with the cluster of this thread. Panics if anything in the process has panicked.
fn with_cluster(check: impl AsyncFnOnce(&TestCluster)) {
    HOOK.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            shown(panic);
        }));
    });
    let before = PANICS.load(Ordering::SeqCst);
    // Taken out, so that a cluster with which a check has panicked is not used again.
    let own = CLUSTER.take().unwrap_or_else(FuzzCluster::create);
    own.runtime.block_on(check(&own.cluster));
    CLUSTER.set(Some(own));
    let panics = PANICS.load(Ordering::SeqCst) - before;
    assert_eq!(
        panics, 0,
        "something has panicked while the request was answered"
    );
}

impl FuzzCluster {
    fn create() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let cluster = runtime.block_on(Self::cluster()).expect("a cluster");
        Self { runtime, cluster }
    }

    async fn cluster() -> anyhow::Result<TestCluster> {
        let administrator = User {
            name: "administrator".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..User::default()
        };
        let cluster = TestCluster::builder()
            .nodes(1)
            .token(TOKEN, administrator)
            .seed(1)
            .start()
            .await?;
        let pods = Api::<Pod>::default_namespaced(cluster.client());
        let pod = from_value(json!({
            "metadata": {"name": POD, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "nginx"}]},
        }))?;
        let created = async || Ok(pods.create(&PostParams::default(), &pod).await.ok());
        cluster.wait_for(DEADLINE, created).await?;
        let running = async || {
            let phase = pods.get(POD).await?.status.and_then(|status| status.phase);
            Ok((phase.as_deref() == Some("Running")).then_some(()))
        };
        cluster.wait_for(DEADLINE, running).await?;
        Ok(cluster)
    }
}

/// Sends a request and reads its answer, a watch for a while.
async fn answer(cluster: &TestCluster, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
    let shown = format!("{} {}", request.method(), request.uri());
    let answering = cluster.service().answer(request);
    let Ok(Ok(response)) = tokio::time::timeout(DEADLINE, answering).await else {
        panic!("no answer to {shown}");
    };
    let status = response.status();
    let body = read(response).await;
    let code = status.as_u16();
    // A timeout is an answer; so is a subresource that is not implemented.
    assert!(
        code < 500 || matches!(code, 501 | 503 | 504),
        "{shown}: {code}: {}",
        String::from_utf8_lossy(&body)
    );
    (status, body)
}

async fn read(response: Response<server::Body>) -> Bytes {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let end = tokio::time::Instant::now() + PATIENCE;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(end, body.frame()).await {
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes.into()
}

/// A request in the form of HTTP/1.1: the first line is `METHOD TARGET`, then headers, an empty
/// line, and the body. It comes from an administrator unless it has an `authorization` header.
pub fn request(input: &[u8]) {
    let (head, body) = split(input, b"\n\n");
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let (method, target) = lines
        .next()
        .and_then(|line| line.split_once(' '))
        .unwrap_or_default();
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method.as_bytes()), target.parse::<Uri>())
    else {
        return;
    };
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let headers = request.headers_mut();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = http::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value.trim().parse()) {
            headers.append(name, value);
        }
    }
    if !headers.contains_key("authorization") {
        let value = format!("Bearer {TOKEN}").parse().expect("a valid header");
        headers.insert("authorization", value);
    }
    with_cluster(async |cluster| drop(answer(cluster, request).await));
}

/// The query of a list, a watch, a get, a creation, a patch and a deletion.
pub fn query(input: &[u8]) {
    let query = String::from_utf8_lossy(input).replace(|c: char| c.is_control() || c == '#', "?");
    let pods = "/api/v1/namespaces/default/pods";
    with_cluster(async |cluster| {
        for (method, path, body) in [
            ("GET", pods.to_owned(), ""),
            ("GET", format!("{pods}/{POD}"), ""),
            ("GET", format!("{pods}/{POD}/log"), ""),
            ("POST", pods.to_owned(), "{}"),
            ("PATCH", format!("{pods}/{POD}"), "{}"),
            ("DELETE", format!("{pods}/absent"), ""),
        ] {
            let Ok(uri) = format!("{path}?{query}").parse::<Uri>() else {
                return;
            };
            let request = Request::builder()
                .method(method)
                .uri(uri)
                .header("authorization", format!("Bearer {TOKEN}"))
                .header("content-type", "application/merge-patch+json")
                .body(Full::new(Bytes::from_static(body.as_bytes())));
            answer(cluster, request.expect("a valid request")).await;
        }
    });
}

/// A JSON Web Token of three parts, separated by zero bytes, and the same bytes as a token that has
/// no form. Nobody signed them, so they authenticate nobody.
pub fn token(input: &[u8]) {
    let parts: Vec<String> = input
        .split(|byte| *byte == 0)
        .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part))
        .collect();
    let raw = String::from_utf8_lossy(input).replace(char::is_control, "");
    with_cluster(async |cluster| {
        for token in [parts.join("."), raw] {
            let request = Request::get("/api/v1/namespaces/default/pods")
                .header("authorization", format!("Bearer {token}"))
                .body(Full::new(Bytes::new()));
            let Ok(request) = request else { continue };
            let (code, _) = answer(cluster, request).await;
            // Without a token, and with one that begins with a space, the caller is anonymous.
            let is_missing = token.is_empty() || token.starts_with(' ');
            assert!(
                code == StatusCode::UNAUTHORIZED || (is_missing && code == StatusCode::FORBIDDEN),
                "{code} for the token {token:?}"
            );
        }
    });
}

/// What a client sends after the handshake of a WebSocket. The server ends the connection.
pub fn websocket(input: &[u8]) {
    with_cluster(async |cluster| {
        let (mut client, connection) = tokio::io::duplex(64 * 1024);
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(connection), cluster.service())
            .with_upgrades();
        let serving = tokio::spawn(serving);
        let path = format!("/api/v1/namespaces/default/pods/{POD}/exec?command=sh&stdout=true");
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: server\r\nauthorization: Bearer {TOKEN}\r\n\
             connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\
             sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n"
        );
        // The server may have closed the connection already.
        let _ = client.write_all(head.as_bytes()).await;
        let _ = client.write_all(input).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(DEADLINE, client.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the server does not end the connection");
        assert!(
            answer.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        drop(client);
        let _ = tokio::time::timeout(DEADLINE, serving)
            .await
            .expect("the connection ends");
    });
}

/// Splits at the first separator. Without one, everything comes before it.
fn split<'a>(input: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let place = input
        .windows(separator.len())
        .position(|window| window == separator);
    place.map_or((input, &[]), |at| {
        (&input[..at], &input[at + separator.len()..])
    })
}
