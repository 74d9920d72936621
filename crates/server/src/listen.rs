//! Listening sockets: bound first, served when everything is ready, and closed gracefully.
//!
//! Every connection uses TLS, with HTTP/2 or HTTP/1.1 as the client chooses. A server that stops
//! accepts no more connections, ends watches, and lets requests finish within `SHUTDOWN_TIMEOUT`.
//!
//! A connection takes a place (`places.rs`) and keeps it until its socket is closed. Each step has
//! a deadline: the handshake, the first request, the next one (`IDLE_CHECKS`), the pieces of a body
//! (`handle/read.rs`), and what the client must read (`stream.rs`, `connection.rs`). A watch that
//! waits for events has none; pings and probes notice when its client is gone.

mod places;
mod stream;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use futures::future::BoxFuture;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::UnixTime;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::auth::{ClientVerifier, Peer};
use crate::certs::{Certs, CertsError};
use crate::connection::ServedConnection;
use crate::service::{CallerService, Server};
use places::{ConnectionPlace, Places};
use stream::TimedStream;

/// Time limit of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of the first request after the handshake, as upstream's for the head of a request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(32);
/// Time limit of the head of an HTTP/1.1 request, counted from the end of the one before: the time
/// that upstream keeps idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// Time between two looks at what a connection did.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Looks without a request after which a connection is closed. That is after 90 to 120 seconds.
const IDLE_CHECKS: u32 = 3;
/// Looks between which a client read nothing, although it had to, after which its connection is
/// closed. That is after 60 to 90 seconds.
const STUCK_CHECKS: u32 = 2;
/// Time limit of a write of which the client takes nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time that a connection has to end in order when its server gives it up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Concurrent requests of one HTTP/2 connection, the default of Go's servers. What a client that
/// does not read can make a connection hold grows with it.
const MAX_STREAMS: u32 = 250;
/// Bytes that HTTP holds of what the client has not read, for each request.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Idle time after which an HTTP/2 connection is pinged, and the time limit of the answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Idle time after which the operating system probes whether the client is still there, and the
/// time between two probes. Watches over HTTP/1.1 and WebSockets have no pings.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// Time that requests have to finish when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, for example with too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds an address; port 0 picks a free port. Clients can connect from now on. They are
    /// answered once the listener is served.
    ///
    /// # Errors
    /// The address is in use, or does not belong to this machine.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Returns the address, with the port that was picked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a URL for clients on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        let ip = self.address.ip();
        let host = match ip {
            _ if !ip.is_unspecified() => ip,
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        format!("https://{}", SocketAddr::new(host, self.address.port()))
    }
}

/// What all connections share.
struct ConnectionContext {
    server: Server,
    tls: TlsAcceptor,
    verifier: Arc<ClientVerifier>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    clock: Clock,
}

impl Server {
    /// Serves a listener until `shutdown` is cancelled. Then it stops accepting, ends watches, and
    /// waits at most ten seconds for requests to finish.
    ///
    /// # Errors
    /// TLS rejects the certificates. An error on one connection ends only that connection.
    pub fn serve<'a>(
        &'a self,
        listener: Listener,
        certs: &'a Certs,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<(), CertsError>> {
        // The crate that polls a future compiles it. Boxed, the HTTP server is compiled here, once.
        Box::pin(self.serve_connections(listener, certs, shutdown))
    }

    async fn serve_connections(
        &self,
        listener: Listener,
        certs: &Certs,
        shutdown: CancellationToken,
    ) -> Result<(), CertsError> {
        let (tls, verifier) = certs.tls()?;
        let context = Arc::new(ConnectionContext {
            server: self.clone(),
            tls: TlsAcceptor::from(Arc::new(tls)),
            verifier,
            http1: http1(),
            http2: http2(),
            clock: self.state.clock.clone(),
        });
        let places = Places::with_files(max_open_files());
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener.socket, &places) => accepted,
            };
            connections.spawn(connection(context.clone(), accepted, shutdown.clone()));
        }
        // The port is free from now on: another process can take over while requests finish.
        drop(listener);
        self.leave();
        self.end_watches();
        let finishing = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finishing)
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "closing connections that did not finish in time"
            );
            connections.shutdown().await;
        }
        Ok(())
    }
}

fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(SEND_BUFFER_BYTES)
        .keep_alive(true);
    http
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

/// Returns how many files this process may open; `None` without a limit.
fn max_open_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

