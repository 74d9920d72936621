//! WebSocket (RFC 6455), the server's side: the handshake, and a task that sends messages until
//! they, the client or the server end. The frames themselves are tungstenite's.
//!
//! A caller asks [`WebSocketUpgrade::requested`] whether the client wants a socket in a protocol
//! that the caller speaks, and hands the messages to [`WebSocketUpgrade::respond`]. The connection
//! leaves HTTP then. Nothing here reads what a client sends, apart from pings and the close frame.

use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, Stream, StreamExt as _};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use crate::body::Body;

pub(crate) use tokio_tungstenite::tungstenite::Message;

/// The suffix that RFC 6455 appends to a client's key before the key is hashed.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Time in which the close frame must be sent and the client's close frame must arrive.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest message of a client. `kubectl` sends standard input in pieces of 32 KiB.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Size of each of the two buffers of a socket, allocated for as long as it is open.
const BUFFER_BYTES: usize = 4 * 1024;

/// A text message, or a binary one if the content is not UTF-8, which a text message must be.
pub(crate) fn text_message(content: Bytes) -> Message {
    Utf8Bytes::try_from(content.clone()).map_or(Message::Binary(content), Message::Text)
}

/// A message of the `channel.k8s.io` protocols: the number of the channel, then the content.
pub(crate) fn channel_message(channel: u8, content: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(content.len() + 1);
    bytes.put_u8(channel);
    bytes.put_slice(content);
    Message::Binary(bytes.freeze())
}

/// A valid opening handshake of a client.
pub(crate) struct WebSocketUpgrade {
    /// The value of `Sec-WebSocket-Accept`.
    accept: HeaderValue,
    /// The protocol that both sides speak; `None` if the server asks for none.
    protocol: Option<&'static str>,
    upgrade: OnUpgrade,
}

impl WebSocketUpgrade {
    /// Returns the handshake if a request opens a WebSocket in one of `protocols`.
    ///
    /// The first protocol of the client that the server speaks is agreed on. If `protocols` is
    /// empty, every client is accepted, without a protocol. `upgrade` is `None` where the
    /// connection cannot leave HTTP: over HTTP/2, and for callers in this process.
    pub(crate) fn requested(
        headers: &HeaderMap,
        upgrade: Option<&OnUpgrade>,
        protocols: &[&'static str],
    ) -> Option<Self> {
        let has =
            |name, word: &str| tokens(headers, name).any(|token| token.eq_ignore_ascii_case(word));
        if !has(CONNECTION, "upgrade")
            || !has(UPGRADE, "websocket")
            || !has(SEC_WEBSOCKET_VERSION, "13")
        {
            return None;
        }
        let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
        let protocol = tokens(headers, SEC_WEBSOCKET_PROTOCOL)
            .find_map(|offered| protocols.iter().copied().find(|known| *known == offered));
        if protocol.is_none() && !protocols.is_empty() {
            return None;
        }
        Some(Self {
            accept: HeaderValue::from_str(&accept(key)).ok()?,
            protocol,
            upgrade: upgrade?.clone(),
        })
    }

    /// Returns the 101 response and spawns the task that sends `messages` and closes the socket
    /// after the last one, or when `stop` is cancelled.
    pub(crate) fn respond(
        self,
        messages: impl Stream<Item = Message> + Send + 'static,
        stop: CancellationToken,
    ) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        tokio::spawn(async move {
            let sent = match self.upgrade.await {
                Ok(connection) => send_all(TokioIo::new(connection), messages, stop).await,
                Err(error) => return tracing::debug!(%error, "HTTP upgrade failed"),
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "WebSocket closed with an error");
            }
        });
        response
    }
}

fn tokens(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Returns the `Sec-WebSocket-Accept` of a client's key (RFC 6455, section 4.2.2).
fn accept(key: &str) -> String {
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{KEY_SUFFIX}").as_bytes(),
    );
    STANDARD.encode(digest)
}

