//! Listening sockets: bound first, served when everything is ready, and closed gracefully.
//!
//! Every connection uses TLS, with HTTP/2 or HTTP/1.1 as the client chooses. A server that stops
//! accepts no more connections, ends watches, and lets requests finish within `SHUTDOWN_TIMEOUT`.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use futures::future::BoxFuture;
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

/// Connections that are open at the same time. Further ones wait in the backlog of the socket.
const MAX_CONNECTIONS: usize = 16_384;
/// Time limit of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of the head of an HTTP/1.1 request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(32);
/// Concurrent requests of one HTTP/2 connection.
const MAX_STREAMS: u32 = 1_000;
/// Idle time after which an HTTP/2 connection is pinged, and the time limit of the answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
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
    http: auto::Builder<TokioExecutor>,
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
            http: http(),
            clock: self.state.clock.clone(),
        });
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener.socket, &room) => accepted,
            };
            let (stream, permit) = accepted;
            connections.spawn(connection(
                context.clone(),
                stream,
                permit,
                shutdown.clone(),
            ));
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

fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(true);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

/// Accepts the next connection once fewer than [`MAX_CONNECTIONS`] are open.
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
                // Errors such as too many open files persist for a while. Trying again at once
                // would only spin.
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(
    context: Arc<ConnectionContext>,
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) {
    // Responses are written whole, so waiting to combine small writes would only delay them.
    let _ = stream.set_nodelay(true);
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
    let peer = Peer::of(
        stream.get_ref().1.peer_certificates(),
        &context.verifier,
        UnixTime::since_unix_epoch(now),
    );
    let service = context.server.service_for(peer);
    let serving = context
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
        tracing::debug!(%error, "connection closed with an error");
    }
}