type AcceptedSocket = TimedStream<TcpStream, ConnectionPlace>;

/// Accepts the next connection for which there is a place. A connection without one is closed at
/// once: in the backlog it would keep others from being accepted.
async fn accept(socket: &TcpListener, places: &Places) -> AcceptedSocket {
    loop {
        match socket.accept().await {
            Ok((stream, address)) => match places.take(address.ip()) {
                Ok(place) => return TimedStream::new(stream, WRITE_TIMEOUT, place),
                Err(why) => tracing::debug!(?why, %address, "closing a connection without a place"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Errors such as too many open files persist for a while. Trying again at once
                // would only spin.
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(
    context: Arc<ConnectionContext>,
    stream: AcceptedSocket,
    shutdown: CancellationToken,
) {
    stream.prepare();
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, context.tls.accept(stream));
    let stream = tokio::select! {
        () = shutdown.cancelled() => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake timed out"),
        },
    };
    let now =
        Duration::from_secs(u64::try_from(context.clock.now().as_second()).unwrap_or_default());
    let session = stream.get_ref().1;
    let peer = Peer::of(
        session.peer_certificates(),
        &context.verifier,
        UnixTime::since_unix_epoch(now),
    );
    // A client that names no protocol speaks HTTP/1.1, as for Go's servers.
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let (service, activity) = context.server.connected(peer);
    let stream = TokioIo::new(stream);
    let ended = if is_http2 {
        let serving = context.http2.serve_connection(stream, service);
        drive(pin!(serving), &activity, &shutdown).await
    } else {
        let serving = context.http1.serve_connection(stream, service);
        drive(pin!(serving.with_upgrades()), &activity, &shutdown).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection closed with an error");
    }
}

/// A connection of either version of HTTP.
trait HttpConnection: Future<Output = Result<(), hyper::Error>> {
    /// Answers the requests that have begun, and ends.
    fn close(self: Pin<&mut Self>);
}

type HttpStream = TokioIo<TlsStream<AcceptedSocket>>;

impl HttpConnection for http1::UpgradeableConnection<HttpStream, CallerService> {
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl HttpConnection for http2::Connection<HttpStream, CallerService, TokioExecutor> {
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves a connection until it ends, its client keeps none of the deadlines, or the server stops.
async fn drive<C: HttpConnection>(
    mut serving: Pin<&mut C>,
    activity: &ServedConnection,
    shutdown: &CancellationToken,
) -> Result<(), hyper::Error> {
    let why = tokio::select! {
        ended = serving.as_mut() => return ended,
        () = shutdown.cancelled() => {
            serving.as_mut().close();
            return serving.await;
        }
        () = activity.closing.cancelled() => "holds too much",
        why = deadline(activity) => why,
    };
    tracing::debug!(why, "closing a connection");
    if why != IDLE {
        return Ok(());
    }
    // A request that is on its way is answered.
    serving.as_mut().close();
    tokio::time::timeout(CLOSE_TIMEOUT, serving)
        .await
        .unwrap_or(Ok(()))
}

/// Why a connection is closed that had no request for a while.
const IDLE: &str = "is idle";

/// Returns why a connection has to be closed, as soon as it has.
async fn deadline(activity: &ServedConnection) -> &'static str {
    tokio::time::sleep(FIRST_REQUEST_TIMEOUT).await;
    let mut before = activity.progress();
    if !before.has_begun() {
        return "sends no request";
    }
    let (mut idle, mut stuck) = (0, 0);
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let now = activity.progress();
        idle = if now == before && now.is_idle() {
            idle + 1
        } else {
            0
        };
        stuck = if now.is_stuck_since(before) {
            stuck + 1
        } else {
            0
        };
        if idle >= IDLE_CHECKS {
            return IDLE;
        }
        if stuck >= STUCK_CHECKS {
            return "reads nothing";
        }
        before = now;
    }
}

impl AcceptedSocket {
    /// Sets the options of the socket. A socket that refuses them works all the same.
    fn prepare(&self) {
        // Responses are written whole, so waiting to combine small writes would only delay them.
        let _ = self.socket().set_nodelay(true);
        let probes = TcpKeepalive::new()
            .with_time(PROBE_AFTER)
            .with_interval(PROBE_INTERVAL);
        let _ = SockRef::from(self.socket()).set_tcp_keepalive(&probes);
    }
}
