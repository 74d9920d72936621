//! The server behind real sockets and TLS, on a free port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use registry::request::{Reply, Verb, WatchEvent};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Listener;
use crate::certs::{Certs, CertsError, Pair};
use crate::testing;

/// Upper bound of every wait.
const SOON: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    certs: Certs,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), CertsError>>,
}

async fn running() -> Running {
    let server = testing::server(|request| {
        Ok(match request.verb {
            Verb::Watch(_) => {
                let first = WatchEvent {
                    kind: "ADDED",
                    json: Bytes::from_static(b"{}"),
                };
                Reply::Watch(
                    futures::stream::iter([first])
                        .chain(futures::stream::pending())
                        .boxed(),
                )
            }
            // The tests check the authenticated user.
            _ => Reply::Object {
                code: 200,
                json: format!("{{\"user\":{:?}}}", request.user.name).into(),
                warnings: Vec::new(),
            },
        })
    });
    let certs = Certs::make(&[], testing::now()).expect("certificates");
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("a free port");
    let (address, stop) = (listener.address(), CancellationToken::new());
    let (shown, ended) = (certs.clone(), stop.clone());
    let serving = tokio::spawn(async move { server.serve(listener, &shown, ended).await });
    Running {
        address,
        certs,
        stop,
        serving,
    }
}

impl Running {
    async fn connect(&self, client: Option<&Pair>, protocol: &str) -> TlsStream<TcpStream> {
        let certificate =
            |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(certificate(&self.certs.authority))
            .expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            provider.clone(),
        )
        .build()
        .expect("a verifier");
        let config = rustls::ClientConfig::builder_with_details(provider, Arc::new(TestTime))
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_webpki_verifier(verifier);
        let mut config = match client {
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                config
                    .with_client_auth_cert(vec![certificate(&pair.certificate)], key)
                    .expect("a client certificate")
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .expect("a handshake")
    }

    async fn http1(
        &self,
        client: Option<&Pair>,
        request: Request<Empty<Bytes>>,
    ) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect(client, "http/1.1").await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("HTTP/1.1");
        tokio::spawn(connection);
        sender.send_request(request).await.expect("an answer")
    }

    async fn http2(
        &self,
        client: Option<&Pair>,
        request: Request<Empty<Bytes>>,
    ) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect(client, "h2").await);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        sender.send_request(request).await.expect("an answer")
    }
}

/// A connection of a client, and the task that drives it.
struct Sending {
    send: Box<dyn FnMut(Request<Empty<Bytes>>) -> Answering + Send>,
    ended: JoinHandle<()>,
}

type Answering = futures::future::BoxFuture<'static, Response<Incoming>>;

impl Sending {
    fn send(&mut self, request: Request<Empty<Bytes>>) -> Answering {
        (self.send)(request)
    }
}

impl Running {
    /// Returns an open connection in this protocol.
    async fn sender(&self, protocol: &str) -> Sending {
        let stream = TokioIo::new(self.connect(None, protocol).await);
        if protocol == "h2" {
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .expect("HTTP/2");
            let ended = tokio::spawn(async { drop(connection.await) });
            let send = Box::new(move |request| {
                let mut sender = sender.clone();
                async move { sender.send_request(request).await.expect("an answer") }.boxed()
            });
            return Sending { send, ended };
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .expect("HTTP/1.1");
        let ended = tokio::spawn(async { drop(connection.await) });
        let send = Box::new(move |request| {
            let answering = sender.send_request(request);
            async { answering.await.expect("an answer") }.boxed()
        });
        Sending { send, ended }
    }
}

/// A clock for clients that shows the time of the tests.
#[derive(Debug)]
struct TestTime;

impl rustls::time_provider::TimeProvider for TestTime {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let seconds = u64::try_from(testing::now().as_second()).ok()?;
        Some(rustls::pki_types::UnixTime::since_unix_epoch(
            Duration::from_secs(seconds),
        ))
    }
}

fn ask(target: &str, token: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::get(target).header("host", "localhost");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Empty::new()).expect("a request")
}