async fn send_all<C>(
    connection: C,
    messages: impl Stream<Item = Message>,
    stop: CancellationToken,
) -> Result<(), WebSocketError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    let mut messages = pin!(messages);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            received = socket.next() => match received {
                // Tungstenite answers pings and the close frame when it is polled again.
                Some(received) => drop(received?),
                None => return Ok(()),
            },
            next = messages.next() => {
                let Some(message) = next else { break };
                // A client that does not read must not keep the server from stopping.
                match stop.run_until_cancelled(socket.send(message)).await {
                    Some(sent) => sent?,
                    None => break,
                }
            }
        }
    }
    let closing = async {
        let close = CloseFrame {
            code: CloseCode::Normal,
            reason: Utf8Bytes::default(),
        };
        socket.close(Some(close)).await?;
        while let Some(Ok(_)) = socket.next().await {}
        Ok::<(), WebSocketError>(())
    };
    tokio::time::timeout(CLOSE_TIMEOUT, closing)
        .await
        .unwrap_or(Ok(()))?;
    tokio::time::timeout(CLOSE_TIMEOUT, socket.get_mut().shutdown())
        .await
        .unwrap_or(Ok(()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::io::{AsyncReadExt as _, DuplexStream};
    use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

    use super::*;

    const NORMAL_CLOSURE: u16 = 1000;

    #[test]
    fn the_accept_value_is_the_one_of_the_standard() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    async fn frame(client: &mut DuplexStream) -> (u8, Vec<u8>) {
        let (head, length) = (
            client.read_u8().await.expect("a head"),
            client.read_u8().await.expect("a length"),
        );
        let length = if length == 126 {
            usize::from(client.read_u16().await.expect("a length"))
        } else {
            usize::from(length)
        };
        let mut payload = vec![0; length];
        client.read_exact(&mut payload).await.expect("a payload");
        (head, payload)
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_sent_pings_are_answered_and_the_socket_is_closed() {
        let (mut client, server) = tokio::io::duplex(4096);
        let (sender, messages) = futures::channel::mpsc::unbounded();
        let sending = tokio::spawn(send_all(server, messages, CancellationToken::new()));
        sender
            .unbounded_send(channel_message(3, b"no"))
            .expect("open");
        assert_eq!(frame(&mut client).await, (0x82, b"\x03no".to_vec()));
        sender
            .unbounded_send(Message::text("x".repeat(300)))
            .expect("open");
        assert_eq!(frame(&mut client).await, (0x81, vec![b'x'; 300]));
        // Data of a client is skipped, a masked ping comes back bare.
        client
            .write_all(&[
                0x82,
                0x82,
                1,
                2,
                3,
                4,
                9,
                9,
                0x89,
                0x82,
                1,
                2,
                3,
                4,
                b'h' ^ 1,
                b'i' ^ 2,
            ])
            .await
            .expect("sent");
        assert_eq!(frame(&mut client).await, (0x8a, b"hi".to_vec()));
        drop(sender);
        assert_eq!(
            frame(&mut client).await,
            (0x88, NORMAL_CLOSURE.to_be_bytes().to_vec())
        );
        client
            .write_all(&[0x88, 0x80, 0, 0, 0, 0])
            .await
            .expect("sent");
        sending.await.expect("no panic").expect("no error");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_closes_gets_its_close_frame_back() {
        let (mut client, server) = tokio::io::duplex(64);
        let sending = tokio::spawn(send_all(
            server,
            stream::pending(),
            CancellationToken::new(),
        ));
        client
            .write_all(&[0x88, 0x80, 0, 0, 0, 0])
            .await
            .expect("sent");
        assert_eq!(frame(&mut client).await, (0x88, Vec::new()));
        sending.await.expect("no panic").expect("no error");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_disconnects_ends_the_socket() {
        let (client, server) = tokio::io::duplex(64);
        let sending = tokio::spawn(send_all(
            server,
            stream::pending(),
            CancellationToken::new(),
        ));
        drop(client);
        let ended = sending.await.expect("no panic").expect_err("not closed");
        assert!(
            matches!(
                ended,
                WebSocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            ),
            "{ended}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_too_large_a_message_is_cut_off() {
        let (mut client, server) = tokio::io::duplex(64);
        let sending = tokio::spawn(send_all(
            server,
            stream::pending(),
            CancellationToken::new(),
        ));
        let mut head = vec![0x82, 0xff];
        head.extend((MAX_MESSAGE_BYTES as u64 + 1).to_be_bytes());
        head.extend([0; 4]);
        client.write_all(&head).await.expect("sent");
        let ended = sending.await.expect("no panic").expect_err("too large");
        assert!(
            matches!(
                ended,
                WebSocketError::Capacity(CapacityError::MessageTooLong { .. })
            ),
            "{ended}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_does_not_keep_the_server_from_stopping() {
        let (mut client, server) = tokio::io::duplex(64);
        let stop = CancellationToken::new();
        let messages = stream::iter([Message::text("x".repeat(300))]).chain(stream::pending());
        let sending = tokio::spawn(send_all(server, messages, stop.clone()));
        client.read_u8().await.expect("the head of the message");
        stop.cancel();
        sending.await.expect("no panic").expect("no error");
    }

    fn handshake(protocols: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(protocols) = protocols {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocols));
        }
        headers
    }

    #[test]
    fn the_client_must_offer_a_protocol_that_the_server_speaks() {
        let upgrade = hyper::upgrade::on(http::Request::new(()));
        let (v5, v4) = ("v5.channel.k8s.io", "v4.channel.k8s.io");
        for (offered, spoken, expected) in [
            (Some("v9, v4.channel.k8s.io"), &[v5, v4][..], Some(Some(v4))),
            (
                Some("v4.channel.k8s.io,v5.channel.k8s.io"),
                &[v5, v4],
                Some(Some(v4)),
            ),
            (Some("v9"), &[v5, v4], None),
            (None, &[v5, v4], None),
            (None, &[], Some(None)),
            (Some("v9"), &[], Some(None)),
        ] {
            let found = WebSocketUpgrade::requested(&handshake(offered), Some(&upgrade), spoken);
            assert_eq!(
                found.map(|found| found.protocol),
                expected,
                "{offered:?} {spoken:?}"
            );
        }
    }

    #[test]
    fn a_request_opens_a_socket_only_with_all_of_the_handshake() {
        let upgrade = hyper::upgrade::on(http::Request::new(()));
        assert!(WebSocketUpgrade::requested(&handshake(None), Some(&upgrade), &[]).is_some());
        assert!(WebSocketUpgrade::requested(&handshake(None), None, &[]).is_none());
        for missing in [
            CONNECTION,
            UPGRADE,
            SEC_WEBSOCKET_VERSION,
            SEC_WEBSOCKET_KEY,
        ] {
            let mut headers = handshake(None);
            headers.remove(&missing);
            assert!(
                WebSocketUpgrade::requested(&headers, Some(&upgrade), &[]).is_none(),
                "{missing}"
            );
        }
    }
}
