//! Sockets: bound first, served when everything is ready, left in order.
//!
//! TLS on every connection, with HTTP/2 or HTTP/1.1 as the client chooses. When the server stops,
//! it accepts nothing more, ends watches, lets requests finish, and after a while goes anyway.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::UnixTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::auth::{ClientVerifier, Peer};
use crate::certs::{Certs, CertsError};
use crate::service::Server;

/// Connections that are open at once; the next ones wait to be accepted.
const CONNECTIONS: usize = 16_384;
/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(32);
/// Requests of one HTTP/2 connection that are worked on at once.
const STREAMS: u32 = 1_000;
/// Silence on an HTTP/2 connection after which it is probed, and how long the answer may take.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_TIME: Duration = Duration::from_secs(15);
/// How long requests may take to finish when the server stops.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long to wait after an error of accept (too many open files, for example).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds an address; port 0 takes a free one. From here on clients can connect; they are
    /// answered when the listener is served.
    ///
    /// # Errors
    /// The address is in use, or not of this machine.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL under which clients of this machine reach it.
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

/// What every connection needs.
struct Gate {
    server: Server,
    tls: TlsAcceptor,
    verifier: Arc<ClientVerifier>,
    http: auto::Builder<TokioExecutor>,
    clock: Clock,
}

impl Server {
    /// Serves a listener until `shutdown` is cancelled, then leaves in order: no new connections,
    /// watches end, requests finish, at most ten seconds.
    ///
    /// # Errors
    /// Certificates that TLS does not take. Errors of single connections end those connections.
    pub async fn serve(
        &self,
        listener: Listener,
        certs: &Certs,
        shutdown: CancellationToken,
    ) -> Result<(), CertsError> {
        let (tls, verifier) = certs.tls()?;
        let gate = Arc::new(Gate {
            server: self.clone(),
            tls: TlsAcceptor::from(Arc::new(tls)),
            verifier,
            http: http(),
            clock: self.state.clock.clone(),
        });
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener.socket, &room) => accepted,
            };
            let (stream, permit) = accepted;
            connections.spawn(connection(gate.clone(), stream, permit, shutdown.clone()));
        }
        drop(listener);
        self.leave();
        self.end_watches();
        let farewell = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!(
                left = connections.len(),
                "connections did not finish in time and are cut"
            );
            connections.shutdown().await;
        }
        Ok(())
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .keep_alive(true);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(PROBE_AFTER)
        .keep_alive_timeout(PROBE_TIME);
    http
}

/// The next connection, when there is room for one.
async fn accept(socket: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = room
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match socket.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connection(
    gate: Arc<Gate>,
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) {
    // Answers are written whole: waiting for more of them would only delay them.
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE_TIME, gate.tls.accept(stream));
    let stream = tokio::select! {
        () = shutdown.cancelled() => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        },
    };
    let now = Duration::from_secs(u64::try_from(gate.clock.now().as_second()).unwrap_or_default());
    let peer = Peer::of(
        stream.get_ref().1.peer_certificates(),
        &gate.verifier,
        UnixTime::since_unix_epoch(now),
    );
    let service = gate.server.service_for(peer);
    let serving = gate
        .http
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
