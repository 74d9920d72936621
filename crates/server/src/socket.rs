//! WebSocket (RFC 6455), the server's side, as far as the API needs it: messages go out, and of
//! what comes in only the end and pings matter.
//!
//! Whoever answers asks [`asked`] whether the client wants a socket in a protocol that it speaks,
//! and hands in what is to be sent. The connection leaves HTTP then, and lives in a task of its
//! own.

use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::body::Body;

/// What is put behind a client's key before it is hashed, by the standard.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How long a client may take to say goodbye, too.
const FAREWELL: Duration = Duration::from_secs(2);
/// Control frames carry at most this.
const CONTROL_BYTES: usize = 125;
/// Pings that may wait for their answers.
const PINGS: usize = 8;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Everything went well.
const NORMAL_CLOSURE: u16 = 1000;

/// One message to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Text.
    Text(Bytes),
    /// Bytes; in the channel protocols the first of them is the number of the channel.
    Binary(Bytes),
}

impl Message {
    /// Bytes on a channel.
    pub(crate) fn on_channel(channel: u8, content: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(content.len() + 1);
        bytes.put_u8(channel);
        bytes.put_slice(content);
        Self::Binary(bytes.freeze())
    }
}

/// A client that wants a socket.
pub(crate) struct Asked {
    accept: HeaderValue,
    /// The protocol that was agreed on; none when the client named none.
    protocol: Option<&'static str>,
    upgrade: OnUpgrade,
}

/// Whether a request asks for a socket in one of these protocols. With no protocols here, one
/// without a protocol is meant.
pub(crate) fn asked(
    headers: &HeaderMap,
    upgrade: Option<&OnUpgrade>,
    protocols: &[&'static str],
) -> Option<Asked> {
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
        .find_map(|wanted| protocols.iter().copied().find(|known| *known == wanted));
    if protocol.is_none() && !protocols.is_empty() {
        return None;
    }
    Some(Asked {
        accept: HeaderValue::from_str(&accept(key)).ok()?,
        protocol,
        upgrade: upgrade?.clone(),
    })
}

fn tokens(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// The answer to a client's key, which proves that it was understood.
fn accept(key: &str) -> String {
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{KEY_SUFFIX}").as_bytes(),
    );
    STANDARD.encode(digest)
}

impl Asked {
    /// Switches to the socket and sends the messages, until they or the client end, or the server
    /// stops.
    pub(crate) fn answer(
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
            let talked = match self.upgrade.await {
                Ok(connection) => talk(TokioIo::new(connection), messages, stop).await,
                Err(error) => return tracing::debug!(%error, "a connection was not handed over"),
            };
            if let Err(error) = talked {
                tracing::debug!(%error, "a socket ended with an error");
            }
        });
        response
    }
}

async fn talk<C>(
    connection: C,
    messages: impl Stream<Item = Message>,
    stop: CancellationToken,
) -> std::io::Result<()>
where
    C: AsyncRead + AsyncWrite,
{
    let (reader, mut writer) = tokio::io::split(connection);
    let (pings, mut pinged) = mpsc::channel(PINGS);
    // Reading goes on through every turn of the loop: a frame that was begun must be read to its
    // end.
    let mut ended = pin!(listen(reader, pings));
    let mut messages = pin!(messages);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ended.as_mut() => return Ok(()),
            Some(payload) = pinged.recv() => write(&mut writer, PONG, &payload).await?,
            next = messages.next() => match next {
                Some(Message::Text(text)) => write(&mut writer, TEXT, &text).await?,
                Some(Message::Binary(bytes)) => write(&mut writer, BINARY, &bytes).await?,
                None => break,
            },
        }
    }
    write(&mut writer, CLOSE, &NORMAL_CLOSURE.to_be_bytes()).await?;
    let _ = tokio::time::timeout(FAREWELL, ended).await;
    writer.shutdown().await
}

/// Writes one frame; those of a server are not masked.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    opcode: u8,
    payload: &[u8],
) -> std::io::Result<()> {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if usize::from(length) <= CONTROL_BYTES => frame.put_u8(length),
        (_, Ok(length)) => {
            frame.put_u8(126);
            frame.put_u16(length);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(payload.len() as u64);
        }
    }
    frame.put_slice(payload);
    writer.write_all(&frame).await?;
    writer.flush().await
}

/// Reads what a client sends, until it says goodbye or is gone. Its data are of no interest to
/// anybody.
async fn listen(
    mut reader: impl AsyncRead + Unpin,
    pings: mpsc::Sender<Vec<u8>>,
) -> std::io::Result<()> {
    loop {
        let (head, length) = (reader.read_u8().await?, reader.read_u8().await?);
        let masked = length & 0x80 != 0;
        let length = match length & 0x7f {
            126 => u64::from(reader.read_u16().await?),
            127 => reader.read_u64().await?,
            short => u64::from(short),
        };
        let mask = if masked {
            reader.read_u32().await?.to_be_bytes()
        } else {
            [0; 4]
        };
        match head & 0x0f {
            CLOSE => return Ok(()),
            PING if length <= CONTROL_BYTES as u64 => {
                let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
                reader.read_exact(&mut payload).await?;
                payload
                    .iter_mut()
                    .zip(mask.into_iter().cycle())
                    .for_each(|(byte, mask)| *byte ^= mask);
                // Who pings faster than it reads gets fewer answers.
                let _ = pings.try_send(payload);
            }
            _ => {
                let skipped =
                    tokio::io::copy(&mut (&mut reader).take(length), &mut tokio::io::sink())
                        .await?;
                if skipped < length {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::io::DuplexStream;

    use super::*;

    #[test]
    fn the_key_of_the_standard_has_the_answer_of_the_standard() {
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
    async fn messages_go_out_pings_are_answered_and_the_end_is_told() {
        let (mut client, server) = tokio::io::duplex(4096);
        let (sender, messages) = futures::channel::mpsc::unbounded();
        let talking = tokio::spawn(talk(server, messages, CancellationToken::new()));
        sender
            .unbounded_send(Message::on_channel(3, b"no"))
            .expect("open");
        assert_eq!(frame(&mut client).await, (0x82, b"\x03no".to_vec()));
        sender
            .unbounded_send(Message::Text(Bytes::from(vec![b'x'; 300])))
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
        talking.await.expect("no panic").expect("no error");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_ends_the_socket() {
        let (client, server) = tokio::io::duplex(64);
        let talking = tokio::spawn(talk(server, stream::pending(), CancellationToken::new()));
        drop(client);
        talking.await.expect("no panic").expect("no error");
    }

    #[test]
    fn a_protocol_must_be_one_that_is_spoken() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v9, v4.channel.k8s.io"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // Without a connection that can be handed over there is no socket.
        assert!(asked(&headers, None, &["v4.channel.k8s.io"]).is_none());
        assert_eq!(
            tokens(&headers, SEC_WEBSOCKET_PROTOCOL).collect::<Vec<_>>(),
            ["v9", "v4.channel.k8s.io"]
        );
    }
}