async fn text(response: Response<Incoming>) -> String {
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test]
async fn certificates_and_tokens_authenticate_over_both_versions_of_http() {
    let running = running().await;
    let admin = Some(&running.certs.admin);
    let response = running.http1(admin, ask("/api/v1/nodes/n", "")).await;
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_11)
    );
    assert_eq!(response.headers()["content-length"], "28");
    assert_eq!(text(response).await, "{\"user\":\"kubernetes-admin\"}\n");
    let response = running
        .http2(None, ask("https://localhost/api/v1/nodes/n", "t0k"))
        .await;
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_2)
    );
    assert_eq!(text(response).await, "{\"user\":\"admin\"}\n");
    assert_eq!(
        running
            .http1(None, ask("/api/v1/nodes/n", ""))
            .await
            .status(),
        403
    );
    assert_eq!(
        running
            .http2(None, ask("https://localhost/api/v1/nodes/n", "nobody"))
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_with_401() {
    let running = running().await;
    let other = Certs::make(&[], testing::now()).expect("certificates");
    assert_eq!(
        running
            .http1(Some(&other.admin), ask("/api/v1/nodes/n", ""))
            .await
            .status(),
        401
    );
    // Our authority signed the serving certificate too, but not for clients.
    assert_eq!(
        running
            .http1(Some(&running.certs.serving), ask("/api/v1/nodes/n", ""))
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn a_client_that_speaks_no_http_loses_only_its_own_connection() {
    let running = running().await;
    let mut plain = TcpStream::connect(running.address)
        .await
        .expect("a connection");
    plain
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("written");
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    let mut rubbish = running.connect(None, "http/1.1").await;
    rubbish
        .write_all(b"\0\0\0 rubbish\r\n\r\n")
        .await
        .expect("written");
    let mut rest = Vec::new();
    let _ = rubbish.read_to_end(&mut rest).await;
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"),
        "{rest:?}"
    );
    assert_eq!(running.http1(None, ask("/readyz", "")).await.status(), 200);
}

/// Returns whether the other side closes a stream within ten minutes. The clock of these tests is
/// paused where they call this, so deadlines cost no time.
async fn is_closed(stream: &mut TlsStream<TcpStream>) -> bool {
    let closed = async {
        let mut bytes = [0; 1024];
        while matches!(stream.read(&mut bytes).await, Ok(read) if read > 0) {}
    };
    tokio::time::timeout(Duration::from_secs(600), closed)
        .await
        .is_ok()
}

#[tokio::test]
async fn a_client_that_sends_no_request_is_disconnected() {
    let running = running().await;
    let silent: [(&str, &[u8]); 6] = [
        ("http/1.1", b""),
        ("http/1.1", b"GET /readyz HTTP/1.1\r\nHost: loc"),
        ("h2", b""),
        ("h2", b"PRI * HTTP/2.0\r\n\r"),
        (
            "h2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ),
        ("other", b""),
    ];
    let mut streams = Vec::new();
    for (protocol, sent) in silent {
        if protocol == "other" {
            continue;
        }
        let mut stream = running.connect(None, protocol).await;
        stream.write_all(sent).await.expect("written");
        stream.flush().await.expect("written");
        streams.push((protocol, sent, stream));
    }
    let mut handshakes = TcpStream::connect(running.address).await.expect("open");
    tokio::time::pause();
    for (protocol, sent, stream) in &mut streams {
        assert!(is_closed(stream).await, "{protocol} {sent:?}");
    }
    let mut buffer = [0; 16];
    let read = tokio::time::timeout(Duration::from_secs(600), handshakes.read(&mut buffer));
    assert!(read.await.is_ok(), "a handshake has a deadline, too");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_watch_is_not() {
    let running = running().await;
    for protocol in ["http/1.1", "h2"] {
        let target = if protocol == "h2" {
            "https://localhost/api/v1/nodes/n"
        } else {
            "/api/v1/nodes/n"
        };
        let mut idle = running.sender(protocol).await;
        assert_eq!(idle.send(ask(target, "t0k")).await.status(), 200);
        let mut busy = running.sender(protocol).await;
        let watch = target.replace("nodes/n", "pods?watch=1");
        let mut events = busy.send(ask(&watch, "t0k")).await.into_body();
        assert!(events.frame().await.is_some());
        tokio::time::pause();
        let ended = tokio::time::timeout(Duration::from_secs(600), &mut idle.ended);
        assert!(ended.await.is_ok(), "{protocol}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(!busy.ended.is_finished(), "{protocol}: a watch is not idle");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn connections_beyond_those_of_an_address_are_closed_at_once() {
    let places = super::places::Places::with_files(Some(12));
    let socket = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = socket.local_addr().expect("an address");
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(TcpStream::connect(address).await.expect("open"));
    }
    let accepting = async {
        let mut accepted = Vec::new();
        loop {
            accepted.push(super::accept(&socket, &places).await);
        }
    };
    let mut last = clients.pop().expect("the last");
    let mut before = clients.pop().expect("the one before");
    let closed = async { (last.read(&mut [0; 1]).await, before.read(&mut [0; 1]).await) };
    let (last, before) = tokio::select! {
        read = tokio::time::timeout(SOON, closed) => read.expect("closed at once"),
        () = accepting => unreachable!("it accepts without end"),
    };
    assert_eq!((last.ok(), before.ok()), (Some(0), Some(0)));
}

#[tokio::test]
async fn stopping_ends_watches_and_returns() {
    let running = running().await;
    let mut watches = Vec::new();
    for response in [
        running
            .http1(None, ask("/api/v1/pods?watch=1", "t0k"))
            .await,
        running
            .http2(None, ask("https://localhost/api/v1/pods?watch=1", "t0k"))
            .await,
    ] {
        let mut body = response.into_body();
        let first = body
            .frame()
            .await
            .expect("a frame")
            .expect("no error")
            .into_data()
            .expect("data");
        assert_eq!(first, "{\"type\":\"ADDED\",\"object\":{}}\n");
        watches.push(body);
    }
    running.stop.cancel();
    for watch in watches {
        let rest = tokio::time::timeout(SOON, watch.collect())
            .await
            .expect("the watch ends")
            .expect("in order");
        assert!(rest.to_bytes().is_empty());
    }
    tokio::time::timeout(SOON, running.serving)
        .await
        .expect("it returns")
        .expect("no panic")
        .expect("no error");
    assert!(
        TcpStream::connect(running.address).await.is_err(),
        "nobody listens any more"
    );
}
